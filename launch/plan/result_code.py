"""The code that the result of a cell depends on: the trainers, and the packages of the user's that
cells name. How cells are planned, sent and drawn changes no result.

The code archives in logs/NAME/code have the sources of every submission, so results of earlier
versions can be compared too. Standard library only.
"""

from __future__ import annotations

import ast
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from launch.errors import UserError
from launch.plan.own_code import own_sources
from launch.plan.snapshot import DAMAGES, our_sources

Sources = Mapping[str, bytes]
"""Python files by their place in an archive."""

_WITHOUT_RESULT = ("launch/", "analysis/")


def present_sources(packages: Iterable[str]) -> Sources:
    """The sources that results would depend on now, with those of the user's `packages`.

    A package that cannot be imported here is left out: nothing is known about its code.
    """
    sources = dict(_of_results(our_sources()))
    for package in packages:
        try:
            sources |= own_sources([package])
        except UserError:
            continue
    return sources


def archived_sources(archive: Path) -> Sources:
    """The sources of a submission's archive that results depend on; empty if it cannot be read."""
    try:
        with zipfile.ZipFile(archive) as file:
            return _of_results({name: file.read(name) for name in file.namelist()})
    except DAMAGES:
        return {}


def _of_results(sources: Sources) -> Sources:
    return {
        name: content for name, content in sources.items() if not name.startswith(_WITHOUT_RESULT)
    }


def same_results(earlier: Sources, present: Sources) -> bool:
    """Whether no file that both have says something else.

    A file of one of them alone does not count: a file that uses it differs too.
    """
    common = earlier.keys() & present.keys()
    changed = [name for name in common if earlier[name] != present[name]]
    return all(_meaning(earlier[name]) == _meaning(present[name]) for name in changed)


def _meaning(source: bytes) -> str | bytes:
    """A source without comments, layout and docstrings; as it is if it cannot be parsed."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)
