"""The code and environment that jobs run with: an archive of the sources, hashes and versions.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import time
import zipfile
import zipimport
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.plan.files import user_name, write_bytes
from launch.plan.own_code import own_sources

SOURCE = Path(__file__).resolve().parents[2]
EXAMPLE = SOURCE / "launch" / "example"
"""What `redescent init` writes, in an installed package; no code of jobs."""

_PACKAGES = (
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "pillow",
    "hydra-core",
    "omegaconf",
    "submitit",
)

TERMINAL_ONLY = ("report",)
"""Folders of launch/ that no job imports: a change in how a report looks is no change of the code
that results come from."""

_STATISTICS = ("__init__.py", "condition.py", "lattice.py", "posterior.py", "threshold.py")
"""Files of analysis/stats that searches need."""

DAMAGES = (
    OSError, EOFError, ImportError, LookupError, ValueError, OverflowError, NotImplementedError,
    RuntimeError, struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip
"""What reading an archive can raise if a byte of it has changed."""


@dataclass(frozen=True)
class Software:
    """What jobs run with; the fields have the names, and the meanings, of those of a plan."""

    python: str
    code: str
    code_archive: str
    environment: str
    packages: Mapping[str, str]
    commit: str


def current_software(sweep: Path, packages: Collection[str] = ()) -> Software:
    """The sources and packages of this process; archives the sources in the sweep's folder, those
    of the user's `packages` with them.
    """
    code, archive = snapshot(sweep, packages)
    return _software(code, archive)


def planned_software(sweep: Path, packages: Collection[str] = ()) -> Software:
    """The sources and packages of this process; the archive is not written, only its path known."""
    code = code_hash(packages)
    return _software(code, _archive_of(sweep, code))


def _software(code: str, archive: Path) -> Software:
    digest, versions = environment()
    return Software(
        python=sys.executable,
        code=code,
        code_archive=str(archive.resolve()),
        environment=digest,
        packages=versions,
        commit=commit(),
    )


def code_hash(packages: Collection[str] = ()) -> str:
    """Hash of the sources that jobs would import now, those of the user's `packages` with them.
    Changes nothing.

    Raises UserError for a package that cannot be imported.
    """
    return _hash({**our_sources(), **own_sources(packages)})


def _hash(sources: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in sources.items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def snapshot(sweep: Path, packages: Collection[str] = ()) -> tuple[str, Path]:
    """Archive the packages that jobs import, ours and the user's `packages`; returns the hash of
    the sources and the archive.

    It is one zip file, from which Python imports directly: one inode, written atomically, and
    nobody edits it by accident.
    """
    sources = {**our_sources(), **own_sources(packages)}
    code = _hash(sources)
    archive = _archive_of(sweep, code)
    if archive_hash(archive) != code:  # absent, damaged, or put there by somebody else
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(archive, _zip(sources))
    return code, archive


def _archive_of(sweep: Path, code: str) -> Path:
    return sweep / "code" / f"{code}.zip"


def archive_hash(archive: Path) -> str | None:
    """Hash of the sources that Python imports from an archive, as in its name; None if it cannot
    read them all.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            names = file.namelist()
        importer = zipimport.zipimporter(str(archive))
        importer.invalidate_caches()  # of an earlier file with this name
        contents = {name: importer.get_data(os.path.join(archive, name)) for name in names}
    except DAMAGES:
        return None
    return _hash(contents) if len(contents) == len(names) else None


def difference_from_plan(code: str, archive: str) -> str | None:
    """Why this process does not run the code of a plan; None if it does.

    `code` and `archive` are those of the plan. Where Python cannot import from the archive, it
    takes an installed package without a word.
    """
    remedy = "`redescent resume` writes the archive again"
    source = Path(__file__).parents[2]
    if source.resolve() != Path(archive).resolve():
        return (
            f"the code of the plan was not imported: found {source}, expected {archive}, which "
            f"was removed, damaged or cannot be read; {remedy}"
        )
    digest = archive_hash(Path(archive))
    if digest != code:
        return (
            f"{archive}: not the code of the plan: found {digest or 'a damaged archive'}, expected "
            f"{code}; {remedy}"
        )
    return None


def _zip(sources: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in sources.items():
            file.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def our_sources() -> dict[str, bytes]:
    """The packages of the jobs, the store, which compaction needs, and the statistics and
    conditions of searches, which the job that sends the next round needs.
    """
    paths: list[Path] = []
    for package in ("launch", "trainers"):
        files = sorted((SOURCE / package).rglob("*.py"))
        paths += [path for path in files if EXAMPLE not in path.parents]
    paths = [path for path in paths if path.parent.name not in TERMINAL_ONLY]
    analysis = SOURCE / "analysis"
    paths.append(analysis / "__init__.py")
    paths += sorted((analysis / "store").glob("*.py"))
    paths += [analysis / "stats" / name for name in _STATISTICS]
    return {str(path.relative_to(SOURCE)): path.read_bytes() for path in paths}


def environment() -> tuple[str, dict[str, str]]:
    """A short hash of the versions of Python and of the packages that results depend on."""
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    text = json.dumps(versions, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12], versions


def commit() -> str:
    """The git commit of the sources, with "+changes" if they were edited; empty where they are no
    checkout, such as an installed package inside another repository.
    """
    if not (SOURCE / ".git").exists():
        return ""
    try:
        head = _git("rev-parse", "HEAD")
        edited = head and _git("status", "--porcelain", "--", "launch", "trainers")
    except OSError:
        return ""
    return f"{head}+changes" if edited else head


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(SOURCE), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    return process.stdout.strip() if process.returncode == 0 else ""


def origin() -> dict[str, Any]:
    """Fields of a plan: user, time and host."""
    return {
        "created": time.time(),
        "user": user_name(os.getuid()),
        "host": socket.gethostname(),
    }
