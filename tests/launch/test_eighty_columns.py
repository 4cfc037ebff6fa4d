"""Every command at 80 columns: no line is wider, and no word is broken."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.text import Text

from analysis import store
from launch.cli import commands, doctor, layout
from launch.cli.console import console
from launch.cli.doctor import Finding

OLD_LOGS = Path(__file__).parent / "old_logs"
WIDTH = 80
FINDINGS = [
    Finding("Python", "ok", "3.12.1 at /usr/bin/python"),
    Finding("partition", "problem", "jobs will never start: " + "they take one node, and " * 8),
]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the logs of an earlier version, as the machine that wrote them sees them."""
    logs = tmp_path / "logs"
    shutil.copytree(OLD_LOGS, logs)
    for path in logs.glob("*/submissions/*/local.json"):
        worker = json.loads(path.read_text())
        path.write_text(json.dumps({**worker, "host": socket.gethostname()}))
    monkeypatch.setenv("REDESCENT_LOGS", str(logs))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "examine", lambda overrides: FINDINGS)
    return tmp_path


@pytest.fixture
def shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Runs a command in this process at a width; returns what it prints."""

    def run(*words: str, width: int = WIDTH) -> str:
        monkeypatch.setattr(console, "_width", width)
        with pytest.raises(SystemExit):
            commands.main(list(words))
        return capsys.readouterr().out

    return run


def commands_of(logs: Path) -> list[tuple[str, ...]]:
    smoke = store.runs(logs / "smoke").set_index("status")["cell"]
    failed = store.runs(logs / "noop")["cell"][0]
    cells = [*smoke, failed]
    return [
        ("list",),
        ("status", "smoke"),
        ("status", "noop"),
        ("status", "noop", "--failed"),
        ("status", "smoke", "--cells"),
        ("plan", "noop", "hydra/launcher=slurm", "hydra.launcher.partition=long-partition"),
        ("plan", "noop", "hydra/launcher=local", "--retry-errors"),
        ("doctor",),
        *(("why", cell) for cell in cells),
    ]


def test_every_command_fits_eighty_columns_and_breaks_no_word(
    project: Path, shown: Callable[..., str]
) -> None:
    for words in commands_of(project / "logs"):
        text = shown(*words)
        assert text.strip(), words
        of_traceback = text.partition("Traceback")[0]
        wide = [line for line in of_traceback.splitlines() if len(line) > WIDTH]
        assert wide == [], words
        whole = {word.partition("=")[2] or word for word in shown(*words, width=1000).split()}
        narrow = {word.partition("=")[2] or word for word in text.split()}
        assert narrow - whole <= {"settings"}, words


def test_output_without_a_terminal_has_no_frames_and_no_colours(
    project: Path, shown: Callable[..., str]
) -> None:
    text = "".join(shown(*words) for words in commands_of(project / "logs")[:5])
    assert set(text).isdisjoint("│┌┐└┘├┤─━\x1b")


def test_the_short_ids_of_a_sweep_are_unique() -> None:
    from launch.cli.tables import short_ids

    ids = ["c1-0123456789", "c1-0123456abc", "c1-fedcba9876"]
    assert short_ids(ids) == ["c1-01234567", "c1-0123456a", "c1-fedcba98"]
    ids = ["c1-0123456789ab", "c1-0123456789cd"]
    assert short_ids(ids) == ids[:0] + [id[:14] for id in ids]


def test_why_names_first_what_differs_from_other_cells(
    project: Path, shown: Callable[..., str]
) -> None:
    cell = store.runs(project / "logs" / "noop")["cell"][0]
    text = shown("why", cell)
    assert text.index("seed=") < text.index("as in all cells") < text.index("trainer.fail=error")


def test_a_column_that_does_not_fit_goes_below_the_others() -> None:
    rows = [["name", Text("a " * 30 + os.sep + "b" * 50, "red")]]
    lines = list(layout.table_lines(("key", "value"), rows, 24))
    assert [str(line) for line in lines][:3] == ["key", "    value", "name"]
    assert str(lines[-1]) == "    " + os.sep + "b" * 50, "a long word stays whole"
    assert all(isinstance(line, Text) for line in lines[3:])


def test_a_paragraph_indents_what_follows_its_first_line() -> None:
    lines = layout.wrapped("one two three four", 9, 4)
    assert [line.plain for line in lines] == ["one two", "three", "four"]
    assert [line.plain for line in layout.wrapped("a\n\n  b", 9)] == ["a", "", "  b"]
