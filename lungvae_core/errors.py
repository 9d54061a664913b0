"""The one exception that is meant for users."""


class UserError(Exception):
    """Bad input or a bad environment, explained in one or two sentences: what is wrong, where, what to do.

    The command line prints it and exits with 2; pages show it as a message. It is shown without a traceback.
    """
