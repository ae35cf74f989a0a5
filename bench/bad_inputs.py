"""Sends a catalogue of bad requests to a running server and checks every answer.

    python bench/bad_inputs.py CATALOGUE --url http://127.0.0.1:8700 --key ts_...

CATALOGUE is a YAML file of cases; its loader, `bad_inputs_lib.py`, lies beside it. The key needs
the scope admin. Needs PyYAML. Exits 1 if any answer is wrong.
"""

import argparse
import importlib.util
import json
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

GROUPS = (
    *("job_json", "job_spec", "hyperparameters", "pagination", "auth", "idempotency", "sse"),
    *("dataset_upload", "dataset_csv", "dataset_jsonl", "dataset_text", "dataset_zip"),
)
TABLE = b"length,width,species\n" + b"".join(
    b"%d,%d,%s\n" % (i, i % 7, b"xy"[i % 2 : i % 2 + 1]) for i in range(60)
)
FIELDS = {
    "lr": "training.optimizer.lr",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "hidden_size": "model.hidden",
    "dropout": "model.dropout",
    "optimizer": "training.optimizer.type",
    "clip": "training.clip_norm",
    "checkpoint_every": "checkpoints.every_seconds",
    "log_every": "training.log_every",
    "val_split": "dataset.split.validation",
    "seed": "training.seed",
    "precision": "training.precision",
}
# Where ours is deliberately another problem than the catalogue's, of a status that it allows.
OTHER_PROBLEM = {
    "JSN-013": "malformed-body",  # Infinity is not JSON, whatever field it is in
    "JSN-014": "malformed-body",
    "JSN-039": "payload-too-large",  # its body is over the limit
    "JOB-040": "validation-error",  # a dataset that is not ready does not exist here
    "JOB-035": "validation-error",  # priorities are bounded, not reserved
    "JOB-041": "validation-error",  # named in the body: the body is what is wrong
    "HP-024": "validation-error",  # our bounds on sizes are in the schema
    "HP-031": "validation-error",
    "HP-059": "validation-error",  # there are no searches yet
    "HP-056": "validation-error",
}
# A dataset has no target here: the job names it, and is refused where it is not there.
OTHER_STATUS = {"CSV-006": 201}
SECONDS = re.compile(r"t<(\d+)s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("catalogue", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8700")
    parser.add_argument("--key", required=True)
    parser.add_argument("--groups", nargs="*", default=GROUPS)
    args = parser.parse_args()
    with httpx2.Client(base_url=args.url, timeout=30) as client:
        overrides, key = prepare(client, args.key)
        outcomes: Counter[str] = Counter()
        for case in load(args.catalogue, overrides):
            if case.group not in args.groups:
                continue
            if case.harness:
                outcomes["needs a harness"] += 1
                continue
            complaints = check(client, case, key)
            outcomes["wrong" if complaints else "right"] += 1
            for complaint in complaints:
                print(f"{case.id} {case.what}: {complaint}")
    print(dict(outcomes))
    return int(outcomes["wrong"] > 0)


def load(catalogue: Path, overrides: dict[str, Any]) -> Any:
    module = importlib.util.spec_from_file_location(
        "cases", catalogue.with_name("bad_inputs_lib.py")
    )
    assert module is not None
    assert module.loader is not None
    library = importlib.util.module_from_spec(module)
    sys.modules["cases"] = library
    module.loader.exec_module(library)
    for name in library.GEN:  # those need pyarrow, and are for uploads
        if name.startswith("parquet_"):
            library.GEN[name] = lambda **_: b""
    return library.load(catalogue, overrides)


