"""What is written for SLURM and read from it, without a SLURM: scripts, environments, and the text
of its answers.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.cli import doctor
from launch.errors import UserError
from launch.plan import Launcher, Plan, Search
from launch.plan.jobs import Array, job_name
from launch.scheduler import cluster, own_task, slurm
from launch.scheduler.sbatch import array_script, check
from launch.scheduler.slurm import Queue, Task, parse_accounting, parse_queue
from launch.submit import followup
from launch.sweep.compose import expand_sweep

ARRAY = Array("demo.S1.20", first=20, count=10, sent=0.0)
PlanOf = Callable[..., Plan]


def text_of(plan: Plan, array: Array = ARRAY) -> str:
    return array_script(plan, Path("/logs/demo/plan.json"), Path("/logs/demo/output"), array)


def flags(text: str) -> dict[str, str]:
    """The #SBATCH lines as {name: value}."""
    lines = [
        line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH")
    ]
    return {
        name: "".join(shlex.split(value))
        for name, _, value in (line.partition("=") for line in lines)
    }


def test_an_array_that_waits_for_a_canary_leaves_the_queue_when_that_fails(plan_of: PlanOf) -> None:
    held_file = dataclasses.replace(ARRAY, after=["7", "9"])
    result = flags(text_of(plan_of(), held_file))
    assert (result["dependency"], result["kill-on-invalid-dep"]) == ("afterok:7:9", "yes")
    assert "dependency" not in flags(text_of(plan_of()))
    own_array = dataclasses.replace(
        plan_of(),
        launcher=Launcher(
            {
                **plan_of().launcher.settings,
                "additional_parameters": {"dependency": "after:1"},
            }
        ),
    )
    assert flags(text_of(own_array, held_file))["dependency"] == "after:1,afterok:7:9"


def test_an_array_starts_when_trainings_have_ended_in_any_way(plan_of: PlanOf) -> None:
    held_file = dataclasses.replace(ARRAY, after=["7"], follows=["9", "10"])
    assert flags(text_of(plan_of(), held_file))["dependency"] == "afterok:7,afterany:9:10"


def test_compaction_is_a_small_job_that_runs_after_all_arrays_end(
    plan_of: PlanOf,
) -> None:
    launcher = {
        **plan_of().launcher.settings,
        "gres": "gpu:v100:1",
        "partition": "long",
        "array_parallelism": 9,
        "timeout_min": 1380,
        "additional_parameters": {"hold": True, "exclusive": True, "reservation": "ours"},
    }
    plan = plan_of(launcher=launcher)
    folder, small = Path("/logs/demo"), followup.small_settings(plan)
    (job,) = followup.follow_ups(dataclasses.replace(plan, policy={"compact": True}), folder)
    text = followup.text(plan, job, ["7", "9"], small)
    result = flags(text)
    assert (result["dependency"], result["partition"], result["time"]) == (
        "afterany:7:9",
        "long",
        "60",
    )
    assert not {"gres", "array", "hold", "exclusive"} & set(result)
    assert result["reservation"] == "ours"
    assert "export PYTHONPATH=/logs/demo/code/c0de.zip" in text
    assert text.rstrip().endswith("/opt/py/bin/python -P -m analysis.store.compact /logs/demo")
    full = followup.text(plan, job, ["7"], followup.full_settings(plan))
    assert flags(full)["gres"] == "gpu:v100:1"
    assert "hold" not in flags(full)


