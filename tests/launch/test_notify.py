"""`notify.command`, and mail through SLURM."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.errors import UserError
from launch.plan import Plan, load, load_all, markers
from launch.plan.process import Process
from launch.report.notes import next_steps
from launch.report.overview import load_overview
from launch.scheduler import backend, cluster, slurm
from launch.status.sweep_state import load_sweep_state
from launch.submit import followup, notify
from launch.submit.submission import array_scripts
from launch.sweep import compose
from launch.sweep.request import Policy

OLD_LOGS = Path(__file__).parent / "old_logs"
WRITES = "import sys; open(sys.argv[1], 'w').write('|'.join(sys.argv[2:]))"


@pytest.fixture
def failed(logs: Path) -> Path:
    """A sweep whose three cells failed with one error."""
    shutil.copytree(OLD_LOGS / "noop", logs / "noop")
    for path in (logs / "noop").glob("submissions/*/local.json"):
        worker = json.loads(path.read_text())
        path.write_text(json.dumps({**worker, "host": socket.gethostname()}))
    return logs / "noop"


def with_command(folder: Path, command: str | None) -> Plan:
    """The plan of the sweep, written again with this notification."""
    (plan,) = load_all(folder)
    path = plan.folder(folder) / "plan.json"
    content = json.loads(path.read_text())
    content["policy"]["notify"] = command
    content.pop("checksum", None)
    path.write_text(json.dumps(content))
    return load(path)


def test_the_program_gets_the_name_and_how_the_sweep_ended(failed: Path, tmp_path: Path) -> None:
    output = tmp_path / "told"
    plan = with_command(failed, f'{sys.executable} -c "{WRITES}" {output}')
    assert notify.main([str(failed), plan.sid]) == 0
    name, line = output.read_text().split("|")
    assert name == "noop"
    assert line.startswith("held back, 3 cells: 3 failed (RuntimeError: the cell was told to fail")
    assert markers.notify_error(plan.folder(failed)) == ""


@pytest.mark.parametrize(
    ("command", "message"),
    [("false", "false ended with status 1"), ("no-such-program --to me", "no-such-program")],
)
def test_a_program_that_fails_is_reported_and_nothing_else_changes(
    command: str, message: str, failed: Path
) -> None:
    plan = with_command(failed, command)
    before = load_sweep_state(failed)
    assert notify.main([str(failed), plan.sid]) == 1
    assert message in markers.notify_error(plan.folder(failed))
    after = load_sweep_state(failed)
    assert after.cells == before.cells
    notes = [note.sentence for note in next_steps(load_overview(after))]
    assert any("notify.command failed" in line and message in line for line in notes)


def test_nobody_is_told_while_cells_run(failed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = with_command(failed, "false")
    monkeypatch.setattr(Process, "alive", lambda worker: True)
    for name in ("runs", "store", "curves"):
        shutil.rmtree(failed / name, ignore_errors=True)
    assert notify.notify(failed, plan.sid) is None


def test_the_job_that_notifies_comes_after_the_other_follow_ups(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subprocess import CompletedProcess

    plan = plan_of(policy={"compact": True, "notify": "mail-me"})
    plan.write(tmp_path)
    (plan.folder(tmp_path) / "output").mkdir()
    sent: list[str] = []

    def call(*words: str, timeout: float = 60) -> CompletedProcess[str]:
        sent.append(Path(words[-1]).read_text())
        return CompletedProcess(words, 0, f"{100 + len(sent)}\n", "")

    monkeypatch.setattr(slurm, "call", call)
    followup.send(plan, tmp_path, ["7", "8"])
    compaction, notification = sent
    assert "afterany:7:8\n" in compaction
    assert "afterany:7:8:101\n" in notification
    assert f"-m launch.submit.notify {tmp_path} {plan.sid}" in notification


def test_the_command_is_checked_and_left_out_of_plans_without_one() -> None:
    assert "notify" not in Policy().to_json()
    assert Policy(notify="a b").to_json()["notify"] == "a b"
    for command in ("", "'not closed", 3):
        with pytest.raises(UserError, match=r"notify\.command: found"):
            Policy(notify=command)  # type: ignore[arg-type]


def test_the_key_is_no_part_of_an_id(logs: Path) -> None:
    words = ["hydra/launcher=slurm", "seeds=[0]"]
    plain = compose.expand_sweep("noop", words)
    told = compose.expand_sweep("noop", [*words, "notify.command='mail -s done me'"])
    assert [cell.id for cell in plain.cells] == [cell.id for cell in told.cells]
    assert (plain.policy.notify, told.policy.notify) == (None, "mail -s done me")
    assert "notify.command='mail -s done me'" in told.chosen


def test_plan_prints_the_script_with_the_mail_that_slurm_sends(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launch.submit.preview import load_preview

    monkeypatch.setattr(cluster, "array_size", lambda: 2)
    mail = "+hydra.launcher.additional_parameters={mail-type: END, mail-user: me@example.org}"
    words = ["hydra/launcher=slurm", "seeds=[0,1,2]", mail]
    scripts = array_scripts(load_preview(compose.expand_sweep("noop", words)))
    assert [script.count("#SBATCH --array=") for script in scripts] == [1, 1]
    assert "#SBATCH --mail-type=END\n" in scripts[0]
    assert "#SBATCH --mail-user=me@example.org\n" in scripts[0]
    assert not logs.exists(), "plan changes nothing"
    local = load_preview(compose.expand_sweep("noop", ["hydra/launcher=local"]))
    with pytest.raises(UserError, match="found the launcher local"):
        array_scripts(local)


@pytest.mark.parametrize(
    ("overrides", "present", "launcher", "reason"),
    [
        (["hydra/launcher=v100"], True, "v100", "named on the command line"),
        (["task.cells=2"], True, "slurm", "SLURM is on this machine"),
        ([], False, "local", "no SLURM on this machine"),
    ],
)
def test_the_choice_of_the_launcher_has_a_reason(
    overrides: Any, present: bool, launcher: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "present", lambda: present)
    choice = backend.choose_launcher(overrides)
    assert f"hydra/launcher={launcher}" in choice.overrides
    assert choice.reason == reason
