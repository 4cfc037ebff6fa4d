"""Torch's kernels compute our layers right on this machine, and the search finds one that does
not.
"""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.nn import functional

from trainers import kernels

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = 30


@pytest.fixture(scope="module")
def search() -> ModuleType:
    """benchmarks/kernels.py, which is no package."""
    spec = importlib.util.spec_from_file_location(
        "kernel_search", ROOT / "benchmarks" / "kernels.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def cases() -> list[kernels.Case]:
    return kernels.cases([2, 5])


@pytest.mark.timeout(900)
@pytest.mark.parametrize("isa", [None, "AVX2", "SSE41"])
def test_layers_agree_with_float64(
    search: ModuleType, cases: list[kernels.Case], isa: str | None
) -> None:
    faults, worst = search.search(random.Random(str(isa)).sample(cases, SAMPLE), isa)
    assert faults == []
    assert {"conv2d float32", "linear float32"} <= set(worst)


def test_every_kind_of_layer_is_among_the_cases(cases: list[kernels.Case]) -> None:
    operations = {case.operation for case in cases}
    assert operations == {"conv2d", "linear", "batch_norm", "layer_norm", "max_pool2d", "mean"}
    shortcuts = [case for case in cases if case.weight[2:] == (1, 1)]
    assert shortcuts
    # the models select rows before the convolution
    assert {case.stride for case in shortcuts} == {1}
    assert len({case.name for case in cases}) == len(cases)


def test_cases_pass_between_processes_unchanged(cases: list[kernels.Case]) -> None:
    assert kernels.read(kernels.to_json(cases)) == cases


@pytest.mark.parametrize("wrong", ["output", "gradient"])
def test_a_wrong_number_is_found(
    wrong: str, cases: list[kernels.Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = next(case for case in cases if case.operation == "conv2d" and case.format == "float32")
    assert kernels.check(case) < 1e-5
    right = functional.conv2d

    def planted(x: torch.Tensor, *more: torch.Tensor, **settings: int) -> torch.Tensor:
        y = right(x, *more, **settings)
        if x.dtype == torch.float64:
            return y
        return y * 1.01 if wrong == "output" else y.detach() + (y - y.detach()) * 1.01

    monkeypatch.setattr(functional, "conv2d", planted)
    assert kernels.check(case) > case.limit


PLANTED = """
import json, os, signal, sys, time
harmed = False
for case in json.load(sys.stdin):
    print(json.dumps({{"begun": "case"}}), flush=True)
    error, bad = 0.0, case["window"] > 0
    {harm}
    harmed = harmed or bad
    print(json.dumps({{"name": "case", "error": error, "wrong": error > 0}}), flush=True)
"""
"""A child of the search that computes nothing, and does harm at the case with a window."""


@pytest.mark.parametrize(
    ("harm", "how"),
    [
        ("if bad: os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV"),
        ("if bad: time.sleep(600)", "hung for 20 s"),
        ("if bad: error = 0.5", "wrong by 0.5"),
    ],
)
def test_the_case_that_does_harm_is_named(
    search: ModuleType, cases: list[kernels.Case], harm: str, how: str
) -> None:
    bad = next(case for case in cases if case.window)
    good = [case for case in cases if not case.window][:6]
    child = [sys.executable, "-c", PLANTED.format(harm=harm)]
    faults, _ = search.search([*good[:4], bad, *good[4:]], None, child=child, limit=20)
    assert faults == [search.Fault(how, (bad.name,))]


def test_damage_that_shows_in_the_next_case_is_no_lonely_fault(
    search: ModuleType, cases: list[kernels.Case]
) -> None:
    bad = next(case for case in cases if case.window)
    good = [case for case in cases if not case.window][:6]
    child = [sys.executable, "-c", PLANTED.format(harm="if harmed: os.abort()")]
    faults, _ = search.search([*good[:4], bad, *good[4:]], None, child=child, limit=20)
    assert faults == [search.Fault("SIGABRT", (bad.name, good[4].name))]


TRAINING = """
import json, sys, torch
from torch.nn import functional
from trainers import precision
from trainers.config import ResNet18
from trainers.models import build
precision.set_numerics(False, 1)
def losses(setting, kind):
    torch.manual_seed(0)
    layout = torch.channels_last if kind == torch.float32 else torch.contiguous_format
    model = build(setting, 3, 16, 10).to(kind).to(memory_format=layout)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    x, y = torch.randn(32, 3, 16, 16).to(kind).to(memory_format=layout), torch.randint(10, (32,))
    for _ in range(4):
        loss = functional.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        yield loss.item()
for width in range(1, 9):
    for variant in ("preactivation", "postactivation"):
        setting = ResNet18("resnet18", variant, width)
        pairs = list(zip(losses(setting, torch.float32), losses(setting, torch.float64)))
        print(json.dumps([variant, width, pairs]), flush=True)
"""


@pytest.mark.timeout(900)
def test_narrow_resnets_train_as_in_float64() -> None:
    """The first loss differs by rounding alone; later ones also by activations near zero that
    change their sign.
    """
    process = subprocess.run(
        [sys.executable, "-c", TRAINING], cwd=ROOT, capture_output=True, text=True, timeout=850
    )
    assert process.returncode == 0, process.stdout + process.stderr
    lines = [json.loads(line) for line in process.stdout.splitlines()]
    assert len(lines) == 16
    for _, _, (first, *later) in lines:
        assert first[0] == pytest.approx(first[1], rel=1e-5)
        for ours, exact in later:
            assert ours == pytest.approx(exact, rel=1e-2)
