"""Arguments and options that several commands have, and how the shell completes them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def complete(what: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Completes an argument by a function of launch/cli/completion.py, which is loaded then."""

    def completions(
        context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[str]:
        from launch.cli import completion

        return list(getattr(completion, what)(context, parameter, incomplete))

    return completions


class Seconds(click.ParamType[float]):
    """A time in seconds, as `--watch` accepts it."""

    name = "seconds"

    def convert(
        self, value: Any, param: click.Parameter | None, context: click.Context | None
    ) -> float:
        """The number of seconds; fails for other text, and for a time out of range."""
        from launch.cli.status import LEAST_SECONDS, MOST_SECONDS

        try:
            seconds = float(value)
        except ValueError:
            hint = f"found {value!r}, expected seconds; write NAME before --watch"
            self.fail(hint, param, context)
        if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
            hint = f"found {value} s, expected {LEAST_SECONDS:.0f} to {MOST_SECONDS:.0f}"
            self.fail(hint, param, context)
        return seconds


name = click.argument("name", shell_complete=complete("sweep_files"))
"""A sweep to send: a file in configs/sweep/."""

sent_name = click.argument("name", shell_complete=complete("sweep_folders"))
"""A sweep that was sent: a folder in logs/."""

overrides = click.argument("overrides", nargs=-1, shell_complete=complete("overrides"))
launch_overrides = click.argument(
    "overrides", nargs=-1, shell_complete=complete("launch_overrides")
)
"""Overrides that change how cells are sent, not which cells."""

cell = click.argument("cell", shell_complete=complete("cells"))
"""A cell, by the beginning of its id."""

sweep_of_cell = click.option(
    "--sweep",
    default="*",
    shell_complete=complete("sweep_folders"),
    help="Name of the sweep, if several contain the cell.",
)
retry_errors = click.option(
    "--retry-errors",
    is_flag=True,
    help="Also send cells that are held back because three failed with the same error.",
)
wait = click.option(
    "--wait",
    is_flag=True,
    help="Show progress until the cells end; Ctrl-C leaves the jobs running.",
)
as_json = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object."
)
