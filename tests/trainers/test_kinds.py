"""Classes of the user's: read as strictly as ours, and trained through the same entry."""

from __future__ import annotations

import importlib
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal

import pyarrow.parquet as pq
import pytest

import trainers
from trainers import config
from trainers.checkpoint import Checkpoints
from trainers.config import ConfigError, kinds
from trainers.part import Part
from trainers.run import Run
from trainers.schema import Metric

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = itertools.count()
WritePackage = Callable[[str], str]

MODEL = """
from dataclasses import dataclass
from typing import Literal
from trainers.config import ConfigError

@dataclass(frozen=True)
class Wide:
    entry = "{module}:build"
    name: str
    width: int
    gain: float
    mode: Literal["sum", "mean"]
    sizes: tuple[int, ...] | None

    def __post_init__(self):
        if self.width < 1:
            raise ConfigError(f"model.width: found {self.width}, expected at least 1")

def build(settings, channels, size, classes):
    from torch import nn
    body = nn.Linear(channels * size**2, settings.width)
    return nn.Sequential(nn.Flatten(), body, nn.ReLU(), nn.Linear(settings.width, classes))
"""


@pytest.fixture
def write_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WritePackage:
    """Writes a module with this text, where {module} stands for its name; returns the name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> str:
        name = f"own_{next(NUMBERS)}"
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        (tmp_path / name / "part.py").write_text(text.replace("{module}", f"{name}.part"))
        importlib.invalidate_caches()
        return f"{name}.part"

    return write


@pytest.fixture
def own_model(write_package: WritePackage, flat: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with a model of the user's."""
    module = write_package(MODEL)
    others = {key: value for key, value in flat.items() if not key.startswith("model.")}
    return others | {
        "model.name": f"{module}.Wide", "model.width": 4, "model.gain": 1, "model.mode": "sum",
        "model.sizes": [3, 4],
    }  # fmt: skip


def refusal(flat: Mapping[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        config.parse(flat)
    return str(error.value)


@pytest.mark.parametrize(
    ("section", "name"), [(s, name) for s, names in kinds.SHORT_NAMES.items() for name in names]
)
def test_every_short_name_is_a_frozen_dataclass_with_code(section: str, name: str) -> None:
    settings = kinds.resolve(section, name)
    assert settings.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if name != "none":
        assert callable(kinds.imported(settings.entry))  # type: ignore[attr-defined]
    if section == "trainer":
        assert trainers.metrics(name)


def test_a_class_of_the_users_is_read_and_written_as_ours_are(own_model: dict[str, Any]) -> None:
    cell = config.parse(own_model)
    assert isinstance(cell, config.VisionCell)
    flat = config.flatten(cell)
    assert {key: flat[key] for key in own_model} == own_model
    assert type(flat["model.gain"]) is float


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model.widht": 4}, "model.widht: unknown key; did you mean model.width?"),
        ({"model.depth": 4}, "model.depth: unknown key; known here: model.name, model.width, mo"),
        ({"model.width": 4.5}, "model.width: found 4.5 (float), expected an integer"),
        ({"model.mode": "max"}, "model.mode: found 'max' (str), expected one of sum, mean"),
        ({"model.width": 0}, "model.width: found 0, expected at least 1"),
        ({"model.gain": None}, "model.gain: found None (NoneType), expected a number"),
    ],
)
def test_a_bad_setting_of_a_class_of_the_users_is_refused(
    own_model: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    assert refusal(own_model | change).startswith(message)


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ("self.widht < 1", "AttributeError: 'Wide' object has no attribute 'widht'"),
        ("int('a')", "ValueError: invalid literal for int() with base 10: 'a'"),
    ],
)
def test_an_error_in_a_check_of_the_users_is_named_with_its_place(
    write_package: WritePackage, own_model: dict[str, Any], check: str, problem: str
) -> None:
    module = write_package(MODEL.replace("self.width < 1", check))
    message = refusal(own_model | {"model.name": f"{module}.Wide"})
    assert message.startswith(f"model: {module}.Wide refused these values: {problem}")
    assert message.endswith("(part.py, line 16)")


def test_a_missing_setting_of_a_class_of_the_users_is_refused(own_model: dict[str, Any]) -> None:
    del own_model["model.gain"]
    assert "model.gain: missing; a Wide needs name, width, gain" in refusal(own_model)