def test_the_next_round_is_sent_by_a_small_job_with_the_code_of_its_plan(plan_of: PlanOf) -> None:
    search = Search("trainer.epochs", "fitted", {}, [0], [], "auto", {})
    plan = plan_of(searches=[search], policy={"compact": True})
    jobs = followup.follow_ups(plan, Path("/logs/demo"))
    assert [job.name for job in jobs] == ["next", "compact"]
    text = followup.text(plan, jobs[0], ["7", "9"], followup.small_settings(plan))
    assert flags(text)["dependency"] == "afterany:7:9"
    assert flags(text)["job-name"] == f"demo.{plan.sid}.next"
    assert "export PYTHONPATH=/logs/demo/code/c0de.zip" in text
    command = f"/opt/py/bin/python -P -m launch.submit.advance /logs/demo {plan.sid}"
    assert text.rstrip().endswith(command)
    manual = plan_of(searches=[dataclasses.replace(search, advance="manual")])
    assert followup.follow_ups(manual, Path("/logs/demo")) == []


def test_script_names_the_job_its_array_its_signal_and_its_output(plan_of: PlanOf) -> None:
    result = flags(text_of(plan_of()))
    assert result["job-name"] == "demo.S1.20"
    assert result["array"].partition("%")[0] == "0-9"
    assert result["signal"] == "USR2@90"
    assert result["time"] == "60"
    assert result["mem"] == "1536MB"
    assert result["output"].startswith("/logs/demo/output/%A_%a")
    assert result["open-mode"] == "append"


def test_script_runs_the_worker_of_the_plan_from_the_code_of_the_plan(plan_of: PlanOf) -> None:
    lines = text_of(plan_of()).splitlines()
    assert "export PYTHONPATH=/logs/demo/code/c0de.zip" in lines
    (step,) = (line for line in lines if line.startswith("srun "))
    inner = shlex.split(step)[-1]
    assert shlex.split(inner.partition("exec ")[2]) == [
        "/opt/py/bin/python",
        "-P",
        "-u",
        "-m",
        "launch.job",
        "/logs/demo/plan.json",
        "--first",
        "20",
    ]


def test_neither_the_shell_nor_a_worker_that_starts_dies_of_the_signal(plan_of: PlanOf) -> None:
    lines = text_of(plan_of()).splitlines()
    step = next(i for i, line in enumerate(lines) if line.startswith("srun "))
    assert lines.index("trap : USR2 TERM") < step
    assert shlex.split(lines[step])[-1].startswith("trap '' USR2 TERM; exec ")


def test_script_is_a_pure_function_and_valid_bash(plan_of: PlanOf, tmp_path: Path) -> None:
    plan = plan_of(python="/opt/my py/python", code_archive="/a 'b'/c.zip")
    text = text_of(plan)
    assert text == text_of(plan)
    assert not list(tmp_path.iterdir())
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert "export PYTHONPATH='/a '\"'\"'b'\"'\"'/c.zip'" in text


@pytest.mark.parametrize(
    ("setting", "value", "flag", "expected"),
    [
        ("timeout_min", 1380, "time", "1380"),
        ("mem_gb", 12, "mem", "12288MB"),
        ("cpus_per_task", 4, "cpus-per-task", "4"),
        ("gres", "gpu:v100:1", "gres", "gpu:v100:1"),
        ("partition", "long", "partition", "long"),
        ("signal_delay_s", 120, "signal", "USR2@120"),
        ("array_parallelism", 4, "array", "0-9%4"),
        ("additional_parameters", {"mail-user": "a@b"}, "mail-user", "a@b"),
    ],
)
def test_a_launcher_setting_becomes_its_sbatch_flag(
    plan_of: PlanOf, setting: str, value: Any, flag: str, expected: str
) -> None:
    plan = plan_of()
    array = dataclasses.replace(plan, launcher=Launcher({**plan.launcher.settings, setting: value}))
    assert flags(text_of(array))[flag] == expected


def test_memory_by_its_name_in_sbatch_is_passed_on(plan_of: PlanOf) -> None:
    plan = plan_of()
    settings = {**plan.launcher.settings, "mem_gb": None, "mem": "8G"}
    assert flags(text_of(dataclasses.replace(plan, launcher=Launcher(settings))))["mem"] == "8G"


