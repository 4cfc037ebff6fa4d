"""Models, data sets, optimisers and trainers by name.

A name is one of the short names below, or the import path `package.module.Class` of any other
frozen dataclass, so that a class of the user's is used as one of ours is. The class declares the
settings, and its attribute `entry` is the place of the code, `package.module:function`, which is
imported only where a cell trains. docs/reference/classes.md says what each function is given and
returns.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import functools
import importlib
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from trainers.config.reader import ConfigError, check_settings
from trainers.config.spelling import did_you_mean

SHORT_NAMES: Mapping[str, Mapping[str, str]] = {
    "model": {
        "none": "trainers.config.cell.Absent",
        "resnet18": "trainers.config.model.ResNet18",
        "cnn5": "trainers.config.model.CNN5",
        "mlp": "trainers.config.model.MLP",
        "convnet": "trainers.config.model.ConvNet",
        "vit": "trainers.config.model.ViT",
        "fully_connected": "trainers.config.model.FullyConnected",
        "resnet20": "trainers.config.model.ResNet20",
        "vgg13": "trainers.config.model.VGG13",
        "quadratic": "trainers.config.model.Quadratic",
        "transformer": "trainers.config.model.Transformer",
    },
    "data": {
        "none": "trainers.config.cell.Absent",
        "cifar10": "trainers.config.data.CIFAR10",
        "digits": "trainers.config.data.Digits",
        "svhn": "trainers.config.data.SVHN",
        "swiss_roll": "trainers.config.data.SwissRoll",
        "spirals": "trainers.config.data.Spirals",
        "rings": "trainers.config.data.Rings",
        "table": "trainers.config.data.Table",
        "arithmetic": "trainers.config.data.Arithmetic",
    },
    "optim": {
        "none": "trainers.config.cell.Absent",
        "sgd": "trainers.config.optim.SGD",
        "adam": "trainers.config.optim.Adam",
        "adamw": "trainers.config.optim.Adam",
        "shampoo": "trainers.config.optim.Shampoo",
        "soap": "trainers.config.optim.SOAP",
        "nesterov": "trainers.config.optim.Nesterov",
        "rmsprop": "trainers.config.optim.RMSprop",
        "amsgrad": "trainers.config.optim.AdamLike",
        "adamax": "trainers.config.optim.AdamLike",
        "adagrad": "trainers.config.optim.Adagrad",
        "adadelta": "trainers.config.optim.Adadelta",
        "asgd": "trainers.config.optim.ASGD",
    },
    "trainer": {
        "vision": "trainers.config.trainer.Vision",
        "algorithmic": "trainers.config.trainer.Algorithmic",
        "minima": "trainers.config.trainer.Minima",
        "radius": "trainers.config.measure.Radius",
        "volume": "trainers.config.measure.Volume",
        "surface": "trainers.config.measure.Surface",
        "line": "trainers.config.measure.Line",
        "path": "trainers.config.measure.Path",
        "curvature": "trainers.config.measure.Curvature",
        "sharpness": "trainers.config.measure.Sharpness",
        "boundary": "trainers.config.measure.Boundary",
        "progress": "trainers.config.measure.Progress",
        "noop": "trainers.config.trainer.NoOp",
    },
}
"""The short names of each section, and the import path of each."""


class Kind(Protocol):
    """The settings of a model, data set, optimiser or trainer."""

    @property
    def name(self) -> str:
        """The short name or import path of its class."""

    @property
    def entry(self) -> str:
        """Where its code is: `package.module:function`."""


@dataclasses.dataclass(frozen=True)
class OneOf:
    """What a section of a cell can be: some short names, and any import path."""

    section: str
    names: tuple[str, ...]

    def choose(self, key: str, name: Any) -> type:
        """The dataclass that `name`, the value of `key`, stands for. Raises `ConfigError`."""
        if name in self.names or is_import_path(name):
            return resolve(self.section, name)
        names = f"one of {', '.join(self.names)}, or " if self.names else ""
        raise ConfigError(
            f"{key}: found {name!r}, expected {names}an import path, such as package.module.Class"
        )

    def short_kinds(self) -> list[type]:
        """The dataclasses of the short names, each once."""
        return list(dict.fromkeys(resolve(self.section, name) for name in self.names))


def is_import_path(name: Any) -> bool:
    """Whether a name is an import path, and no short name."""
    return isinstance(name, str) and "." in name


def own_names(flat: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sections of a flat configuration whose name is an import path, with that path."""
    names = []
    for section in SHORT_NAMES:
        name = flat.get(f"{section}.name")
        if is_import_path(name):
            names.append((section, str(name)))
    return names


@functools.cache
def resolve(section: str, name: str) -> type:
    """The frozen dataclass that a short name or an import path stands for.

    Raises `ConfigError` if there is none, or if it cannot be used as settings.
    """
    key = f"{section}.name"
    path = SHORT_NAMES[section].get(name, name)
    if not is_import_path(path):
        names = ", ".join(SHORT_NAMES[section])
        raise ConfigError(
            f"{key}: found {name!r}, expected one of {names}, or an import path "
            "package.module.Class"
        )
    module_name, _, class_name = path.rpartition(".")
    settings: type = _attribute(key, _without_torch(key, module_name), class_name)
    if path == name:
        _check(key, path, settings)
        if section == "optim":
            _check_rate(key, path, settings)
    return settings


def _without_torch(key: str, name: str) -> Any:
    """The module of that name, which must not import torch: sweeps are planned without it."""
    return module_without_torch(
        key,
        name,
        "import it inside the function that `entry` names, or put that function into a module of "
        "its own (the __init__.py of a package counts too)",
    )


