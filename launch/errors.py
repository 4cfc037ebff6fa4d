"""The one error that the command line shows without a traceback, exit statuses, and numbers in
messages.
"""

FAILED, WRONG_USE, FAULT, INTERRUPTED, NO_READER = 1, 2, 3, 130, 141
"""Exit statuses: something is not complete or not in order; a mistake of the user; a fault of this
program; Ctrl-C; and what shells show for a program whose output nobody reads any more (SIGPIPE)."""


class UserError(Exception):
    """A mistake that the user can fix: what was found, what was expected and what to do."""


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 cell", "2 cells", "2 searches" where `plural` is "searches"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def none_of(count: int, noun: str) -> str:
    """The subject of a sentence about all of so many: "no cell", "none of the 2 cells"."""
    return f"no {noun}" if count == 1 else f"none of the {count} {noun}s"
