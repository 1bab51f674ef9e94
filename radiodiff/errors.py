"""The one exception that means "the input is wrong, the program is not"."""


class InputError(ValueError):
    """Raised for input that a user can fix; scripts print it as one line and exit with status 2.

    The message says what was found, where, and what is allowed or how to fix it.
    """
