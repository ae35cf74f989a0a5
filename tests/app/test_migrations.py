from pathlib import Path

from alembic import command
from sqlalchemy import inspect

from app.db import get_engine
from app.migrate import get_config, upgrade
from app.tables import Base


def test_the_migrations_build_the_tables_and_can_be_undone(stack: Path) -> None:
    config = get_config()
    command.check(config)
    command.downgrade(config, "base")
    assert inspect(get_engine()).get_table_names() == ["alembic_version"]
    upgrade()
    command.check(config)
    assert set(Base.metadata.tables) < set(inspect(get_engine()).get_table_names())
