"""The files that belong to the repository, without those that its user has added."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tracked(folder: Path, pattern: str) -> list[Path]:
    """The files in `folder` that match and that git tracks, by name; all without git."""
    paths = sorted(folder.glob(pattern))
    known = _known()
    return [path for path in paths if path in known] if known else paths


@functools.cache
def _known() -> frozenset[Path]:
    """The files that git tracks; none if this is no clone."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return frozenset()
    return frozenset(ROOT / name for name in listed.stdout.split("\0") if name)
