"""Which files belong to the repository: what a user adds to a clone is not among them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import repository_files
from repository_files import tracked


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with two files, of which git tracks one."""
    for name in ("shipped", "mine"):
        (tmp_path / f"{name}.yaml").touch()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "shipped.yaml"], cwd=tmp_path, check=True)
    monkeypatch.setattr(repository_files, "ROOT", tmp_path)
    repository_files._known.cache_clear()
    yield tmp_path
    repository_files._known.cache_clear()


def test_a_file_that_git_does_not_track_is_left_out(clone: Path) -> None:
    assert tracked(clone, "*.yaml") == [clone / "shipped.yaml"]


def test_without_git_all_files_count(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert tracked(clone, "*.yaml") == [clone / "mine.yaml", clone / "shipped.yaml"]
