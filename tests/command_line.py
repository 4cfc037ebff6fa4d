"""`redescent` as a process of its own, forked from one that has imported what it needs: starting
Python, pandas, Hydra and our own modules anew costs two seconds for each command.

A process whose PYTHONPATH leads to another checkout imports launch/, trainers/ and analysis/ anew,
from there.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    "click",
    "hydra",
    "hydra._internal.hydra",
    "hydra_plugins.hydra_submitit_launcher.config",
    "numpy",
    "omegaconf",
    "pandas",
    "pyarrow.compute",
    "pyarrow.dataset",
    "pyarrow.parquet",
    "rich.console",
    "rich.live",
    "rich.table",
    "submitit",
)
OURS = (
    "launch.report.notes",
    "launch.submit.cancel",
    "launch.submit.rounds",
    "launch.submit.submission",
    "launch.sweep.compose",
    "analysis.store.compact",
)
"""Modules below launch/cli, whose console takes its width from the environment when it is
imported.
"""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([*LIBRARIES, *OURS])


@dataclass(frozen=True)
class Command:
    """A command that was started; `process.pid` is its process."""

    words: tuple[str, ...]
    process: BaseProcess
    output: Path

    def wait(self, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Its output and exit status; ends it and raises TimeoutExpired if it takes longer."""
        self.process.join(seconds)
        if self.process.exitcode is None:
            self.process.kill()
            raise subprocess.TimeoutExpired(self.words, seconds)
        stdout, stderr = ((self.output / name).read_text() for name in ("stdout", "stderr"))
        shutil.rmtree(self.output)
        return subprocess.CompletedProcess(self.words, self.process.exitcode, stdout, stderr)


def start(
    *words: str,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    configs: Path | None = None,
) -> Command:
    """Start `redescent WORDS` in a folder, with another configs/ if asked."""
    output = Path(tempfile.mkdtemp(prefix="redescent-command-"))
    surroundings = dict(os.environ if environment is None else environment)
    process = _context.Process(
        target=_main, args=(words, surroundings, str(folder), str(output), configs)
    )
    process.start()
    return Command(words, process, output)


def redescent(
    *words: str,
    environment: Mapping[str, str] | None = None,
    folder: Path = ROOT,
    configs: Path | None = None,
    check: bool = False,
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run `redescent WORDS` to its end; fails with its output if `check`."""
    command = start(*words, environment=environment, folder=folder, configs=configs)
    process = command.wait(seconds)
    assert process.returncode == 0 or not check, process.stdout + process.stderr
    return process


def _main(
    words: tuple[str, ...],
    environment: Mapping[str, str],
    folder: str,
    output: str,
    configs: Path | None,
) -> None:
    """What the forked process does."""
    _take_over(environment, folder, Path(output))
    sys.argv = ["redescent", *words]
    from launch import cli
    from launch.sweep import compose

    if configs is not None:
        compose.CONFIGS = configs
    cli.main()


def _forget_our_modules() -> None:
    """Import launch/, trainers/ and analysis/ anew when they are asked for."""
    for name in list(sys.modules):
        if name.partition(".")[0] in ("launch", "trainers", "analysis"):
            del sys.modules[name]


def _take_over(environment: Mapping[str, str], folder: str, output: Path) -> None:
    """Take the environment, the folder and the output of the command."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    paths = [path for path in environment.get("PYTHONPATH", "").split(":") if path]
    sys.path[:0] = paths
    if any((Path(path) / "launch").is_dir() and Path(path) != ROOT for path in paths):
        _forget_our_modules()
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(output / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