FROZEN = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Wide:\n"
BAD = {
    "thing = 1": "has no class 'Wide'; its dataclasses: none",
    "class Wide: pass": "is a type, expected a frozen dataclass",
    FROZEN.replace("(frozen=True)", "") + " name: str": "that is not frozen",
    f"{FROZEN} entry='m:f'\n a: int": "no field `name: str`",
    f"{FROZEN} name: str": "has entry None",
    f"{FROZEN} entry='{{module}}:f'\n name: str": "does not exist",
    f"{FROZEN} entry='no.such:f'\n name: str": "does not exist",
    f"{FROZEN} entry='json:f'\n name: str\n a: dict": "Wide.a: found the type <class 'dict'>",
    "import no_such_library": "No module named 'no_such_library'",
    "1 / 0": "ZeroDivisionError: division by zero",
}


@pytest.mark.parametrize("text", BAD)
def test_a_class_that_cannot_hold_settings_is_refused(
    write_package: WritePackage, flat: Mapping[str, Any], text: str
) -> None:
    name = f"{write_package(text)}.Wide"
    message = refusal({**flat, "model.name": name})
    assert message.startswith(("model.name: ", name))
    assert BAD[text] in message


def test_a_module_that_does_not_exist_is_named(flat: Mapping[str, Any]) -> None:
    message = refusal({**flat, "model.name": "no_such_package.models.Wide"})
    assert message.startswith("model.name: no module 'no_such_package', expected a package of the")


def test_a_misspelt_module_is_answered_with_the_one_like_it(
    write_package: WritePackage, flat: Mapping[str, Any]
) -> None:
    package = write_package(MODEL).partition(".")[0]
    message = refusal({**flat, "model.name": f"{package}.pat.Wide"})
    assert message == f"model.name: no module '{package}.pat'; did you mean {package}.part?"


def test_a_name_without_a_module_is_answered_with_the_form_of_a_path(
    flat: Mapping[str, Any],
) -> None:
    message = refusal({**flat, "model.name": "Wide"})
    assert message.endswith("vit, or an import path, such as package.module.Class")


def test_an_optimiser_without_a_rate_is_refused(
    write_package: WritePackage, flat: Mapping[str, Any]
) -> None:
    name = f"{write_package(MODEL)}.Wide"
    assert "has no field lr and no field schedule" in refusal({**flat, "optim.name": name})


def test_a_field_with_another_type_than_our_column_is_refused(
    write_package: WritePackage, own_model: dict[str, Any]
) -> None:
    text = MODEL.replace("width: int", "width: str").replace("self.width < 1", "0")
    flat = own_model | {"model.name": f"{write_package(text)}.Wide"}
    with pytest.raises(ConfigError, match=r"model\.width: a field of .* with values of type str"):
        config.columns(flat)


@pytest.mark.parametrize("place", ["module", "package"])
def test_a_module_that_imports_torch_is_refused_without_it(tmp_path: Path, place: str) -> None:
    (tmp_path / "heavy").mkdir()
    text = MODEL.replace("{module}", "heavy.part")
    head = "import torch\n"
    (tmp_path / "heavy" / "__init__.py").write_text(head if place == "package" else "")
    (tmp_path / "heavy" / "part.py").write_text((head if place == "module" else "") + text)
    (tmp_path / "torch.py").touch()  # stands for the library, and takes no time
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); from trainers.config import kinds\n"
        "try:\n    kinds.resolve('model', 'heavy.part.Wide')\n"
        "except ValueError as error:\n    print(error)"
    )
    command = [sys.executable, "-c", program]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "model.name: the module heavy.part imports torch" in process.stdout
    assert "import it inside the function that `entry` names" in process.stdout


LATER = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Wide:
    entry = "{module}:build"
    later_keys = {"gain": 1.0}
    name: str
    width: int
    gain: float

