"""Where the server is and which key to show it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from client.errors import NotConfigured

DEFAULT_URL = "http://127.0.0.1:8700"
LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Connection:
    url: str
    api_key: str = field(repr=False)


def find_connection(url: str | None = None, api_key: str | None = None) -> Connection:
    """Arguments first, then TRAINSMITH_URL and TRAINSMITH_API_KEY, then the data folder.

    The key in the data folder is shown to this machine's server only, never to another host.
    """
    home = Path(os.environ.get("TRAINSMITH_HOME") or ".trainsmith")
    own_url = read_server_url(home)
    url = (url or os.environ.get("TRAINSMITH_URL") or own_url or DEFAULT_URL).rstrip("/")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise NotConfigured(f"{url!r} is not an http:// or https:// address")
    api_key = api_key or os.environ.get("TRAINSMITH_API_KEY")
    if api_key is None and (url == own_url or is_loopback(url)):
        api_key = _read_key(home / "api_key")
    if not api_key:
        raise NotConfigured(
            f"no API key for {url}: set TRAINSMITH_API_KEY, or run this where `make up` was run "
            f"(looked for {home / 'api_key'})"
        )
    return Connection(url, api_key)


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def read_server_url(home: Path) -> str | None:
    """What a server running on the data folder `home` wrote there. None: there is none."""
    try:
        url = json.loads((home / "server.json").read_text())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return url.rstrip("/") if isinstance(url, str) else None


def _read_key(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
