"""A job whose rows lie on disk, through the API: killed, resumed, and nothing left of its file."""

from pathlib import Path

from tests.e2e import jobs
from tests.e2e.conftest import Stack
from tests.e2e.test_kills import (
    SPEC,
    assert_it_ended_well,
    read_weights,
    wait_for_a_checkpoint,
)


def run_job(stack: Stack, dataset_id: str) -> str:
    spec = jobs.make_spec(dataset_id, "digit", **SPEC, dataset={"hold": "disk"})
    return stack.client.jobs.create(spec)["id"]


def list_nameless_maps(pid: int, home: Path) -> list[str]:
    """Of files inside the data folder that have no name left."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return [line for line in lines if str(home) in line and line.endswith("(deleted)")]


def test_a_killed_job_on_disk_ends_with_its_weights_and_leaves_no_file(
    stack: Stack, tmp_path: Path
) -> None:
    header, rows = jobs.read_digits()
    path = jobs.write_csv(tmp_path / "digits.csv", header, rows)
    dataset_id = stack.client.datasets.upload(path)["id"]
    calm = stack.client.jobs.wait(run_job(stack, dataset_id), timeout=120)
    assert calm["spec"]["dataset"]["hold"] == "disk"
    weights = read_weights(stack, calm["id"], tmp_path)
    job_id = run_job(stack, dataset_id)
    wait_for_a_checkpoint(stack, job_id)
    trainer = stack.find_trainer()
    assert list_nameless_maps(trainer.pid, stack.home)

    trainer.kill()

    job = assert_it_ended_well(stack, job_id, weights, tmp_path)
    assert job["attempt"] == 2
    (folder,) = stack.home.rglob(f"{job_id}/a1")
    left = {file.name for file in folder.rglob("*") if file.is_file()}
    assert not {name for name in left if "tmp" in name}