build = print
"""


def test_a_later_key_of_the_users_is_left_out_while_it_is_as_before(
    write_package: WritePackage, flat: Mapping[str, Any]
) -> None:
    module = write_package(LATER)
    others = {key: value for key, value in flat.items() if not key.startswith("model.")}
    before = others | {"model.name": f"{module}.Wide", "model.width": 4}
    assert config.parse(before).model.gain == 1.0  # type: ignore[union-attr]
    assert "model.gain" not in config.flatten(config.parse(before | {"model.gain": 1}))
    assert config.flatten(config.parse(before | {"model.gain": 2}))["model.gain"] == 2.0
    assert config.fill_in_own(before) == before | {"model.gain": 1.0}


@dataclass(frozen=True)
class OwnVision(config.Vision):
    """Settings of a trainer that inherits ours."""

    entry = "test_kinds:count"
    later_keys = MappingProxyType({"gain": 1})
    name: str  # type: ignore[assignment]
    gain: int


def test_cells_of_a_class_that_inherits_from_ours_keep_their_ids(flat: Mapping[str, Any]) -> None:
    later = {"trainer.step_rows_per_decade": None, "trainer.recalibrate": None, "trainer.gain": 1}
    whole = config.flatten(config.parse(flat))
    earlier = {key: value for key, value in whole.items() if key not in later}
    earlier["trainer.name"] = "test_kinds.OwnVision"
    assert config.flatten(config.parse(earlier)) == earlier
    assert config.flatten(config.parse({**earlier, **later})) == earlier
    changed = {"trainer.recalibrate": 20}
    assert config.flatten(config.parse({**earlier, **changed})) == {**earlier, **changed}


@dataclass(frozen=True)
class Counting:
    """Settings of a trainer that counts."""

    entry = "test_kinds:count"
    metrics = "test_kinds:COLUMNS"
    name: str
    to: int
    most: int
    word: Literal["a", "b"]


COLUMNS = (Metric("count", "int32", "1", "numbers so far", "max"),)


def count(cell: Any, run: Run) -> str:
    """Log the numbers up to `trainer.to`."""
    for number in range(cell.trainer.to + 1):
        run.log(epoch=number, step=number, examples=0, count=number)
    return "done"


def test_a_trainer_of_the_users_writes_its_settings_into_the_record(tmp_path: Path) -> None:
    flat = {
        "seed": 0, "model.name": "none", "data.name": "none", "optim.name": "none",
        "trainer.name": "test_kinds.Counting", "trainer.to": 2, "trainer.most": 7,
        "trainer.word": "a",
        "run.device": "cpu", "run.threads": 1, "run.compile": False,
        "run.checkpoint_seconds": 60.0,
    }  # fmt: skip
    cell = config.parse(flat)
    assert config.flatten(cell) == flat
    for folder in ("curves", "runs", "checkpoints"):
        (tmp_path / folder).mkdir()
    part = Part(tmp_path, "w", trainers.metrics("test_kinds.Counting"))
    checkpoints = Checkpoints(tmp_path / "checkpoints", "c", 1, "w")
    run = Run("c", flat, 1, part, checkpoints, lambda: False, 60.0)
    assert trainers.train(cell, run) == "done"
    run.close("done")
    (record,) = pq.read_table(tmp_path / "runs" / "w.parquet").to_pylist()
    assert (record["trainer.to"], record["trainer.word"]) == ("2", "a")  # ours is a text
    assert record["trainer.most"] == 7
    assert (record["final_count"], record["model.width"]) == (2, None)


def unsettle(cell: Any, run: Any) -> str:
    import torch

    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return "done"


UNSETTLING_MODULE = """
import torch
torch.set_default_dtype(torch.float64)
torch.set_grad_enabled(False)
build = print
"""


def test_torch_is_as_before_for_the_next_cell(write_package: WritePackage) -> None:
    import torch

    cell: Any = SimpleNamespace(trainer=SimpleNamespace(entry="test_kinds:unsettle"))
    run: Any = None
    assert trainers.train(cell, run) == "done"
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
    kinds.imported(f"{write_package(UNSETTLING_MODULE)}:build")
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)


@dataclass(frozen=True)
class SignDescent:
    """Settings of an optimiser."""

    entry = "test_kinds:sign_descent"
    name: str
    lr: float
    schedule: config.Schedule | config.Milestones


def sign_descent(settings: SignDescent, parameters: Any) -> Any:
    import torch

    return torch.optim.Rprop(parameters, lr=settings.lr)


def test_an_optimiser_of_the_users_is_built(flat: Mapping[str, Any]) -> None:
    import torch

    from trainers import optim

    others = {
        key: value
        for key, value in flat.items()
        if not key.startswith("optim.") or ".schedule." in key
    }
    own = {**others, "optim.name": "test_kinds.SignDescent", "optim.lr": 0.5}
    cell = config.parse(own)
    optimiser = optim.build(cell.optim, [torch.zeros(2)])  # type: ignore[arg-type]
    assert isinstance(optimiser, torch.optim.Rprop)
    assert optimiser.defaults["lr"] == 0.5


@dataclass(frozen=True)
class Wrong:
    """Settings of a data set and of an optimiser whose code returns something else."""

    entry = "test_kinds:wrong"
    name: str
    lr: float
    schedule: config.Schedule | config.Milestones


def wrong(*_: Any) -> Any:
    return {}


def test_a_class_of_the_users_that_returns_something_else_is_refused() -> None:
    import torch

    from trainers import optim
    from trainers.data import splits

    settings = Wrong("test_kinds.Wrong", 0.1, config.Schedule("constant", 1, 1.0, 0))
    with pytest.raises(ConfigError, match="returned a dict, expected a torch"):
        optim.build(settings, [torch.zeros(2)])
    with pytest.raises(ConfigError, match="test_kinds:wrong: returned a dict, expected a Labelled"):
        splits.load(settings, 0, torch.device("cpu"))


@dataclass(frozen=True)
class Flatness(config.SavedWeights):
    """Settings of a measure."""

    measure = "test_kinds:Flatness"
    metrics = "test_kinds:COLUMNS"
    name: str
    steps: int


def test_a_measure_of_the_users_reads_trained_cells(flat: Mapping[str, Any]) -> None:
    others = {k: v for k, v in flat.items() if not k.startswith(("optim.", "trainer."))}
    settings = {
        "name": "test_kinds.Flatness", "of": "c1-0", "of_folder": None, "weights": "final",
        "images": None, "bn": "kept", "batch": 10, "steps": 3,
    }  # fmt: skip
    trainer = {f"trainer.{key}": value for key, value in settings.items()}
    cell = config.parse({**others, "optim.name": "none", **trainer})
    assert isinstance(cell, config.MeasureCell)
    assert cell.trainer.entry == "trainers.landscape:train"
    assert config.imported(cell.trainer.measure) is Flatness
    assert trainers.metrics("test_kinds.Flatness") == COLUMNS


MEASURE = """
from dataclasses import dataclass
from trainers.config import SavedWeights
from trainers.schema import Metric

