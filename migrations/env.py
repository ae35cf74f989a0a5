"""Alembic's entry: one advisory lock, so that replicas starting together upgrade once."""

from alembic import context
from sqlalchemy import text

from app.db import get_engine
from app.tables import Base

MIGRATION_LOCK = 0x6D69_6772

with get_engine().connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
    context.configure(connection=connection, target_metadata=Base.metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()
