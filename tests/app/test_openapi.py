from typing import Any

from fastapi.testclient import TestClient

from app.main import create_app
from app.specs import JobSpec


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    paths = create_app().openapi()["paths"]
    return [(path, method, op) for path, ops in paths.items() for method, op in ops.items()]


def test_operation_ids_are_unique_function_names() -> None:
    ids = [operation["operationId"] for _, _, operation in operations()]
    assert len(ids) == len(set(ids))
    assert {"create_job", "read_metrics", "stream_events", "create_key"} < set(ids)


def test_every_v1_operation_declares_problems_tags_and_the_key() -> None:
    for path, method, operation in operations():
        if not path.startswith("/v1/"):
            continue
        where = f"{method} {path}"
        assert operation.get("tags"), where
        assert operation["security"] == [{"api_key": []}], where
        content = operation["responses"]["4XX"]["content"]
        assert list(content) == ["application/problem+json"], where
        assert "422" not in operation["responses"], where


def test_every_reference_leads_somewhere() -> None:
    document = create_app().openapi()
    schemas = document["components"]["schemas"]

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if isinstance(ref := node.get("$ref"), str):
                assert ref.removeprefix("#/components/schemas/") in schemas
            for child in node.values():
                walk(child)
        elif isinstance(node, list):
            for child in node:
                walk(child)

    walk(document)


def test_the_document_is_served_without_a_key(server: TestClient) -> None:
    server.headers.pop("Authorization", None)
    assert server.get("/openapi.json").json()["info"]["title"] == "Trainsmith"
    assert server.get("/docs").status_code == 200


def test_the_examples_of_a_job_are_jobs() -> None:
    schema = create_app().openapi()["components"]["schemas"]["JobSpec"]
    assert schema["examples"]
    for example in schema["examples"]:
        assert JobSpec.model_validate(example).name == example["name"]
