"""Settings, from environment variables named TRAINSMITH_*."""

import os
from functools import cache
from pathlib import Path

import psutil
from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


def usable_cores() -> int:
    return len(os.sched_getaffinity(0))


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="TRAINSMITH_", frozen=True, extra="ignore")

    home: Path = Field(default=Path(".trainsmith"), description="The data folder.")
    database_url: SecretStr | None = Field(
        default=None, description="PostgreSQL >= 15. Unset: an embedded server in the data folder."
    )
    redis_url: SecretStr | None = Field(
        default=None, description="Redis or Valkey. Unset: an embedded server in the data folder."
    )
    storage_url: str | None = Field(
        default=None, description="file:///folder for blobs. Unset: `blobs` in the data folder."
    )
    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65_535)
    slots: int = Field(default=1, ge=1, le=256, description="Jobs that one worker runs at a time.")
    threads: int = Field(
        default=usable_cores(), ge=1, le=1024, description="CPU threads, shared by the slots."
    )
    lease_seconds: float = Field(default=30, ge=2, le=3600)
    renew_seconds: float = Field(default=5, ge=0.1, le=600)
    outage_seconds: float = Field(
        default=600, ge=0, description="How long training goes on without Postgres."
    )
    stop_grace_seconds: float = Field(
        default=120, ge=0.1, description="Time a stopping job gets to save before it is killed."
    )
    backoff_seconds: float = Field(
        default=5, ge=0, le=600, description="Wait before a second try; doubles with each more."
    )
    reconcile_seconds: float = Field(default=2, ge=0.05, le=600)
    max_losses: int = Field(default=10, ge=1, description="Lost leases before a job fails.")
    max_upload_bytes: int = Field(default=8 * 2**30, ge=1)
    max_archive_files: int = Field(
        default=500_000, ge=1, le=10_000_000, description="Files in an uploaded zip or tar."
    )
    max_job_bytes: int = Field(
        default=int(psutil.virtual_memory().total * 0.8),
        description="Memory that a job may plan to use for weights and optimizer state.",
    )
    max_held_bytes: int = Field(
        default=2**30,
        ge=0,
        description="Encoded rows that a job holds in memory; more are mapped from disk.",
    )
    job_ttl_days: float | None = Field(
        default=None, gt=0, description="Ended jobs go after so long. Unset: they stay."
    )
    dataset_ttl_days: float | None = Field(
        default=None, gt=0, description="Datasets go when unused for so long. Unset: they stay."
    )
    sweep_seconds: float = Field(
        default=3600, ge=1, description="How often leftovers and what has expired are removed."
    )
    log_json: bool | None = Field(default=None, description="Unset: JSON unless on a terminal.")

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.absolute()


@cache
def get_settings() -> Settings:
    return Settings()
