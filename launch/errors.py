"""The one error that the command line shows without a traceback."""


class UserError(Exception):
    """A mistake that the user can fix: what was found, what was expected and what to do."""