def test_settings_that_are_null_or_not_for_sbatch_leave_no_trace(plan_of: PlanOf) -> None:
    plan = plan_of()
    extra = {"partition": None, "max_num_timeout": 3, "submitit_folder": "x", "name": "y"}
    assert text_of(
        dataclasses.replace(plan, launcher=Launcher({**plan.launcher.settings, **extra}))
    ) == text_of(plan)


def test_an_unknown_launcher_setting_lists_the_legal_ones(plan_of: PlanOf) -> None:
    with pytest.raises(
        UserError, match=r"unknown timeot_min; submitit \S+ knows .*\bpartition\b.*\btime\b"
    ):
        check(Launcher({**plan_of().launcher.settings, "timeot_min": 3}))


@pytest.mark.parametrize("launcher", [{}, {"_target_": "x.JoblibLauncher"}], ids=str)
def test_a_launcher_of_another_kind_is_refused(launcher: dict[str, str]) -> None:
    with pytest.raises(UserError, match="expected hydra/launcher=slurm, v100, local, debug"):
        _ = Launcher(launcher).kind


def test_job_names_carry_sweep_submission_and_first_task(plan_of: PlanOf) -> None:
    assert job_name(plan_of(), 40) == "demo.20260102T030405-0a1b2c3d.40"
    assert job_name(plan_of(name="a,b c"), 0).startswith("a-b-c.")


