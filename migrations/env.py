"""Alembic's entry: one advisory lock, so that replicas starting together upgrade once."""

from alembic import context
from sqlalchemy import text

from app.db import get_engine
from app.tables import Base

MIGRATION_LOCK = 0x6D69_6772

with get_engine().connect() as connection:
    connection.detach()  # closed at the end, not pooled: the lock and the settings go with it
    # A migration may take long, and so may waiting for the replica that does it; but no statement
    # waits long for a table while everybody else queues behind it.
    connection.execute(text("SET statement_timeout = 0"))
    connection.execute(text("SET lock_timeout = 0"))
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    connection.execute(text("SET lock_timeout = '10s'"))
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
