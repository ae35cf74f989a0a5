"""Real PostgreSQL and Redis for every test that asks for one, emptied in between."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import text
from sqlalchemy.orm import Session

from app.config import get_settings
from app.db import Base, get_engine, transaction
from app.embedded import EmbeddedPostgres, EmbeddedRedis
from app.main import create_app
from app.migrate import upgrade
from tests.factories import Account, make_account


@pytest.fixture(scope="session")
def stack() -> Iterator[Path]:
    """Both servers and a migrated database, for the whole run. Yields the data folder."""
    home = Path(tempfile.mkdtemp(prefix="ts-"))  # short: a socket's path has at most 107 bytes
    home.chmod(0o711)  # as `up` makes one itself: for root, PostgreSQL runs as another account
    postgres, redis = EmbeddedPostgres(home), EmbeddedRedis(home)
    try:
        os.environ["TRAINSMITH_HOME"] = str(home)
        os.environ["TRAINSMITH_DATABASE_URL"] = postgres.start()
        os.environ["TRAINSMITH_REDIS_URL"] = redis.start()
        get_settings.cache_clear()
        upgrade()
        yield home
    finally:
        get_engine().dispose()
        redis.stop()
        postgres.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def database(stack: Path) -> Iterator[None]:
    """A database without rows."""
    yield
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with get_engine().begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))


@pytest.fixture
def session(database: None) -> Iterator[Session]:
    """One transaction that is committed when the test ends without an error."""
    with transaction() as session:
        yield session


@pytest.fixture
def account(database: None) -> Account:
    """A project and a key of it with every scope."""
    return make_account()


@pytest.fixture(scope="session")
def server(stack: Path) -> Iterator[TestClient]:
    """The API in this process, without the reconciler's help: nothing happens by itself."""
    os.environ["TRAINSMITH_RECONCILE_SECONDS"] = "600"
    get_settings.cache_clear()
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(server: TestClient, account: Account) -> TestClient:
    """A client that sends the key of `account`."""
    server.headers["Authorization"] = f"Bearer {account.key}"
    return server
