import pytest

from app.config import get_settings
from app.jobs import fairness, leases, lifecycle
from tests.app.jobs.acts import Clock


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """A clock that tests move. It starts long after Postgres did, so that leases can run out."""
    clock = Clock()
    clock.skip(3600)
    for module in (fairness, leases, lifecycle):
        monkeypatch.setattr(module, "now", clock.now)
    return clock


@pytest.fixture
def configure(monkeypatch):
    """Change settings for one test: `configure(max_losses=3)`."""

    def change(**values) -> None:
        for name, value in values.items():
            monkeypatch.setenv(f"TRAINSMITH_{name.upper()}", str(value))
        get_settings.cache_clear()

    yield change
    monkeypatch.undo()
    get_settings.cache_clear()
