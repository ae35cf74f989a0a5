import shutil

import pytest
from fastapi.testclient import TestClient

from app import storage
from app.jobs.leases import Lease
from tests.factories import Account, claim_job, job_body, make_dataset


@pytest.fixture
def lease(client: TestClient, account: Account) -> Lease:
    """A running job that has no checkpoint yet."""
    shutil.rmtree(storage.get_root(), ignore_errors=True)
    body = job_body(make_dataset(account.project_id), name="Flowers & Co.")
    assert client.post("/v1/jobs", json=body).status_code == 201
    return claim_job()