@pytest.mark.parametrize(
    ("environment", "overrides", "expected"),
    [
        ({"SBATCH_PARTITION": "gpu", "SBATCH_ACCOUNT": "lab"}, [], ("gpu", "lab")),
        ({"SBATCH_ACCOUNT": "lab"}, ["hydra.launcher.account=own"], (None, "own")),
        ({"SBATCH_PARTITION": "gpu"}, ["hydra.launcher.partition=null"], (None, None)),
        ({"SBATCH_PARTITION": "", "SBATCH_ACCOUNT": ""}, [], (None, None)),
        ({}, [], (None, None)),
    ],
)
def test_partition_and_account_of_the_login_shell_are_those_of_the_jobs(
    environment: dict[str, str],
    overrides: list[str],
    expected: tuple[str | None, str | None],
    plan_of: PlanOf,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("SBATCH_PARTITION", "SBATCH_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    request = expand_sweep("noop", ["hydra/launcher=slurm", *overrides])
    options = flags(text_of(plan_of(launcher=dict(request.launcher.settings))))
    assert (options.get("partition"), options.get("account")) == expected


def test_sbatch_forgets_the_surrounding_job_but_not_the_cluster(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "SLURM_JOB_ID",
        "SLURM_ARRAY_TASK_ID",
        "SLURM_MEM_PER_NODE",
        "SBATCH_PARTITION",
        "SRUN_CPUS_PER_TASK",
        "SALLOC_ACCOUNT",
        "SQUEUE_PARTITION",
        "SQUEUE_USERS",
        "SACCT_FORMAT",
        "SINFO_PARTITION",
        "SLURM_CONF",
        "SLURMTMP",
        "HOME",
    ):
        monkeypatch.setenv(name, "x")
    environment = slurm.clean_environment()
    assert {"SLURM_CONF", "SLURMTMP", "HOME"} <= set(environment)
    prefixes = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SINFO_")
    assert [name for name in environment if name.startswith(prefixes)] == ["SLURM_CONF"]


@pytest.mark.parametrize(
    ("line", "task"),
    [
        ("5|3|demo.S1.0|RUNNING|n7|None", Task("5", 3, "demo.S1.0", "RUNNING", "None", "n7")),
        ("5|0|demo.S1.0|PENDING||Nodes required for job are DOWN, DRAINED or reserved",
         Task("5", 0, "demo.S1.0", "PENDING", "Nodes required for job are DOWN, DRAINED or "
                                              "reserved")),
        ("  5|12|n|COMPLETING|n7|a|b  ", Task("5", 12, "n", "COMPLETING", "a|b", "n7")),
        ("5|N/A|n|RUNNING||None", Task("5", 0, "n", "RUNNING", "None")),  # not an array
        ("5|3|n|RUNNING", Task("5", 3, "n", "RUNNING")),
    ],
)  # fmt: skip
def test_a_line_of_squeue_is_a_task(line: str, task: Task) -> None:
    assert parse_queue(line) == [task]


@pytest.mark.parametrize(
    ("line", "indices", "state"),
    [
        ("5_3|n|RUNNING|None", [3], "RUNNING"),
        ("5_[0-3]|n|PENDING|None", [0, 1, 2, 3], "PENDING"),
        ("5_[0-3,7%2]|n|PENDING|None", [0, 1, 2, 3, 7], "PENDING"),
        ("5_[4%10]|n|PENDING|Priority", [4], "PENDING"),
        ("5_[1,3,5-6]|n|PENDING|", [1, 3, 5, 6], "PENDING"),
        ("5_3|n|CANCELLED by 1000|None", [3], "CANCELLED"),
        ("5_3|n|NODE_FAIL|None", [3], "NODE_FAIL"),
        ("5_3|n|OUT_OF_MEMORY", [3], "OUT_OF_MEMORY"),
    ],
)
def test_a_line_of_sacct_is_one_task_or_several(line: str, indices: list[int], state: str) -> None:
    result = parse_accounting(line)
    assert [task.index for task in result] == indices
    assert {(task.job, task.name, task.state) for task in result} == {("5", "n", state)}


@pytest.mark.parametrize(
    "text", ["", "\n\n", "5_3.batch|n|COMPLETED|", "5_3.0|bash|FAILED|", "slurm: something else"]
)
def test_what_is_no_task_in_sacct_is_passed_over(text: str) -> None:
    assert parse_accounting(text) == []


@pytest.mark.parametrize(
    ("indices", "expected"),
    [("[0-6:2%4]", [0, 2, 4, 6]), ("[0,2-3,...]", [0, 2, 3]), ("[...]", [0])],
)
def test_a_line_of_sacct_always_tells_its_job(indices: str, expected: list[int]) -> None:
    assert [(t.job, t.index) for t in parse_accounting(f"5_{indices}|n|PENDING|x")] == [
        ("5", i) for i in expected
    ]


NOON = time.mktime((2026, 1, 2, 12, 0, 0, 0, 0, -1))
"""2026-01-02T12:00:00 in local time."""


@pytest.mark.parametrize(
    ("state", "end", "ended", "live", "stuck"),
    [
        ("PREEMPTED", "2026-01-02T11:59:30", 30.0, True, False),  # perhaps requeued in a moment
        ("PREEMPTED", "2026-01-02T11:57:00", 180.0, False, False),
        ("PREEMPTED", "N/A", None, True, False),
        ("COMPLETING", "2026-01-02T11:57:00", 180.0, True, False),
        ("COMPLETING", "2026-01-02T11:50:00", 600.0, True, True),
        ("COMPLETING", "2026-01-02T12:00:09", 0.0, True, False),  # a clock that differs
        ("COMPLETING", "2026-01-02T13:00:00", None, True, False),  # requeued: its time limit
        ("REQUEUED", "2026-01-02T11:50:00", 600.0, True, False),
        ("RUNNING", "2026-01-02T11:50:00", None, True, False),
        ("PENDING", "N/A", None, True, False),
    ],
)
def test_a_preempted_task_ends_and_a_completing_one_is_stuck_after_a_while(
    state: str, end: str, ended: float | None, live: bool, stuck: bool
) -> None:
    (task,) = parse_queue(f"5|3|n|{state}|n7|a|b|{end}", NOON)
    assert (task.reason, task.node, task.ended_seconds) == ("a|b", "n7", ended)
    assert (task.live, task.is_stuck) == (live, stuck)
    (task,) = parse_accounting(f"5_3|n|{state}|None|{end}", NOON)
    assert (task.reason, task.ended_seconds, task.live) == ("None", ended, live)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("00:02:00", 2), ("1-00:00:30", 1440.5), ("UNLIMITED", None), ("NONE", None), ("", None)],
)
def test_a_time_limit_in_minutes(text: str, minutes: float | None) -> None:
    assert cluster.minutes_of(text) == minutes


