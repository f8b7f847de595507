"""The one error for what a person has to mend: a setting's consequence, a fact of the host, a row of a table.

`__main__` shows its message alone; every other exception is a bug of the program and keeps its traceback.
"""


class PlatformError(Exception):
    """The message says what is wrong, where, and what to write instead."""