COLUMNS = {columns}

@dataclass(frozen=True)
class Flatness(SavedWeights):
    measure = "{module}:Flatness"
    metrics = "{module}:{name}"
    name: str
"""


@pytest.mark.parametrize(
    ("columns", "name", "problem"),
    [
        ('(Metric("flatness", "float32", "1", "meaning"),)', "COLUMN", "found None, expected a tu"),
        ('("flatness",)', "COLUMNS", "found ('flatness',), expected a tuple such as (Metric("),
        ('(Metric("flatness", "real", "1", "meaning"),)', "COLUMNS", "No type alias for real; e"),
    ],
)
def test_metrics_of_a_measure_that_cannot_be_columns_are_refused(
    write_package: WritePackage, columns: str, name: str, problem: str
) -> None:
    text = MEASURE.replace("{columns}", columns).replace("{name}", name)
    trainer = f"{write_package(text)}.Flatness"
    with pytest.raises(ConfigError, match=re.escape(f"trainer.name: the metrics of {trainer}, ")):
        trainers.check_metrics(trainer)
    with pytest.raises(ConfigError, match=re.escape(problem)):
        trainers.check_metrics(trainer)


def test_a_metric_without_a_meaning_is_refused_where_its_module_is_imported(
    write_package: WritePackage,
) -> None:
    text = MEASURE.replace("{columns}", '(Metric("flatness"),)').replace("{name}", "COLUMNS")
    with pytest.raises(ConfigError, match="missing 3 required positional arguments: 'dtype', 'un"):
        trainers.check_metrics(f"{write_package(text)}.Flatness")


def test_a_measure_without_code_is_refused(write_package: WritePackage) -> None:
    text = MEASURE.replace("{columns}", "()").replace("measure =", "other =")
    with pytest.raises(ConfigError, match="Flatness has measure None, expected the place of its c"):
        kinds.resolve("trainer", f"{write_package(text)}.Flatness")
