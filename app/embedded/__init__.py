"""Real PostgreSQL and Redis out of Python wheels, for those who bring no servers of their own.

Only the wheels' binaries are used. Both servers listen on Unix sockets in private folders, never
on TCP; they die with the process that started them, and a start first ends what a killed
predecessor left behind. PostgreSQL refuses to run as root, so for root it runs as `nobody`.
"""

from app.embedded.errors import EmbeddedError, FolderInUse
from app.embedded.postgres import EmbeddedPostgres
from app.embedded.redis import EmbeddedRedis

__all__ = ["EmbeddedError", "EmbeddedPostgres", "EmbeddedRedis", "FolderInUse"]
