"""What goes wrong with data on disk."""


class DataError(Exception):
    """Data, a file or a dataset is not what it has to be. The message is one line: what, where and the mend."""


class StoreError(DataError):
    """A store cannot be reached or refuses what is asked of it."""
