from fastapi.testclient import TestClient

from app.specs.models import FAMILIES


def test_every_family_is_listed_with_its_schema_and_defaults(client: TestClient) -> None:
    families = client.get("/v1/models").json()["data"]
    assert [family["type"] for family in families] == [f().type for f in FAMILIES]
    for family in families:
        assert family["description"]
        assert set(family["defaults"]) == set(family["schema"]["properties"])


def test_one_family_is_described_as_in_the_list(client: TestClient) -> None:
    (mlp,) = [f for f in client.get("/v1/models").json()["data"] if f["type"] == "mlp"]
    assert client.get("/v1/models/mlp").json() == mlp
    assert mlp["tasks"] == ["regression", "classification"]
    assert mlp["takes"] == ["table", "image"]


def test_an_unknown_family_is_not_found(client: TestClient) -> None:
    answer = client.get("/v1/models/../../etc/passwd")
    assert answer.status_code == 404
    answer = client.get("/v1/models/quantum")
    assert answer.status_code == 404
    assert answer.json()["type"].endswith("/not-found")


def test_the_catalogue_names_what_a_job_can_be_trained_with(client: TestClient) -> None:
    catalogue = client.get("/v1/models").json()
    assert {o["type"] for o in catalogue["optimizers"]} >= {"sgd", "adam", "adamw", "rmsprop"}
    assert {s["type"] for s in catalogue["schedules"]} >= {"constant", "cosine"}
    losses = {loss["type"]: loss["tasks"] for loss in catalogue["losses"]}
    assert losses["mse"] == ["regression"]
    assert losses["cross_entropy"] == ["classification"]
    takes = {each["type"]: each["takes"] for each in catalogue["augmentations"]}
    assert takes["mixup"] == ["image", "sequence", "table"]
    assert [each["type"] for each in catalogue["explanations"]] == ["integrated_gradients"]
    metrics = {metric["name"]: metric for metric in catalogue["metrics"]}
    assert metrics["rmse"] == {"name": "rmse", "tasks": ["regression"], "better": "lower"}
    assert metrics["accuracy"]["better"] == "higher"
    assert all(entry["tasks"] for entry in [*catalogue["losses"], *catalogue["metrics"]])


def test_the_catalogue_needs_a_key(client: TestClient) -> None:
    assert client.get("/v1/models", headers={"Authorization": ""}).status_code == 401
