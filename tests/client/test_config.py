import json
from pathlib import Path

import pytest

from client import NotConfigured
from client.config import find_connection


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / ".trainsmith"
    home.mkdir()
    (home / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:9001"}))
    (home / "api_key").write_text("ts_home\n")
    return home


def test_a_server_in_the_data_folder_is_found(home: Path) -> None:
    connection = find_connection()
    assert (connection.url, connection.api_key) == ("http://127.0.0.1:9001", "ts_home")


def test_the_environment_beats_the_data_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSMITH_URL", "https://train.example/")
    monkeypatch.setenv("TRAINSMITH_API_KEY", "ts_env")
    connection = find_connection()
    assert (connection.url, connection.api_key) == ("https://train.example", "ts_env")


def test_arguments_beat_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRAINSMITH_URL", "https://train.example")
    monkeypatch.setenv("TRAINSMITH_API_KEY", "ts_env")
    connection = find_connection("http://localhost:1", "ts_argument")
    assert (connection.url, connection.api_key) == ("http://localhost:1", "ts_argument")


def test_the_local_key_is_not_shown_to_another_host(home: Path) -> None:
    with pytest.raises(NotConfigured, match="no API key"):
        find_connection("https://train.example")


def test_an_address_without_a_scheme_is_refused(home: Path) -> None:
    with pytest.raises(NotConfigured, match="http"):
        find_connection("train.example", "ts_argument")


def test_the_key_is_not_in_the_representation(home: Path) -> None:
    assert "ts_home" not in repr(find_connection())
