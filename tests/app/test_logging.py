import logging

import pytest
from fastapi.testclient import TestClient


def test_each_request_makes_one_line_and_no_input_breaks_it(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="app.access"):
        client.get("/v1/jobs/%0Aevil%1b[31m", headers={"X-Request-Id": "mine"})
    (line,) = [record.msg for record in caplog.records if record.name == "app.access"]
    assert isinstance(line, dict)
    assert (line["method"], line["status"], line["request_id"]) == ("GET", 404, "mine")
    assert line["path"] == "/v1/jobs/%0Aevil%1b[31m"
    assert line["project"].startswith("proj_")