PARTITIONS = """\
PartitionName=main AllowGroups=ALL Default=YES QoS=N/A MaxNodes=UNLIMITED MaxTime=1-00:00:00 MinNodes=0
PartitionName=short AllowGroups=ALL Default=NO QoS=N/A MaxNodes=UNLIMITED MaxTime=00:02:00 MinNodes=0
PartitionName=wide AllowGroups=ALL Default=NO QoS=N/A MaxNodes=8 MaxTime=UNLIMITED MinNodes=2
"""  # noqa: E501


@pytest.mark.parametrize(
    ("settings", "verdict", "text"),
    [
        ({"partition": "short", "timeout_min": 60}, "problem", "partition short allows 2"),
        ({"partition": "short", "timeout_min": 60}, "problem", "hydra.launcher.timeout_min=2 ("),
        ({"partition": "short", "timeout_min": 60, "signal_delay_s": 120}, "problem",
         " and hydra.launcher.signal_delay_s=60 or another"),
        ({"partition": "gpu", "timeout_min": 60}, "problem", "found gpu, this cluster has main"),
        ({"partition": "short", "timeout_min": 60, "qos": "long"}, "warning", "allows 2"),
        ({"partition": "short", "timeout_min": 2}, "ok", "short allows"),
        ({"partition": "short", "timeout_min": None}, "ok", "short allows"),
        ({"partition": "short,main", "timeout_min": 60}, "ok", "short allows"),
        ({"partition": None, "timeout_min": 60}, "ok", "main allows"),
        ({"partition": None, "timeout_min": 2000}, "problem", "partition main allows 1440"),
        ({"partition": "wide", "timeout_min": 60}, "problem", "partition wide allows 2 to 8"),
    ],
)  # fmt: skip
def test_the_doctor_knows_jobs_that_never_start(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], verdict: str, text: str
) -> None:
    answer = subprocess.CompletedProcess((), 0, PARTITIONS, "")
    monkeypatch.setattr(slurm, "call", lambda *_: answer)
    (finding,) = doctor.partition_findings(Launcher({"_target_": "x.SlurmLauncher", **settings}))
    assert finding.verdict == verdict
    assert text in finding.detail


def test_the_doctor_judges_no_partition_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm, "call", lambda *_: subprocess.CompletedProcess((), 1, "", "x"))
    assert doctor.partition_findings(Launcher({"partition": "short"})) == []


def test_an_empty_queue_has_no_tasks() -> None:
    assert parse_queue("") == parse_queue("\n \n") == []


names = st.text("abc.-_", min_size=1, max_size=8)
tasks = st.builds(
    Task,
    st.integers(1, 10**7).map(str),
    st.integers(0, 10**6),
    names,
    st.sampled_from(["RUNNING", "COMPLETED"]),
    names,
)


@given(st.lists(tasks, max_size=5))
def test_tasks_come_back_from_the_text_of_both_commands(given_tasks: list[Task]) -> None:
    queue = "\n".join(
        f"{t.job}|{t.index}|{t.name}|{t.state}|{t.node}|{t.reason}" for t in given_tasks
    )
    accounting = "\n".join(f"{t.job}_{t.index}|{t.name}|{t.state}|{t.reason}" for t in given_tasks)
    assert parse_queue(queue) == parse_accounting(accounting) == given_tasks


