"""The one error that the command line shows without a traceback, and numbers in messages."""


class UserError(Exception):
    """A mistake that the user can fix: what was found, what was expected and what to do."""


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: "1 cell", "2 cells", "2 searches" where `plural` is "searches"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
