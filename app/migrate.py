"""Bring the database to the newest schema."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def get_config() -> Config:
    # `migrations` lies beside `app`, in a checkout and in an installed wheel alike.
    config = Config()
    config.set_main_option(
        "script_location", str(Path(__file__).parents[1] / "migrations").replace("%", "%%")
    )
    return config


def upgrade() -> None:
    command.upgrade(get_config(), "head")