@pytest.mark.parametrize(
    "state",
    [
        "PENDING",
        "RUNNING",
        "COMPLETING",
        "CONFIGURING",
        "REQUEUED",
        "PREEMPTED",
        "SUSPENDED",
        "A_NEW_WORD",
    ],
)
def test_a_task_that_may_run_again_is_live(state: str) -> None:
    assert Task("5", 0, "n", state).live


@pytest.mark.parametrize(
    "state",
    [
        "COMPLETED",
        "FAILED",
        "CANCELLED",
        "TIMEOUT",
        "NODE_FAIL",
        "OUT_OF_MEMORY",
        "BOOT_FAIL",
        "DEADLINE",
    ],
)
def test_a_task_that_ended_is_not_live(state: str) -> None:
    assert not Task("5", 0, "n", state).live


def test_an_error_of_slurm_is_no_answer_and_never_no_jobs(fake: Callable[[str, str], None]) -> None:
    assert slurm.queue(["n"]).tasks is None  # no such command
    for command in ("squeue", "sacct"):
        fake(command, "echo 'Unable to contact slurm controller' >&2; exit 1")
    assert slurm.queue(["n"]) == Queue(None, "Unable to contact slurm controller")
    fake("squeue", "exit 3")
    assert slurm.queue(["n"]) == Queue(None, "squeue ended with status 3")
    assert slurm.accounting(["n"]) is None


@pytest.mark.parametrize(
    ("output", "job"),
    [
        ("123\n", "123"),
        ("123;alpha\n", "123"),
        ("--- Welcome ---\n123;alpha\n", "123"),
        ("42 jobs run\n123\nbye\n", "123"),
        ("--- Welcome ---\n", None),
        ("", None),
    ],
)
def test_the_number_of_a_job_is_found_among_lines_of_a_site(output: str, job: str | None) -> None:
    assert slurm.job_number(output) == job


def test_lines_of_a_site_around_squeue_are_no_tasks(fake: Callable[[str, str], None]) -> None:
    fake("squeue", "echo '--- Welcome ---'; echo '7|1|b|RUNNING||None'")
    assert slurm.queue(["b"]).tasks == [Task("7", 1, "b", "RUNNING", "None")]


def test_a_command_says_once_that_it_waits_for_a_program(
    fake: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(slurm, "NOTICE_SECONDS", 0.2)
    monkeypatch.setattr(slurm, "_noticed", set())
    fake("squeue", "true")
    assert slurm.queue(["n"]) == Queue([])
    assert capsys.readouterr().err == ""
    fake("squeue", "/bin/sleep 1")
    for _ in range(2):
        assert slurm.queue(["n"]) == Queue([])
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "waiting for squeue, at most 60 s\n")


def test_a_command_that_hangs_is_no_answer(fake: Callable[[str, str], None]) -> None:
    fake("squeue", "while :; do :; done")
    assert slurm.call("squeue", timeout=0.2).returncode == 124


def test_the_scheduler_is_asked_once_for_a_sweep(
    fake: Callable[[str, str], None], tmp_path: Path
) -> None:
    fake("squeue", f"echo \"$@\" >> {tmp_path}/calls; echo '7|1|b|RUNNING||None'")
    assert slurm.queue(["a", "b"]).tasks == [Task("7", 1, "b", "RUNNING", "None")]
    assert slurm.queue([]).tasks == []
    (call,) = (tmp_path / "calls").read_text().splitlines()
    assert "--name a,b" in call


