"""The operator's command line, on a data folder of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedPostgres

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    parent = Path(tempfile.mkdtemp(prefix="ts-"))
    parent.chmod(0o711)  # for root, PostgreSQL runs as another account
    yield parent / "home"
    shutil.rmtree(parent)


def run(*words: str, home: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("TRAINSMITH_")}
    if home is not None:
        env["TRAINSMITH_HOME"] = str(home)
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *words],
        capture_output=True,
        text=True,
        cwd=CHECKOUT,
        env=inherited | {"NO_COLOR": "1"} | env,
    )


def test_projects_and_keys_from_creation_to_revocation(home: Path) -> None:
    project = run("projects", "create", "vision", home=home)
    assert re.fullmatch(r"proj_[0-9a-f]{32} vision\n", project.stdout), project.stderr
    created = run("keys", "create", "laptop", "--project", "vision", "--scope", "read", home=home)
    key_id, key = created.stdout.split()
    assert key.startswith("ts_")
    assert run("keys", "list", home=home).stdout == f"{key_id} vision read active laptop\n"
    assert run("keys", "revoke", key_id, home=home).returncode == 0
    assert run("keys", "list", home=home).stdout == f"{key_id} vision read revoked laptop\n"


def test_a_project_is_capped_and_freed(home: Path) -> None:
    run("projects", "create", "search", home=home)
    capped = run("projects", "limit", "search", "--max-running", "2", home=home)
    assert capped.stdout == "search: queued no cap, running 2\n"
    freed = run("projects", "limit", "search", home=home)
    assert freed.stdout == "search: queued no cap, running no cap\n"
    absent = run("projects", "limit", "absent", home=home)
    assert "There is no project 'absent'." in absent.stderr


def test_the_default_project_is_made_with_its_first_key(home: Path) -> None:
    created = run("keys", "create", "first", home=home)
    assert created.stdout.split()[1].startswith("ts_")
    assert "default write active first\n" in run("keys", "list", home=home).stdout


def test_a_running_embedded_server_is_used(home: Path) -> None:
    postgres = EmbeddedPostgres(home)
    postgres.start()
    try:
        assert run("migrate", home=home).stdout == "the database has the newest schema\n"
    finally:
        postgres.stop()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("keys", "create", "x", "--project", "absent"), "There is no project 'absent'."),
        (("keys", "revoke", "key_absent"), "No such key."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(
    home: Path, words: tuple[str, ...], message: str
) -> None:
    failed = run(*words, home=home)
    assert failed.returncode == 1
    assert failed.stderr == f"error: {message}\n"


def test_a_wrong_setting_is_named() -> None:
    failed = run("config", TRAINSMITH_PORT="many", TRAINSMITH_SLOTS="0")
    assert failed.returncode == 1
    assert failed.stderr == (
        "error: TRAINSMITH_PORT: Input should be a valid integer, unable to parse string as an "
        "integer; TRAINSMITH_SLOTS: Input should be greater than or equal to 1\n"
    )


def test_config_masks_secrets() -> None:
    shown = run("config", TRAINSMITH_DATABASE_URL="postgresql://me:hush@db/x").stdout
    assert "TRAINSMITH_DATABASE_URL=**********" in shown
    assert "hush" not in shown


def test_a_database_that_does_not_answer_is_one_line() -> None:
    nowhere = "postgresql://me:hush@127.0.0.1:1/x"
    failed = run("migrate", TRAINSMITH_DATABASE_URL=nowhere)
    assert failed.returncode == 1
    assert re.fullmatch(r"error: the database does not answer: [^\n]+\n", failed.stderr)
    assert "hush" not in failed.stderr
