"""The pages that come from the code are current, and the schema of sweep files accepts what is
right and refuses what is mistyped.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from repository_files import tracked

ROOT = Path(__file__).resolve().parents[2]
SWEEPS = tracked(ROOT / "configs" / "sweep", "*.yaml")
BLOCK = "```yaml\n"


@pytest.fixture(scope="module")
def generate() -> Iterator[ModuleType]:
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("generate")
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    texts: dict[str, str] = generate.pages()
    return texts


@pytest.fixture(scope="module")
def validator(pages: dict[str, str]) -> Draft202012Validator:
    schema = yaml.safe_load(pages["reference/sweep.schema.json"])
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def test_generated_pages_are_current(pages: dict[str, str]) -> None:
    for name, text in pages.items():
        assert (ROOT / "docs" / name).read_text() == text, f"{name}: run `make docs`"


def test_every_key_of_the_files_has_a_type(generate: ModuleType) -> None:
    """The comments of configs/ and the dataclasses name the same keys."""
    files = generate.config_files
    for section in files.SECTIONS:
        kinds = files.kinds(section)
        for file in files.read_group(section):
            typed = set(files.hints(kinds[file.kind]))
            commented = {key.path for key in file.keys if key.default}
            of_other_schedules = {key for key in typed if key.startswith("schedule.")}
            assert commented <= typed
            assert typed - commented <= of_other_schedules


def test_defaults_and_comments_are_read_as_written(generate: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(
        "# What it is,\n# in two lines\nname: kind\n# above\nrate: 0.5   # share, 0 to 1;\n"
        "            # and more\nlist: [1,\n  2]  # two\npart:       # a section\n"
        "  inner: ${rate}\n"
    )
    file = generate.config_files.read(path, "model")
    assert file.description == "What it is, in two lines"
    assert [(key.path, key.default, key.comment) for key in file.keys] == [
        ("name", "kind", ""),
        ("rate", "0.5", "above share, 0 to 1; and more"),
        ("list", "[1, 2]", "two"),
        ("part", "", "a section"),
        ("part.inner", "${rate}", ""),
    ]


def test_the_schema_accepts_every_shipped_sweep(validator: Draft202012Validator) -> None:
    for path in SWEEPS:
        errors = [
            error.message for error in validator.iter_errors(yaml.safe_load(path.read_text()))
        ]
        assert not errors, f"{path.name}: {errors}"


def test_the_schema_accepts_the_sweeps_of_the_pages(validator: Draft202012Validator) -> None:
    count = 0
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for block in page.read_text().split(BLOCK)[1:]:
            content = yaml.safe_load(block.partition("```")[0])
            # a name with a dot is the import path of a model or data set, hydra a launcher's file
            if content is None or "hydra" in content:
                continue
            if "." not in content.get("name", ""):
                errors = [error.message for error in validator.iter_errors(content)]
                assert not errors, f"{page.name}: {errors}"
                count += 1
    assert count >= 4


MISTAKES: list[dict[str, Any]] = [
    {"axis": {"model.width": [4]}},
    {"axes": {"model.widht": [4]}},
    {"axes": {"model.width": ["four"]}},
    {"axes": {"model.width": 4}},
    {"axes": {"optim.lr": {"log": [0.1, 0.001]}}},
    {"axes": {"optim.lr": {"logs": [0.1, 0.001, 3]}}},
    {"axes": {"model": ["cnm"]}},
    {"axes": {"run.threads": [1]}},
    {"seeds": 3},
    {"where": "model.width < 4"},
    {"zip": ["model.width"]},
    {"defaults": [{"override /model": "cnm"}]},
    {"defaults": [{"override /modle": "cnn"}]},
    {"trainer": {"epoch": 10}},
    {"trainer": {"epochs": "ten"}},
    {"data": {"label_noise": {"kind": "wrong"}}},
    {"optim": {"schedule": {"name": "cosin"}}},
    {"search": {"axis": "data.train_samples"}},
    {"search": {"axis": "a", "success": "b", "range": [1, 2], "untill": 2}},
    {"of": {"where": []}},
    {"task": {"at_a_time": "all"}},
    {"name": "a b"},
]


@pytest.mark.parametrize("mistake", MISTAKES, ids=str)
def test_the_schema_refuses_mistakes(
    validator: Draft202012Validator, mistake: dict[str, Any]
) -> None:
    assert validator.is_valid({"name": "mine"})
    assert not validator.is_valid({"name": "mine", **mistake})
