"""The one error that the command line shows without a traceback."""


class UserError(Exception):
    """Something that the user can mend; the message says what was found, what was expected and what
    to do.
    """
