import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import inspect, make_url, text

from app.config import get_settings
from app.db import get_engine
from app.migrate import get_config, upgrade
from app.tables import Base


@pytest.fixture
def empty_database(stack: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A database of its own, on the same server, in place of the one the other tests share."""
    shared = get_engine()
    with shared.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrations"))
        connection.execute(text("CREATE DATABASE migrations"))
    url = make_url(shared.url).set(database="migrations")
    monkeypatch.setenv("TRAINSMITH_DATABASE_URL", url.render_as_string(hide_password=False))
    get_settings.cache_clear()
    get_engine.cache_clear()
    yield
    get_engine().dispose()
    monkeypatch.undo()
    get_settings.cache_clear()
    get_engine.cache_clear()


def test_the_migrations_build_the_tables_and_can_be_undone(empty_database: None) -> None:
    config = get_config()
    upgrade()
    command.check(config)
    assert set(Base.metadata.tables) < set(inspect(get_engine()).get_table_names())
    command.downgrade(config, "base")
    assert inspect(get_engine()).get_table_names() == ["alembic_version"]
    upgrade()
    command.check(config)


def test_a_migration_leaves_no_lock_behind(empty_database: None) -> None:
    upgrade()
    here = "(SELECT oid FROM pg_database WHERE datname = current_database())"
    locks = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = {here}"
    with get_engine().connect() as connection:
        assert connection.scalar(text(locks)) == 0


def test_replicas_that_start_together_upgrade_once(empty_database: None) -> None:
    command = [sys.executable, "-c", "from app.migrate import upgrade; upgrade()"]
    replicas = [subprocess.Popen(command) for _ in range(3)]
    assert [replica.wait(timeout=60) for replica in replicas] == [0, 0, 0]
    assert set(Base.metadata.tables) < set(inspect(get_engine()).get_table_names())