def module_without_torch(key: str, name: str, advice: str) -> Any:
    """The module of that name. Raises `ConfigError`, with advice, if it imports torch, which sweeps
    are planned without, or cannot be imported.
    """
    had_torch = "torch" in sys.modules
    module = _module(key, name)
    if "torch" in sys.modules and not had_torch:
        raise ConfigError(
            f"{key}: the module {name} imports torch, which takes seconds and is never loaded to "
            f"plan a sweep; {advice}"
        )
    return module


def _module(key: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            near = _nearest_module(error.name)
            if near is not None:
                raise ConfigError(
                    f"{key}: no module {error.name!r}; did you mean {near}?"
                ) from None
            raise ConfigError(
                f"{key}: no module {error.name!r}, expected a package of the project folder or an "
                "installed one; run the command inside the project, whose pyproject.toml has a "
                "table [tool.redescent], or set REDESCENT_PROJECT to its folder"
            ) from None
        raise ConfigError(f"{key}: the module {name} cannot be imported: {error}") from error
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{key}: the module {name} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _nearest_module(name: str) -> str | None:
    """The module or package beside a missing one whose name is like it; None if there is none."""
    package, _, last = name.rpartition(".")
    folders = getattr(sys.modules.get(package), "__path__", []) if package else None
    names = [module.name for module in pkgutil.iter_modules(folders)]
    near = difflib.get_close_matches(last, names, n=1, cutoff=0.8)
    return f"{package}.{near[0]}".lstrip(".") if near else None


def _attribute(key: str, module: Any, name: str) -> Any:
    if hasattr(module, name):
        return getattr(module, name)
    names = [other for other, value in vars(module).items() if dataclasses.is_dataclass(value)]
    otherwise = f"its dataclasses: {', '.join(names) or 'none'}"
    hint = did_you_mean(name, names, otherwise, most=1)
    raise ConfigError(f"{key}: the module {module.__name__} has no class {name!r}; {hint}")


def _check(key: str, path: str, settings: Any) -> None:
    """Raise `ConfigError` unless `settings` is a frozen dataclass with a name and an entry."""
    is_dataclass = isinstance(settings, type) and dataclasses.is_dataclass(settings)
    if not is_dataclass or not settings.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        kind = "a dataclass that is not frozen" if is_dataclass else f"a {type(settings).__name__}"
        raise ConfigError(
            f"{key}: {path} is {kind}, expected a frozen dataclass: write @dataclass(frozen=True) "
            "above the class"
        )
    check_settings(path, settings)
    _check_place(key, path, settings, "entry")
    if settings.entry == _MEASURING:
        _check_place(key, path, settings, "measure")


_MEASURING = "trainers.landscape:train"
"""The entry of all measures, whose own code is what their attribute `measure` names."""


def _check_place(key: str, path: str, settings: Any, attribute: str) -> None:
    """Raise `ConfigError` unless an attribute of a class names something in an existing module."""
    place = getattr(settings, attribute, None)
    module, colon, name = place.partition(":") if isinstance(place, str) else ("", "", "")
    if not (module and colon and name):
        raise ConfigError(
            f"{key}: {path} has {attribute} {place!r}, expected the place of its code as a class "
            f'attribute without annotation: {attribute} = "package.module:name"'
        )
    exists = hasattr(sys.modules[module], name) if module in sys.modules else _is_module(module)
    if not exists:
        raise ConfigError(f"{key}: the {attribute} of {path}, {place}, does not exist")


def _is_module(name: str) -> bool:
    """Whether a module exists; its parents are imported, it is not."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _check_rate(key: str, path: str, settings: Any) -> None:
    names = {field.name for field in dataclasses.fields(settings)}
    missing = sorted({"lr", "schedule"} - names)
    if missing:
        raise ConfigError(
            f"{key}: {path} has no field {' and no field '.join(missing)}, expected `lr: float` "
            "and `schedule: Schedule | Milestones` (from trainers.config): the trainers set the "
            "rate before each step"
        )


def entry(settings: Kind) -> Any:
    """The function or class that the entry of some settings names. Imports torch with it."""
    return imported(settings.entry)


def check_returned(settings: Kind, value: object, kind: type, expected: str) -> None:
    """Raise ConfigError unless the entry of `settings` returned a value of this class."""
    if not isinstance(value, kind):
        found = "None" if value is None else f"a {type(value).__name__}"
        raise ConfigError(f"{settings.entry}: returned {found}, expected {expected}")


def imported(place: str) -> Any:
    """The object at a place `package.module:name`.

    What a module sets in torch when it is imported is undone: a process imports it once, and the
    next cell would train without it.
    """
    module, _, name = place.partition(":")
    with torch_defaults():
        return getattr(importlib.import_module(module), name)


@contextlib.contextmanager
def torch_defaults() -> Iterator[None]:
    """Restore torch's default dtype and gradient mode afterwards, which a class of the user's may
    change: the next cell of the process must not depend on it. Imports no torch.
    """
    torch = sys.modules.get("torch")
    before = (torch.get_default_dtype(), torch.is_grad_enabled()) if torch is not None else None
    try:
        yield
    finally:
        torch = sys.modules.get("torch")
        if torch is not None:
            dtype, grad = before or (torch.float32, True)
            if torch.get_default_dtype() != dtype:
                torch.set_default_dtype(dtype)
            if torch.is_grad_enabled() != grad:
                torch.set_grad_enabled(grad)
