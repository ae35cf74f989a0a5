"""The documents name what there is: a field, a call or a problem without a word is a bug."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from app.config import Settings
from app.errors import AppError
from app.main import create_app
from app.specs import JobSpec

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])


def read(name: str) -> str:
    return (ROOT / name).read_text()


def list_problems(kind: type[AppError] = AppError) -> Iterator[type[AppError]]:
    for child in kind.__subclasses__():
        yield child
        yield from list_problems(child)


def test_every_problem_is_explained() -> None:
    create_app()  # brings in every slice
    text = read("docs/problems.md")
    for problem in list_problems():
        if problem.__module__.startswith("app."):
            assert f"\n## {problem.slug()}\n" in text
            assert f"| [{problem.slug()}](#{problem.slug()}) | {problem.status_code} |" in text


def test_every_setting_is_in_the_readme() -> None:
    text = read("README.md")
    for name in Settings.model_fields:
        assert f"| `TRAINSMITH_{name.upper()}` |" in text


def test_every_call_is_documented() -> None:
    text = read("docs/api.md")
    for path, item in create_app().openapi()["paths"].items():
        shown = re.sub(r"\{[a-z]+_id\}", "{id}", path)
        for method in item.keys() - {"head"}:
            assert f"`{method.upper()} {shown}`" in text


def test_every_field_of_a_spec_is_documented() -> None:
    text = read("docs/jobs.md")
    for name in set(list_fields(TypeAdapter(JobSpec).json_schema())):
        assert f"`{name}`" in text or f"**`{name}`**" in text


def list_fields(schema: dict[str, Any]) -> Iterator[str]:
    """Field names and values of `type`, over the whole schema."""
    for part in (schema, *schema["$defs"].values()):
        for name, field in part.get("properties", {}).items():
            yield name
            if name == "type" and "const" in field:
                yield field["const"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", path.read_text()):
        document = (path.parent / target) if target else path
        assert document.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
