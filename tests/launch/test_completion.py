"""What a shell completes: commands, sweeps, cells, keys and values."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.shell_completion import CompletionItem, ShellComplete

from launch.cli import completion
from launch.cli.commands import main
from launch.plan import Plan

SCRIPTS = Path(sys.executable).parent


def completions(*words: str) -> list[str]:
    """What follows the last word, which may be empty."""
    *before, incomplete = words
    complete = ShellComplete(main, {}, "redescent", completion.VARIABLE)
    items: list[CompletionItem] = complete.get_completions(before, incomplete)
    return [item.value for item in items]


def test_commands_and_shells_are_completed() -> None:
    assert completions("sta") == ["status"]
    assert completions("completion", "") == ["bash", "zsh", "fish"]


def test_sweeps_come_from_files_before_they_are_sent_and_from_logs_after(
    logs: Path, plan_of: Callable[..., Plan]
) -> None:
    assert completions("plan", "demo_g") == ["demo_grokking"]
    assert completions("status", "d") == []
    plan_of().write(logs / "demo")
    assert completions("status", "d") == ["demo"]
    assert completions("why", "x", "--sweep", "d") == ["demo"]


def test_cells_are_completed_to_an_id_that_why_takes(
    logs: Path, plan_of: Callable[..., Plan], cell_ids: Sequence[str]
) -> None:
    plan_of().write(logs / "demo")
    damaged = logs / "demo" / "submissions" / "damaged"
    damaged.mkdir()
    (damaged / "plan.json").write_text("{")
    assert completions("why", "c1-") == sorted(cell[:11] for cell in cell_ids)
    assert completions("logs", cell_ids[0][:12]) == [cell_ids[0]]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("model.wid", ["model.width=", "model.widths="]),
        ("hydra/launcher=s", ["hydra/launcher=slurm"]),
        ("hydra.launcher.time", ["hydra.launcher.timeout_min="]),
        ("task.at", ["task.at_a_time="]),
        ("data=dig", ["data=digits"]),
        ("run.compile=", ["run.compile=false", "run.compile=true"]),
        ("notify", ["notify.command="]),
    ],
)
def test_keys_and_values_of_overrides_are_completed(typed: str, expected: list[str]) -> None:
    assert completions("plan", "demo", typed) == expected
    assert completions("submit", "demo", "seeds=[0]", typed) == expected


def test_resume_completes_only_the_keys_that_it_accepts() -> None:
    assert completions("resume", "demo", "hydra/launcher=s") == ["hydra/launcher=slurm"]
    assert "hydra.launcher.timeout_min=" in completions("resume", "demo", "")
    assert not [word for word in completions("resume", "demo", "") if word.startswith("model")]


def test_bash_gets_a_key_and_its_value_as_three_words() -> None:
    words = ["plan", "demo", "hydra/launcher", "=", "sl"]
    assert completion.joined(words) == ["plan", "demo", "hydra/launcher=sl"]


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes_the_value_of_a_key(tmp_path: Path) -> None:
    script = tmp_path / "completion.bash"
    script.write_text(completion.script("bash", main))
    program = (
        f"source {script}\n"
        "COMP_WORDS=(redescent plan demo hydra/launcher = sl) COMP_CWORD=5\n"
        "_redescent_completion redescent\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    environment = os.environ | {"PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    process = subprocess.run(
        ["bash", "--norc", "-c", program], env=environment, capture_output=True, text=True
    )
    assert process.stdout == "slurm\n", process.stderr


def test_completing_loads_no_hydra() -> None:
    program = (
        "import sys\n"
        "from launch.cli import completion\n"
        "assert completion.overrides(None, None, 'model.dep') == ['model.depth=']\n"
        "assert completion.sweep_files(None, None, 'demo_g')\n"
        "print(*sys.modules)\n"
    )
    process = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    loaded = set(process.stdout.split())
    assert not {"hydra", "omegaconf", "pandas", "numpy", "torch", "submitit"} & loaded
