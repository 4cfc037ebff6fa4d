"""Send the next round of a sweep's searches: `python -m launch.submit.advance FOLDER SID`.

Runs after the last task of a submission: as a SLURM job, in the background process of this
machine, or inside `--wait`. The new plan has the code, environment and settings of the plan that it
continues. It sends nothing while cells of the round run, if only cells that hold their search are
left, or if the user cancelled the sweep. Hydra and the sweep file are not needed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from analysis.store import StoreError
from launch.errors import UserError, quantity
from launch.plan import Plan, PlanError, load_all, markers
from launch.submit import submission
from launch.submit.rounds import searches_of
from launch.submit.submission import Submission
from launch.sweep.request import Packing, Policy, Request


def advance(folder: Path, sid: str | None = None) -> Submission | None:
    """Send the open rounds of all searches that go on by themselves.

    None if there are none, or if the user cancelled the sweep.

    `sid` names the submission to continue; by default it is the newest. Raises UserError as
    `submit` does.
    """
    if markers.rounds_stopped(folder):
        return None
    plans = load_all(folder)
    _plan_to_continue(plans, sid).check_owner(folder)
    request = next_request(folder, plans, sid)
    if not request.searches:
        return None
    return submission.submit(request, by_itself=True)


def next_request(folder: Path, plans: Sequence[Plan], sid: str | None) -> Request:
    """The request for the next rounds, with everything else as in the plan to continue.

    The canary is left out: the first round had it.
    """
    plan = _plan_to_continue(plans, sid)
    searches = [search for search in searches_of(plans) if search.advance == "auto"]
    return Request(
        name=folder.name,
        logs=folder.parent,
        cells=(),
        packing=Packing(**plan.packing),
        launcher=plan.launcher.released,
        chosen=plan.chosen,
        policy=replace(Policy(**plan.policy), canary=False),
        searches=searches,
        software=plan.software,
    )


def _plan_to_continue(plans: Sequence[Plan], sid: str | None) -> Plan:
    return next((plan for plan in plans if plan.sid == sid), plans[-1])


def main(arguments: Sequence[str]) -> int:
    """Advance the sweep in the folder that the arguments name; returns the exit status."""
    folder, sid = arguments
    try:
        result = advance(Path(folder), sid)
    except (UserError, PlanError, StoreError, OSError) as error:
        print(f"the next round was not sent: {error}", file=sys.stderr)
        return 1
    if result is None or result.plan is None:
        print("no round to send", file=sys.stderr)
    else:
        print(
            f"sent {quantity(len(result.plan.cells), 'cell')} as {result.plan.sid}", file=sys.stderr
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
