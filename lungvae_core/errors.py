"""The one exception that is meant for people."""


class UserError(Exception):
    """Bad input or a bad environment, told in one or two sentences: what was wrong, where, what to do.

    The command line prints it and exits with 2; pages show it as a message. It never carries a trace.
    """
