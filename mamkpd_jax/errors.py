"""The exception for mistakes in the user's input."""


class UserError(Exception):
    """A mistake in a flag, a config or a file. Its message is one line: what was found, what is expected, what to do.

    The command-line programs print the message without a traceback and exit with status 1.
    """
