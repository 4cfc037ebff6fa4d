"""Exit statuses: one meaning each, and messages of errors on standard error."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from analysis.store import compact
from launch import train
from launch.cli import commands, doctor, exits
from launch.cli.doctor import Finding
from launch.plan import Plan, files
from launch.report import sweeps

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "exit_statuses.md"


def status_of(call: Callable[[], object]) -> Any:
    with pytest.raises(SystemExit) as end:
        call()
    return end.value.code or 0


def interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def fault(*_: object) -> None:
    raise ZeroDivisionError("a fault")


@pytest.mark.parametrize(("verdict", "expected"), [("ok", 0), ("warning", 0), ("problem", 1)])
def test_doctor_ends_with_one_if_a_check_found_a_problem(
    verdict: Any, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda overrides: [Finding("x", verdict, "")])
    assert status_of(lambda: commands.main(["doctor"])) == expected


@pytest.mark.parametrize(
    "words", [["status", "nothing"], ["status"], ["status", "--nothing"], ["nothing"]]
)
def test_a_mistake_of_the_user_ends_with_two(
    words: list[str], logs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(lambda: commands.main(words)) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "rror:" in output.err


@pytest.mark.parametrize(
    "options", [("--cells", "--failed"), ("--cells", "--watch"), ("--failed", "--metric", "x")]
)
def test_status_ignores_no_option(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(lambda: commands.main(["status", "noop", *options])) == 2
    message = capsys.readouterr().err
    assert all(option in message for option in options if option.startswith("--"))


def test_a_fault_of_the_program_ends_with_three_and_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("launch.cli.report.load_sweeps", fault)
    assert sweeps.load_sweeps is not fault
    assert status_of(lambda: commands.main(["list"])) == 3
    assert "ZeroDivisionError: a fault" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["completion", "zsh"], ["list"]], ids=str)
def test_output_that_nobody_reads_ends_silently_with_141(
    words: list[str], logs: Path, plan_of: Callable[..., Plan]
) -> None:
    plan_of(backend="local").write(logs / "demo")
    reading, writing = os.pipe()
    os.close(reading)
    program = f"from launch.cli import main; main({words!r})"
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=PAGE.parents[2],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (process.returncode, process.stderr) == (141, "")


def test_an_interrupt_ends_with_130_in_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("launch.cli.report.load_sweeps", interrupt)
    assert status_of(lambda: commands.main(["list"])) == 130
    assert capsys.readouterr() == ("", "interrupted\n")


@pytest.mark.parametrize(
    ("words", "expected", "message"),
    [
        (["modle.width=3"], 2, "modle"),
        (["trainer=noop", "model=none", "data=none", "optim=none", "seeds=[0,1]"], 2, "seeds"),
    ],
)
def test_train_ends_with_two_for_a_wrong_configuration(
    words: list[str],
    expected: int,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "argv", ["train", *words])
    assert status_of(train.main) == expected
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("raised", "expected"), [(interrupt, 130), (sys.exit, 1)])
def test_train_tells_an_interrupt_from_a_failed_cell(
    raised: Callable[..., Any], expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(config: DictConfig) -> None:
        raised(1)

    monkeypatch.setattr(train, "run", run)
    monkeypatch.setattr(sys, "argv", ["train"])
    assert status_of(train.main) == expected


def test_compacting_ends_with_one_for_a_damaged_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("runs", "curves"):
        (tmp_path / name).mkdir()
    assert compact.main(str(tmp_path)) == 0
    (tmp_path / "runs" / "a.parquet").write_bytes(b"damaged")
    assert compact.main(str(tmp_path)) == 1
    assert "not compacted" in capsys.readouterr().err


def test_the_page_has_every_status() -> None:
    text = PAGE.read_text()
    assert [code for code in (0, 1, 2, 3, 130, 141) if f"\n| {code} |" not in text] == []


def test_an_error_of_the_file_system_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o755)
    denied = PermissionError(errno.EACCES, "Permission denied", str(folder / "demo" / ".lock"))
    message = exits._message_of(denied)
    user = files.user_name(os.getuid())
    assert f".lock: permission denied; {folder} belongs to {user}" in message
    assert f"drwxr-xr-x. No results are lost: change them (`chmod u+rwX {folder}`)" in message
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    assert f"No results are lost: ask {user} for access" in exits._message_of(denied)
    full = OSError(errno.ENOSPC, "No space left on device")
    assert exits._message_of(full).startswith("the disk is full, or a quota is used up. No")
