"""Specs of jobs drawn at random, all of them to be accepted: for every family, what it reads and
what it predicts."""

import random
from itertools import product
from typing import Any

from app.specs import JobSpec

DATASET_ID, TEST_ID = f"ds_{'0' * 32}", f"ds_{'1' * 32}"
Cells = dict[str, Any]
Draw = random.Random
Options = dict[str, tuple[Any, ...]]

READ = {
    "linear": ("table", "terms"),
    "logistic": ("table", "terms"),
    "mlp": ("table", "terms", "image"),
    "cnn": ("tokens", "sequence", "image"),
    "rnn": ("tokens", "sequence"),
}
PREDICTED: dict[str, tuple[Any, ...]] = {
    "number": ("value", "count"),
    "class": ("kind", "answer"),
    "several": (["value", "count"], ["answer", "red"]),
}
CASES = [
    (family, read, predicted)
    for family, reads in READ.items()
    for read, predicted in product(reads, PREDICTED)
    if (family, predicted) not in (("linear", "class"), ("logistic", "number"))
]
FAMILIES: dict[str, Options] = {
    "linear": {"bias": (True, False)},
    "logistic": {"bias": (True, False)},
    "mlp": {"hidden": ([4], [5, 3]), "activation": ("relu", "tanh"), "dropout": (0.0, 0.3)},
    "cnn": {
        "channels": ([3], [2, 4]),
        "kernels": ([3], [2, 3]),
        "embedding": (3,),
        "norm": ("none", "batch"),
        "pool": ("none", "max", "average"),
        "residual": (False, True),
        "gather": ("auto", "max", "average"),
        "dropout": (0.0, 0.3),
    },
    "rnn": {
        "cell": ("rnn", "gru", "lstm"),
        "hidden": (4,),
        "embedding": (3,),
        "layers": (1, 2),
        "bidirectional": (False, True),
        "pool": ("last", "max", "average"),
        "dropout": (0.0, 0.3),
    },
}
READINGS: dict[str, Options] = {
    "table": {
        "inputs": (["a", "b", "color", "flag"],),
        "impute": ("mean", "median"),
        "scale": ("standard", "none"),
    },
    "terms": {
        "inputs": (["review", "a"], ["review"]),
        "text": ({"type": "tf_idf", "ngram_max": 2}, {"type": "bag_of_words", "characters": {}}),
    },
    "tokens": {
        "inputs": (["review"],),
        "text": tuple(
            {"type": "tokens", "tokenizer": each, "max_length": 7}
            for each in ("word", "character", "byte", "bpe", "wordpiece")
        ),
    },
    "sequence": {
        "inputs": (["steps"], ["levels"]),
        "sequence": (None, {"max_length": 3, "keep": "first"}),
    },
    "image": {"inputs": (["image"],), "image": (None, {"height": 5, "width": 6})},
}
AUGMENTS = {
    "table": ("noise", "mixup"),
    "tokens": ("word_dropout",),
    "sequence": ("noise", "mask", "mixup"),
    "image": ("shift", "flip", "crop", "rotate", "colour", "mixup"),
}
TRAINING: Options = {
    "epochs": (2, 3),
    "batch_size": (5, 13),
    "accumulate": (1, 1, 2),
    "optimizer": tuple({"type": each} for each in ("sgd", "adam", "adamw", "lion", "muon")),
    "schedule": tuple({"type": each, "warmup": 0.2} for each in ("constant", "one_cycle")),
    "lr_finder": (None, None, {"steps": 20}),
    "precision": ("float32", "bfloat16"),
    "ema_decay": (None, 0.9),
    "clip_norm": (None, 1.0),
    "l2": (0.0, 0.01),
    "weight_decay_on": ("all", "weights"),
    "early_stopping": (None, {"patience": 1}),
}
LOSSES: dict[str, tuple[Any, ...]] = {
    "number": ("auto", {"type": "huber"}, {"type": "quantile"}),
    "count": ("auto", {"type": "poisson"}),
    "class": ("auto", {"type": "focal"}),
}


def draw_spec(draw: Draw, family: str, read: str, predicted: str) -> JobSpec:
    targets = [
        each
        for each in PREDICTED[predicted]
        if predicted != "several" or family not in ("linear", "logistic") or told(family, each)
    ]
    target = draw.choice(targets)
    numbers = "value" in target or "count" in target
    loss = "count" if target == "count" else "number" if numbers else "class"
    training = {**draw_options(draw, TRAINING), "loss": draw.choice(LOSSES[loss])}
    if read in AUGMENTS:
        training["augment"] = [{"type": draw.choice(AUGMENTS[read])}]
    if not numbers:
        training["class_weights"] = draw.choice((None, "balanced"))
    model = {"type": family, **draw_options(draw, FAMILIES[family])}
    if family not in ("linear", "logistic"):
        model["task"] = "regression" if numbers else "classification"
    body = {
        "name": f"{family} of {read}",
        "model": model,
        "dataset": {
            "id": DATASET_ID,
            "test_id": TEST_ID,
            "target": target,
            **draw_options(draw, READINGS[read]),
        },
        "training": training,
        "evaluation": {
            "metrics": ["mae" if numbers else "accuracy"],
            "explanations": draw.choice(([], [{"type": "integrated_gradients", "steps": 3}])),
        },
    }
    return JobSpec.model_validate(body)


def told(family: str, targets: list[str]) -> bool:
    return (family == "linear") == ("value" in targets)


def draw_options(draw: Draw, options: Options) -> Cells:
    return {name: draw.choice(values) for name, values in options.items()}
