"""What a user can do something about."""


class HiveError(Exception):
    """A sentence that says what is wrong, where, and what to do. The command line shows it without a traceback."""


class LocalError(HiveError):
    """One that a single process may meet alone, as for a file that only its machine lacks."""