def prepare(client: httpx2.Client, admin: str) -> tuple[dict[str, Any], str]:
    """Two projects with rows of their own, keys of every kind, and our names for all of it."""

    def post(path: str, key: str, **body: Any) -> Any:
        answer = client.post(path, headers={"Authorization": f"Bearer {key}"}, **body)
        answer.raise_for_status()
        return answer.json()

    stamp = time.time_ns()
    a, b = (
        post("/v1/projects", admin, json={"name": f"{name}-{stamp}"})["key"]["key"] for name in "ab"
    )
    key = post("/v1/keys", a, json={"name": "writer", "scopes": ["write"]})["key"]
    revoked = post("/v1/keys", a, json={"name": "revoked"})
    client.delete(f"/v1/keys/{revoked['id']}", headers={"Authorization": f"Bearer {a}"})
    expired = post("/v1/keys", a, json={"name": "old", "expires_at": "2001-01-01T00:00:00Z"})
    file = {"file": ("table.csv", TABLE)}
    mine, theirs = (post("/v1/datasets", k, files=file, data={"name": "t"})["id"] for k in (a, b))
    gone = post("/v1/datasets", a, files=file, data={"name": "t"})["id"]
    client.delete(f"/v1/datasets/{gone}", headers={"Authorization": f"Bearer {a}"})
    job = make_job(mine)
    ids = {
        "dataset_a": mine,
        "dataset_b": theirs,
        "dataset_deleted": gone,
        "dataset_pending": f"ds_{'0' * 32}",
        "absent": f"ds_{'0' * 32}",
        "job_a": post("/v1/jobs", a, json=job)["id"],
        "job_done": finish(client, a, post("/v1/jobs", a, json=job)["id"]),
        "job_b": post("/v1/jobs", b, json=make_job(theirs))["id"],
    }
    keys = {
        "a": key,
        "a_cut": key[:-1],
        "a_flipped": key[:-1] + ("A" if key[-1] != "A" else "B"),
        "a_prefix": key[:10],
        "a72": key + "x",
        "revoked": revoked["key"],
        "expired": expired["key"],
        "deleted_tenant": f"ts_{'0' * 32}_{'A' * 43}",
    }
    overrides = {
        "paths.keys": "/v1/keys",
        "f.dataset_id": "dataset.id",
        "base_job": job,
        "base_job_text": json.dumps(job),
        **{f"f.hp.{name}": path for name, path in FIELDS.items()},
        **{f"ids.{name}": value for name, value in ids.items()},
        **{f"keys.{name}": value for name, value in keys.items()},
    }
    return overrides, key


def make_job(dataset_id: str) -> dict[str, Any]:
    return {
        "name": "bad-input",
        "model": {"type": "mlp"},
        "dataset": {"id": dataset_id, "target": "species", "split": {"seed": 1}},
        "training": {"epochs": 1, "batch_size": 32, "optimizer": {"type": "adam", "lr": 0.001}},
        "checkpoints": {"every_seconds": 60},
    }


def finish(client: httpx2.Client, key: str, job_id: str) -> str:
    """End the job, by itself or by cancelling it."""
    headers = {"Authorization": f"Bearer {key}"}
    client.post(f"/v1/jobs/{job_id}/cancel", headers=headers)
    for _ in range(100):
        if client.get(f"/v1/jobs/{job_id}", headers=headers).json()["finished_at"]:
            break
        time.sleep(0.1)
    return job_id


def check(client: httpx2.Client, case: Any, key: str) -> list[str]:
    headers = [(name, value.encode("latin-1")) for name, value in case.headers.items()]
    if case.auth != "raw":
        headers.append(("Authorization", f"Bearer {key}".encode()))
    began = time.monotonic()
    body = case.body and case.body.replace(
        b"\r\nimage_zip\r\n", b"\r\nimages\r\n"
    )  # our name for it
    with client.stream(case.method, case.url, headers=headers, content=body) as answer:
        streaming = answer.headers.get("content-type", "").startswith("text/event-stream")
        content = b"" if streaming else answer.read()
    seconds = time.monotonic() - began
    complaints = []
    allowed = [OTHER_STATUS[case.id]] if case.id in OTHER_STATUS else case.expect["status"]
    if answer.status_code not in allowed:
        complaints.append(f"status {answer.status_code}, not in {allowed}")
    if answer.status_code >= 400:
        complaints += check_problem(case, answer, content)
    limits = [
        int(found[1]) for text in case.expect.get("then", []) if (found := SECONDS.match(text))
    ]
    if seconds > min(limits, default=2):
        complaints.append(f"took {seconds:.1f} s")
    if client.get("/livez").status_code != 200:
        complaints.append("the server is not alive any more")
    return complaints


def check_problem(case: Any, answer: httpx2.Response, content: bytes) -> list[str]:
    if case.method == "HEAD":
        return []
    if answer.headers["content-type"] != "application/problem+json":
        return [f"answered {answer.headers['content-type']}"]
    problem = json.loads(content)
    complaints = [
        f"the problem has no {name}"
        for name in ("type", "title", "status", "detail", "request_id")
        if not problem.get(name)
    ]
    expected = OTHER_PROBLEM.get(case.id, case.expect.get("problem"))
    slug = problem["type"].rpartition("/")[2]
    if expected not in (None, slug):
        complaints.append(f"problem {slug}, not {expected}: {content[:200]!r}")
    if len(content) >= 8192:
        complaints.append(f"an answer of {len(content)} bytes")
    return complaints


if __name__ == "__main__":
    sys.exit(main())
