"""How a command ends: what an error that the user can fix says, and the exit statuses.

Loads neither pandas nor Hydra before an error needs them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import stat
import sys
import traceback
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from launch.errors import FAULT, INTERRUPTED, NO_READER, WRONG_USE, UserError
from launch.plan import PlanError


def shows_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Show an error that the user can fix as one message, without a traceback."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return _flushed(command, *args, **kwargs)
        except (UserError, PlanError) as error:
            fail(str(error))
        except BrokenPipeError:
            raise
        except (OSError, RuntimeError) as error:
            fail(_message_of(error))

    return wrapped


def _flushed(command: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a command and write its output out: an error then shows here, not when Python ends."""
    try:
        return command(*args, **kwargs)
    finally:
        print(end="", flush=True)


def _message_of(error: OSError | RuntimeError) -> str:
    """The message of an error of the store or of the file system; raises any other again."""
    from analysis.store import CompactionRunning, StoreError  # loads pandas

    if isinstance(error, (StoreError, CompactionRunning)):
        return str(error)
    if isinstance(error, PermissionError) and isinstance(error.filename, str):
        return _no_permission(error.filename)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        place = f" of {error.filename}" if error.filename else ""
        return (
            f"the disk{place} is full, or a quota is used up. No results are lost; free space and "
            "run this command again"
        )
    if isinstance(error, OSError):
        return f"{error}. No results are lost; fix the cause and run this command again"
    raise error


def _no_permission(filename: str) -> str:
    """What to do about a file or folder that this user may not read or write."""
    from launch.plan import files

    path = Path(filename).absolute()
    while not os.path.exists(path):
        path = path.parent
    status = os.stat(path)
    owner = files.user_name(status.st_uid)
    it = "it" if str(path) == filename else str(path)
    change = f"change them (`{shlex.join(['chmod', 'u+rwX', str(path)])}`)"
    access = change if status.st_uid == os.getuid() else f"ask {owner} for access"
    return (
        f"{filename}: permission denied; {it} belongs to {owner}, with the permissions "
        f"{stat.filemode(status.st_mode)}. No results are lost: {access}, or set REDESCENT_LOGS to "
        "a folder of your own"
    )


def fail(message: str) -> None:
    """Print an error to standard error and exit with status 2. A file or pipe gets one line."""
    from launch.cli import layout
    from launch.cli.console import errors, styled

    text = styled(("error:", "red"), f" {message}")
    errors.print(layout.paragraph(text, width=errors.width) if errors.is_terminal else text)
    sys.exit(WRONG_USE)


@contextlib.contextmanager
def leave_on_interrupt(name: str) -> Iterator[None]:
    """End the command on Ctrl-C, and leave the jobs of this sweep running."""
    from launch.cli import layout

    try:
        yield
    except KeyboardInterrupt:
        layout.print_paragraph(
            f"stopped watching; the jobs continue: `redescent status {name}`, "
            f"`redescent cancel {name}`"
        )
        sys.exit(INTERRUPTED)


class Commands(click.Group):
    """The commands: Ctrl-C, output that nobody reads, and faults of this program have exit statuses
    of their own.
    """

    def invoke(self, context: click.Context) -> Any:
        """Run the command that the context names."""
        try:
            return super().invoke(context)
        except BrokenPipeError:
            _end_without_reader()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            sys.exit(INTERRUPTED)
        except Exception:
            traceback.print_exc()
            sys.exit(FAULT)


def _end_without_reader() -> NoReturn:
    """End silently: the program that read the output, such as `head`, has ended."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # what is left in them would fail again at the end
        os.dup2(nowhere, stream.fileno())
    sys.exit(NO_READER)