@pytest.fixture
def last_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the last task of an array of three, 7_2: its job has the id of the array."""
    for name, value in (("JOB_ID", "7"), ("ARRAY_JOB_ID", "7"), ("ARRAY_TASK_ID", "2")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    for name in ("JOB_END_TIME", "RESTART_COUNT"):
        monkeypatch.delenv(f"SLURM_{name}", raising=False)


def answers(task: str, array: str) -> str:
    """A script with one answer for task 7_2, and another for the whole array."""
    return f"case \"$*\" in *7_2*) printf '{task}';; *) printf '{array}';; esac"


@pytest.mark.usefixtures("last_task")
def test_the_last_task_of_an_array_reads_its_own_state(fake: Callable[[str, str], None]) -> None:
    fake("squeue", answers("RUNNING\\n", "RUNNING\\nRUNNING\\nPENDING\\n"))
    assert own_task.state() == "RUNNING"


@pytest.mark.usefixtures("last_task")
def test_the_last_task_of_an_array_reads_its_own_end(fake: Callable[[str, str], None]) -> None:
    end = "2026-01-02T12:00:00\\n"
    fake("squeue", answers(end, end + end))
    assert own_task.end() == NOON


@pytest.mark.usefixtures("last_task")
def test_the_last_task_of_an_array_is_not_cancelled_with_another(
    fake: Callable[[str, str], None],
) -> None:
    fake("sacct", answers("RUNNING\\n", "CANCELLED by 0\\nRUNNING\\n"))
    running, cancelled = "JobId=7 JobState=RUNNING\\n", "JobId=8 JobState=CANCELLED\\n"
    fake("scontrol", answers(running, running + cancelled))
    assert not own_task.is_cancelled()
    fake("sacct", "exit 1")
    assert not own_task.is_cancelled()


def test_a_job_without_an_array_asks_for_its_job(
    fake: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.delenv("SLURM_ARRAY_JOB_ID", raising=False)
    fake("squeue", 'case " $* " in *" 7 "*) echo RUNNING;; esac')
    assert own_task.state() == "RUNNING"


@pytest.mark.usefixtures("last_task")
@pytest.mark.parametrize(
    ("error", "calls"),
    [
        ("scontrol: error: Requested operation is presently disabled", own_task.MOST_REFUSALS),
        ("scontrol: error: Unable to contact slurm controller (connect failure)", 12),
        ("scontrol: error: Socket timed out on send/recv operation", 12),
    ],
)
def test_only_refusals_end_the_tries_to_requeue_early(
    fake: Callable[[str, str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: str,
    calls: int,
) -> None:
    """A busy controller may answer squeue, and not scontrol."""
    log = tmp_path / "calls"
    fake("scontrol", f"echo call >>{log}; echo '{error}' >&2; exit 1")
    fake("squeue", "echo RUNNING")
    slept: list[float] = []
    clock = SimpleNamespace(time=lambda: sum(slept), sleep=slept.append)
    monkeypatch.setattr(own_task, "time", clock)
    assert own_task.requeue(until=21.0) == error
    assert log.read_text().count("call") == calls


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ("MaxArraySize            = 1001\nMaxJobCount = 10000", 1000),
        ("MaxArraySize = 5\nSchedulerParameters = bf_continue,max_array_tasks=3", 3),
        ("", 1000),
        ("MaxArraySize = 0", 1),
    ],
)
def test_arrays_keep_within_the_limits_of_the_cluster(
    fake: Callable[[str, str], None], config: str, size: int
) -> None:
    fake("scontrol", f"printf '{config}\\n'")
    assert cluster.array_size() == size


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"nodes": 2}, "nodes: found 2, expected 1"),
        ({"tasks_per_node": 4}, "tasks_per_node: found 4, expected 1"),
        ({"additional_parameters": {"ntasks-per-gpu": 2}}, "ntasks-per-gpu: found 2, expected 1"),
        ({"additional_parameters": {"ntasks": "3"}}, "ntasks: found '3', expected 1"),
        ({"timeout_min": 0}, "timeout_min: found 0, expected at least 1 minute"),
        ({"timeout_min": float("nan")}, "timeout_min: found nan"),
        ({"timeout_min": 1, "signal_delay_s": 60}, "signal_delay_s: found 60, expected less than"),
    ],
)
def test_settings_under_which_a_task_cannot_work_are_refused(
    plan_of: PlanOf, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        check(Launcher({**plan_of().launcher.settings, **settings}))
