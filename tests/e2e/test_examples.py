"""What `examples/` promises: every spec there trains on its data and beats the trivial answer."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.test_examples import EXAMPLES, MADE, SPECS, TABLES
from tests.e2e.conftest import Stack

HIGHER_IS_BETTER = ("accuracy", "r2")


def find_data(example: Path, folder: Path) -> Path:
    if example.name not in MADE:
        return EXAMPLES / "data" / TABLES[example.name]
    data = folder / "made.zip"
    script = EXAMPLES / MADE[example.name]
    subprocess.run([sys.executable, str(script), str(data)], check=True)
    return data


@pytest.mark.parametrize("example", SPECS, ids=lambda path: path.stem)
def test_an_example_trains_and_beats_the_trivial_answer(
    stack: Stack, tmp_path: Path, example: Path
) -> None:
    client, spec = stack.client, json.loads(example.read_text())
    spec["dataset"]["id"] = client.datasets.upload(find_data(example, tmp_path))["id"]

    job = client.jobs.wait(client.jobs.create(spec)["id"], timeout=240)

    assert job["status"] == "succeeded", job["error"]
    evaluation = client.jobs.evaluation(job["id"])
    tested, baseline = evaluation["test"], evaluation["baseline"]
    watched = [name for name in HIGHER_IS_BETTER if name in tested]
    if watched:
        assert all(tested[name] > baseline[name] for name in watched), evaluation
    else:
        assert tested["rmse"] < baseline["rmse"], evaluation
