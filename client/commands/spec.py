"""The spec that `jobs submit` sends: a JSON file with some values changed."""

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import typer


def read_spec(source: str) -> dict[str, Any]:
    """Raises typer.BadParameter, which is a usage error."""
    try:
        text = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
        spec = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"{source}: {error}", param_hint="SPEC") from error
    if not isinstance(spec, dict):
        raise typer.BadParameter(f"{source}: must be a JSON object", param_hint="SPEC")
    return spec


def apply_settings(spec: dict[str, Any], settings: list[str]) -> dict[str, Any]:
    """`training.epochs=50` sets that field. A value that is no JSON is taken as text."""
    changed = deepcopy(spec)
    for setting in settings:
        path, equals, value = setting.partition("=")
        if not equals or not all(path.split(".")):
            raise typer.BadParameter(f"{setting!r} is not KEY=VALUE", param_hint="--set")
        *parents, last = path.split(".")
        target = changed
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise typer.BadParameter(f"{parent!r} holds no fields", param_hint="--set")
        target[last] = parse_value(value)
    return changed


def parse_value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
