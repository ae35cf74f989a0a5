"""Who may import whom. The arrows all point one way; see CONTRIBUTING.md."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "worker", "client")
MAX_LINES = 350
# The one exception: every transition of a job is in one room, so that no other writes its status.
LONGER = {"app/jobs/lifecycle.py": 400}
ENGINE_SIDE = (
    *(f"worker.{name}" for name in ("engine", "models", "optimizers", "losses", "schedules")),
    *(f"worker.{name}" for name in ("augment", "metrics", "attributions", "explain")),
    *(f"worker.{name}" for name in ("data", "export")),
)
DISTRIBUTED = ("sqlalchemy", "celery", "kombu", "redis", "psycopg", "app.db", "app.queue")
WEB = ("fastapi", "starlette", "uvicorn")

# (who, may not import what); a name covers everything below it
RULES: list[tuple[str, tuple[str, ...]]] = [
    ("app", ("torch", "safetensors", "worker", "client")),
    ("app.specs", ("app.db", "app.jobs", "app.config", "app.queue", *WEB, "sqlalchemy", "celery")),
    ("app.db", ("app.jobs", "app.main", "app.deps", *WEB)),
    ("app.jobs.lifecycle", ("app.jobs.service", "app.jobs.routes", "app.jobs.schemas", *WEB)),
    ("worker", (*WEB, "app.main", "app.deps", "app.auth", "app.jobs.service", "client")),
    *((name, DISTRIBUTED) for name in ENGINE_SIDE),
    ("client", ("app", "worker", "torch", "fastapi", "sqlalchemy", "celery")),
]
# The two places where a variant is looked up by the name that a spec gives.
REGISTRIES = {"worker/registry.py", "app/datasets/formats/__init__.py"}


def find_modules() -> Iterator[tuple[str, Path]]:
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(find_modules())


def find_imports(module: str) -> set[str]:
    """Absolute names, with what is taken from a module below it: `from app import db` is app.db."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def is_below(name: str, parent: str) -> bool:
    return name == parent or name.startswith(f"{parent}.")


@pytest.mark.parametrize(("who", "forbidden"), RULES, ids=[who for who, _ in RULES])
def test_imports_point_one_way(who: str, forbidden: tuple[str, ...]) -> None:
    modules = [module for module in MODULES if is_below(module, who)]
    assert modules
    breaches = [
        f"{module} imports {name}"
        for module in modules
        for name in find_imports(module)
        if any(is_below(name, each) for each in forbidden)
    ]
    assert breaches == []


def test_routes_are_imported_by_main_alone() -> None:
    breaches = [
        f"{module} imports {name}"
        for module in MODULES
        for name in find_imports(module)
        if ".routes" in name and module not in ("app.main", name.rpartition(".")[0])
    ]
    assert breaches == []


@pytest.mark.parametrize(
    ("entry", "absent"),
    [
        ("app.main", ("torch", "worker")),
        ("app.cli", ("torch", "worker")),
        ("worker.celery", ("torch", "fastapi", "starlette")),
        ("client.cli", ("torch", "fastapi", "sqlalchemy", "app", "worker")),
    ],
)
def test_an_entry_does_not_load(entry: str, absent: tuple[str, ...]) -> None:
    code = f"import sys, {entry}; print(sorted(set({absent!r}) & set(sys.modules)))"
    loaded = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={"TRAINSMITH_REDIS_URL": "redis://nowhere"},
    )
    assert loaded.stdout.strip() == "[]", loaded.stderr


def test_no_file_is_too_long_to_read() -> None:
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in MODULES.values()
    }
    too_long = {name: n for name, n in sizes.items() if n > LONGER.get(name, MAX_LINES)}
    assert too_long == {}


def test_nothing_is_imported_inside_a_function() -> None:
    breaches = []
    for module, path in MODULES.items():
        if str(path.relative_to(ROOT)) in REGISTRIES:
            continue
        for outer in ast.walk(ast.parse(path.read_text())):
            if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef):
                inner = (node for node in ast.walk(outer) if is_import(node))
                breaches += [f"{module}, line {node.lineno}" for node in inner]
    assert breaches == []


def is_import(node: ast.AST) -> bool:
    by_name = isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    return by_name or isinstance(node, ast.Import | ast.ImportFrom)


def test_no_file_is_named_after_nothing() -> None:
    vague = ("utils", "helpers", "common", "manager", "misc")
    assert [name for name in MODULES if name.rpartition(".")[2] in vague] == []
