"""The unit of work: one request or task is one transaction, committed in exactly one place."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from sqlalchemy import Engine, MetaData, create_engine, event
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from app.config import get_settings

CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "tcp_user_timeout": 10_000,  # milliseconds
    "application_name": "trainsmith",
    "options": "-c statement_timeout=30s -c lock_timeout=10s "
    "-c idle_in_transaction_session_timeout=15s -c timezone=UTC",
}


class Base(DeclarativeBase):
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )


def make_engine(url: str) -> Engine:
    return create_engine(
        url,
        connect_args=CONNECT_ARGS,
        pool_size=10,
        max_overflow=10,
        pool_timeout=5,
        pool_pre_ping=True,
        hide_parameters=True,  # rows and keys of clients do not belong into a log
    )


@cache
def get_engine() -> Engine:
    url = get_settings().database_url
    if url is None:
        raise RuntimeError("TRAINSMITH_DATABASE_URL is not set; `trainsmith-server up` sets it")
    return make_engine(url.get_secret_value())


def reset_engine() -> None:
    """Forget the engine without closing its connections: they belong to the parent of a fork."""
    if get_engine.cache_info().currsize:
        get_engine().dispose(close=False)
    get_engine.cache_clear()


SessionFactory = sessionmaker(expire_on_commit=False)


@contextmanager
def transaction() -> Iterator[Session]:
    with SessionFactory(bind=get_engine()) as session, session.begin():
        yield session


def after_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` once the transaction is durable; forget it if the transaction rolls back."""
    session.info.setdefault("after_commit", []).append(action)


@event.listens_for(SessionFactory, "after_commit")
def _run_actions(session: Session) -> None:
    for action in session.info.pop("after_commit", []):
        action()


@event.listens_for(SessionFactory, "after_rollback")
def _forget_actions(session: Session) -> None:
    session.info.pop("after_commit", None)
