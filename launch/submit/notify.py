"""Tell the user that a sweep ended or is held back: `python -m launch.submit.notify FOLDER SID`.

Runs after the last task of a submission, as the jobs of followup.py do. `notify.command` gets two
more words: the name of the sweep, and a line such as "75 cells: 72 done, 3 failed". While another
submission of the sweep still trains, or the next round of a search does, nothing is sent: what ends
last tells. A program that fails is reported by `status`, and changes nothing else.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from analysis.store import StoreError
from launch.errors import UserError, quantity
from launch.plan import Plan, PlanError, markers
from launch.plan.outcome import last_line
from launch.plan.plan import name_of
from launch.status.summary import failures
from launch.status.sweep_state import SweepState, load_sweep_state, trained_again
from launch.submit import canary

LIMIT_SECONDS = 120.0
"""A program that takes longer is ended."""


def notify(folder: Path, sid: str) -> str | None:
    """Run the command of a submission; returns its line, None if the sweep goes on.

    Raises UserError if the program fails, OSError if there is none.
    """
    state = load_sweep_state(folder)
    plan = next((plan for plan in state.plans if plan.sid == sid), None)
    if plan is None:
        raise UserError(f"{name_of(folder)}: the plan of submission {sid} is gone")
    if any(cell.state in ("running", "waiting") for cell in state.cells.values()):
        return None
    other_sids = [other.sid for other in state.plans if other.sid != sid]
    if any(trained_again(state, other).going_on for other in other_sids):
        return None
    line = summary_line(state, plan)
    command = [*shlex.split(plan.policy["notify"]), name_of(folder), line]
    try:
        subprocess.run(command, check=True, timeout=LIMIT_SECONDS, stdin=subprocess.DEVNULL)
    except subprocess.CalledProcessError as error:
        raise UserError(f"{command[0]} ended with status {error.returncode}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{command[0]} took more than {LIMIT_SECONDS:.0f} s") from None
    return line


def summary_line(state: SweepState, plan: Plan) -> str:
    """How a sweep ended, in one line: its cells by state, and the most frequent error."""
    counts = Counter(cell.state for cell in state.cells.values())
    parts = [f"{count} {name}" for name, count in counts.most_common()]
    line = f"{quantity(len(state.cells), 'cell')}: {', '.join(parts)}"
    without_result = trained_again(state, plan.sid).without_result
    if without_result:
        line += f", {len(without_result)} without a new result"
    failed_canary, kinds = canary.failed_canary(state, plan), failures(state)
    if failed_canary is not None:
        return f"held back, {line} (the canary failed: {last_line(failed_canary[1])})"
    if kinds:
        line += f" ({kinds[0].error})"
    repeated = markers.RepeatedErrors(plan.folder(state.folder)).stopped_by()
    return f"held back, {line}" if repeated else line


def main(arguments: Sequence[str]) -> int:
    """Notify about the submission that the arguments name; returns the exit status."""
    folder, sid = Path(arguments[0]), arguments[1]
    try:
        line = notify(folder, sid)
    except (UserError, PlanError, StoreError, OSError) as error:
        print(f"the notification failed: {error}", file=sys.stderr)
        markers.record_notify_error(folder / "submissions" / sid, str(error))
        return 1
    print(f"notified: {line}" if line else "no notification: cells still run", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
