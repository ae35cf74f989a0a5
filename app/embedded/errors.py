class EmbeddedError(Exception):
    """An embedded server cannot run. The message is one line, for people."""


class FolderInUse(EmbeddedError):
    """Another process runs the server of this data folder."""
