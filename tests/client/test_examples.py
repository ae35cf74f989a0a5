import csv
import json
from pathlib import Path

import pytest

from app.specs import JobSpec
from app.specs.models import FAMILIES
from client.commands.spec import apply_settings, read_spec

EXAMPLES = Path(__file__).parents[2] / "examples"
SPECS = sorted(EXAMPLES.glob("*.json"))
TABLES = {
    "linear.json": "diabetes.csv",
    "one_feature_linear.json": "study.csv",
    "one_feature_logistic.json": "study.csv",
    "logistic.json": "iris.csv",
    "mlp.json": "iris.csv",
    "cross_validation.json": "iris.csv",
    "multi_output.json": "arm.csv",
    "multi_label.json": "tickets.csv",
    "sequence.json": "strokes.jsonl",
    "forecast.json": "sales.csv",
    **dict.fromkeys(("text.json", "cnn.json", "rnn.json"), "reviews.csv"),
}
MADE = {"cnn_image.json": "make_shapes.py"}  # where there is a script instead of a table


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_an_example_is_valid_and_fits_its_table(path: Path) -> None:
    spec = JobSpec.model_validate_json(path.read_text())
    if path.name in MADE:
        assert (EXAMPLES / MADE[path.name]).exists()
        return
    data = EXAMPLES / "data" / TABLES[path.name]
    with data.open() as file:
        header = json.loads(next(file)) if data.suffix == ".jsonl" else next(csv.reader(file))
    assert set(spec.dataset.targets) < set(header)


def test_every_model_family_has_an_example() -> None:
    types = {json.loads(path.read_text())["model"]["type"] for path in SPECS}
    assert types == {family.model_fields["type"].default for family in FAMILIES}


def test_an_example_can_be_changed_from_the_command_line() -> None:
    spec = read_spec(str(EXAMPLES / "mlp.json"))
    changed = apply_settings(spec, ["model.hidden=[8]", "name=mine", "evaluation=null"])
    assert (changed["model"]["hidden"], changed["name"]) == ([8], "mine")
    assert changed["evaluation"] is None
    assert spec["name"] == "iris-mlp"
