"""Alembic's entry: one advisory lock, so that replicas starting together upgrade once."""

from alembic import context
from sqlalchemy import text

from app.db import get_engine
from app.tables import Base

MIGRATION_LOCK = 0x6D69_6772

with get_engine().begin() as connection:
    # Replicas wait for the first one, however long that takes. The lock ends with the transaction:
    # one of the session would stay with the connection when that goes back to the pool.
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(text("SET LOCAL lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))  # a queued DDL stops everybody
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    context.run_migrations()
