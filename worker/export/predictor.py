"""Predicts with a downloaded model. This file needs torch and safetensors, nothing else of ours:

python predict.py rows.csv

A file of JSON objects, one per line, does as well. Where the model reads pictures:
python predict.py picture.png another.jpg; this needs Pillow too.
"""
# Made of files of the service: the features, the model family, and this one, whose imports
# from them fall away (see worker/export/bundle.py). That of the family stands for any family.

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import load_file
from torch import nn

from worker.data.features import Features, read_rows
from worker.data.image import ImageInput
from worker.data.targets import NumberTarget
from worker.data.windows import WindowsInput
from worker.models.linear import build

IMAGES_AT_ONCE = 64
USAGE = "usage: python predict.py rows.csv (or rows.jsonl, or picture.png ...)"


class Predictor:
    def __init__(self, features: Features, model: nn.Module) -> None:
        self.features, self.model = features, model.eval()

    def run(self, rows: list[dict[str, Any]]) -> torch.Tensor:
        """(N, O) outputs for raw rows; absent knowledge such as an unknown category is ignored."""
        inputs, _ = self.features.encode(read_rows(rows, self.features.inputs))  # (N, ...)
        if inputs.dtype != torch.uint8:
            return self.apply(inputs)
        return torch.cat([self.apply(some) for some in torch.split(inputs, IMAGES_AT_ONCE)])

    def apply(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            outputs: torch.Tensor = self.model(inputs)
        return outputs

    def predict(self, rows: list[dict[str, Any]]) -> list[Any]:
        """For each row a class label, or a number in the target's own units; of several targets a
        dict by column.

        Of a forecast: what follows each window of `rows`, which are consecutive rows of one series;
        a number, or a list where it reaches further ahead.
        """
        answers = self.features.target.answer(self.run(rows)) if rows else []
        if isinstance(self.features.whole, WindowsInput):
            return [list(each.values()) if isinstance(each, dict) else each for each in answers]
        return answers

    def predict_proba(self, rows: list[dict[str, Any]]) -> list[dict[str, float]]:
        """For each row the probability of every class; of several targets that of the second class
        of each column, such as 1 of 0 and 1."""
        target = self.features.target
        if isinstance(target, NumberTarget):
            raise TypeError("this model predicts a number, not a class")
        return target.share(self.run(rows)) if rows else []


def load(folder: str | Path = ".") -> Predictor:
    """Read config.json, features.json and model.safetensors from `folder`."""
    folder = Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    features = Features.from_json(
        json.loads((folder / "features.json").read_text(encoding="utf-8"))
    )
    spec: Any = SimpleNamespace(**config["model"])
    model = build(spec, tuple(config["inputs"]), config["outputs"])
    model = features.wrap(model)
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return Predictor(features, model)


def read_arguments(paths: list[str], features: Features) -> list[dict[str, Any]]:
    """The rows of a file, or picture files for a model that reads pictures."""
    whole = features.whole
    if isinstance(whole, ImageInput) and not paths[0].lower().endswith((".csv", ".jsonl")):
        return [{whole.name: path} for path in paths]
    if len(paths) != 1:
        sys.exit(USAGE)
    return read_file(paths[0])


def read_file(path: str) -> list[dict[str, Any]]:
    """Rows of a CSV file, or objects one per line."""
    with open(path, newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        file.seek(0)
        if header.lstrip().startswith("{"):
            return [json.loads(line) for line in file if line.strip()]
        return list(csv.DictReader(file, delimiter=max(",;\t|", key=header.count)))


def main() -> None:
    if len(sys.argv) < 2:
        sys.exit(USAGE)
    predictor = load(Path(__file__).resolve().parent)
    try:
        answers = predictor.predict(read_arguments(sys.argv[1:], predictor.features))
    except (ValueError, OSError) as error:  # of the rows: cells, files
        sys.exit(f"predict.py: {error}")
    sys.stdout.writelines(
        f"{json.dumps(each, ensure_ascii=False) if isinstance(each, (dict, list)) else each}\n"
        for each in answers
    )


if __name__ == "__main__":
    main()
