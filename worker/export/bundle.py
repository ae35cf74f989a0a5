"""What a downloaded model carries besides its weights: how to build it and what to feed it."""

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from worker import registry
from worker.data import cells, columns, features, image, pictures, sequence, targets, text, windows
from worker.data.features import Features, Input
from worker.data.image import ImageInput
from worker.data.sequence import SequenceInput
from worker.data.targets import NumberTarget
from worker.data.windows import WindowsInput
from worker.engine.checkpoint import write_folder
from worker.engine.request import Request
from worker.export import predictor

# In an order in which they can be read.
CARRIED = (cells, text, pictures, image, columns, sequence, windows, targets, features)
NAMED = 8  # columns in the text of the README
SHOWN_INPUTS = 100  # in its example
README = """# {name}

Predicts {target} ({task}, model family {family}). Every row must hold {inputs}.

```python
from predict import load
predictor = load(".")  # needs torch and safetensors{pillow}
rows = {rows}
print(predictor.predict(rows))
{proba}```

The same from a shell: `python predict.py {files}`. {cells}
`features.json` is the preprocessing, fitted on the training rows; `config.json` the whole recipe.
"""
CELLS = {
    "pillow": "",
    "files": "rows.csv",
    "cells": 'A missing value is None, "" or NA.\n'
    "JSON objects, one per line, do as well: `rows.jsonl`.",
}
WINDOWS = (
    "Rows are\nconsecutive, of one series, the earliest first; none may be missing. Of N rows "
    "there are N - {more}\nforecasts: what follows the first {window} rows, and so on; the last "
    "one is beyond all rows. Each is\n{each}."
)
SEQUENCES = (
    "Each line is a JSON\nobject; a sequence in it is a list of any number of steps, each a list "
    "of {} numbers."
)
SERIES = "Each line is a JSON\nobject; a sequence in it is a list of any number of numbers."
IMAGES = {
    "pillow": ", and Pillow for files",
    "files": "picture.png",
    "cells": "A picture is a file, its\nbytes, or whole numbers from 0 to 255 of H x W, H x W x C "
    "or C x H x W (a tensor, or lists).",
}


def write_bundle(request: Request, fitted: Features, outputs: int) -> None:
    """Write the folder `bundle` of this attempt, durably, unless it is there."""
    folder = request.folder / "bundle"
    if folder.exists():
        return
    texts = {
        "config.json": to_json(describe(request, fitted, outputs)),
        "features.json": to_json(fitted.to_json()),
        "predict.py": join_sources(request),
        "README.md": explain(request, fitted),
    }
    write_folder(folder, {name: text.encode() for name, text in texts.items()})


def to_json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def describe(request: Request, fitted: Features, outputs: int) -> dict[str, Any]:
    test = request.test_dataset
    return {
        "job": request.job_id,
        "task": request.task,
        "model": request.spec.model.model_dump(mode="json"),
        "inputs": list(fitted.shape),
        "outputs": outputs,
        "seed": request.spec.training.seed,
        "dataset_sha256": request.dataset.sha256,
        "test_dataset_sha256": test.sha256 if test else None,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "spec": request.spec.model_dump(mode="json"),
    }


def join_sources(request: Request) -> str:
    """One file out of several; only their imports of each other fall away."""
    head, body = read_source(Path(predictor.__file__)).split("from __future__", 1)
    parts = [
        *(read_source(Path(str(module.__file__))) for module in CARRIED),
        read_source(registry.find_model_source(request.spec.model)),
        body.split("\n", 1)[1],
    ]
    ours = re.compile(r"^from (worker\.\S+|__future__) import (\([^)]*\)|.*)\n", re.MULTILINE)
    return f"{head}\nfrom __future__ import annotations\n" + "\n\n".join(
        ours.sub("", part) for part in parts
    )


def read_source(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def explain(request: Request, fitted: Features) -> str:
    classify = not isinstance(fitted.target, NumberTarget)
    return README.format(
        name=request.spec.name,
        family=request.spec.model.type,
        task=request.task,
        target=name_columns(fitted.target.names),
        inputs=name_columns(list_inputs(fitted)),
        rows=make_example(fitted.inputs),
        **choose_words(fitted),
        proba="print(predictor.predict_proba(rows))\n" if classify else "",
    )


def choose_words(fitted: Features) -> dict[str, str]:
    if isinstance(fitted.whole, ImageInput):
        return IMAGES
    if isinstance(fitted.whole, WindowsInput):
        window, horizon = fitted.whole.window, len(fitted.target.names)
        each = "the next value" if horizon == 1 else f"a list of the next {horizon} values"
        return CELLS | {"cells": WINDOWS.format(window=window, more=window - 1, each=each)}
    if isinstance(fitted.whole, SequenceInput):
        (width,) = fitted.whole.shape
        cells = SERIES if width == 1 else SEQUENCES.format(width)
        return CELLS | {"files": "rows.jsonl", "cells": cells}
    return CELLS


def list_inputs(fitted: Features) -> list[str]:
    if isinstance(fitted.whole, WindowsInput):
        return list(fitted.whole.columns)
    return list(dict.fromkeys(each.name for each in fitted.inputs))


def name_columns(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:NAMED])
    return f"{shown} and {len(names) - NAMED} more columns" if len(names) > NAMED else shown


def make_example(inputs: list[Input]) -> str:
    """Python for rows with a usual value in every column."""
    if isinstance(inputs[0], WindowsInput):
        return f"[{inputs[0].example!r}] * {inputs[0].window}"
    if len(inputs) > SHOWN_INPUTS:
        return "[{column.name: None for column in predictor.features.inputs}]"
    return repr([{column.name: column.example for column in inputs}])
