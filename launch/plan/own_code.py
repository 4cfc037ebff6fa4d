"""The sources of the user's packages that cells name, for the code archive of their jobs.

Standard library only.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from launch.errors import UserError
from launch.plan.project import VARIABLE, project_folder
from trainers.config import kinds


def packages_of(configurations: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The top-level packages of all import paths in some flat configurations."""
    packages: set[str] = set()
    for flat in configurations:
        for _, name in kinds.own_names(flat):
            packages.add(name.partition(".")[0])
    return frozenset(packages)


def own_sources(packages: Collection[str]) -> dict[str, bytes]:
    """The Python files of these packages, by their place in an archive.

    A package of the project folder brings those of the project that it imports. Raises UserError
    for a package that is not there.
    """
    sources: dict[str, bytes] = {}
    waiting, visited = sorted(packages), set(packages)
    while waiting:
        files = _files_of(waiting.pop())
        for place, path in files.items():
            sources[place] = path.read_bytes()
            for name in _neighbours(path, sources[place]):
                if name not in visited:
                    visited.add(name)
                    waiting.append(name)
    return dict(sorted(sources.items()))


def _files_of(package: str) -> dict[str, Path]:
    """The Python files of a top-level package or module, by their place in an archive."""
    origin = Path(_spec(package).origin or "")
    if origin.name != "__init__.py":
        return {origin.name: origin}
    folder = origin.parent
    files = sorted(folder.rglob("*.py"))
    return {f"{package}/{path.relative_to(folder).as_posix()}": path for path in files}


def _spec(package: str) -> ModuleSpec:
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise UserError(
            f"{package}: cells name this package, and it cannot be imported here; run the command "
            f"inside the project, or set {VARIABLE} to its folder"
        )
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise UserError(
            f"{package}: found {spec.origin or 'a folder without __init__.py'}, expected a package "
            "of Python files, which jobs import from an archive; add an empty __init__.py"
        )
    return spec


def _neighbours(path: Path, content: bytes) -> Iterator[str]:
    """The top-level packages and modules of the project that a file of it imports."""
    folder = project_folder()
    if folder is None or not path.is_relative_to(folder):
        return
    for name in _imports(path, content):
        if _is_imported_from(folder, name):
            yield name


def _is_imported_from(folder: Path, name: str) -> bool:
    """Whether Python takes a top-level package or module from this folder; a folder without
    __init__.py is a package too, unless an installed one has its name.
    """
    package, module = folder / name, folder / f"{name}.py"
    if not package.is_dir() and not module.exists():
        return False
    spec = importlib.util.find_spec(name)
    if spec is None:
        return False
    places = [spec.origin or "", *(spec.submodule_search_locations or ())]
    return any(Path(place) in (package, module) for place in places)


def _imports(path: Path, content: bytes) -> set[str]:
    """The top-level names that a file imports, inside functions too."""
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path}: not valid Python: {error}") from None
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names
