class EmbeddedError(Exception):
    """An embedded server cannot run. The message is one line, for people."""
