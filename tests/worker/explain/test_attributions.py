"""Attributions against what they must be: exact for lines, complete for everything."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from captum.attr import LayerIntegratedGradients
from PIL import Image
from torch import Tensor, nn

from app.specs.explanations import IntegratedGradientsSpec
from app.specs.models import CNNSpec, RNNSpec
from worker import registry
from worker.data.columns import CategoryInput, NumberInput
from worker.data.targets import (
    ClassTarget,
    CountsTarget,
    CountTarget,
    LabelsTarget,
    ValuesTarget,
    ValueTarget,
)
from worker.data.text import TermsInput, TokensInput
from worker.explain.explain import explaining
from worker.explain.image import ImageView, colour
from worker.explain.outputs import choose_explained, list_targets
from worker.explain.sequence import SequenceView
from worker.explain.table import TableView
from worker.explain.tokens import TokensView
from worker.explain.view import View

TERMS = TermsInput("text", "bag_of_words", {"binary": False}, ("bad", "good"), ())
COLUMNS: list[Any] = [
    NumberInput("a", fill=3.0, mean=2.0, std=0.5),
    CategoryInput("kind", "category", ("x", "y", None)),
    NumberInput("constant", fill=7.0, mean=7.0, std=0.0),
    TERMS,
]
WIDTH = 7


def random_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def attribute(
    view: View, row: Tensor, steps: int = 50, output: int = 0, points: int = 64
) -> Tensor:
    question = view.ask(row)
    method = registry.build_attribution(IntegratedGradientsSpec(steps=steps))

    def forward(rows: Tensor) -> Tensor:
        return question.forward(rows)[:, output]

    with explaining(nn.Identity()):
        found = method(forward, question.row, question.empty, points)
    assert found.shape == question.row.shape
    return found


def measure_difference(view: View, row: Tensor, output: int = 0) -> float:
    question = view.ask(row)
    with torch.no_grad():
        ends = [question.forward(each)[0, output] for each in (question.row, question.empty)]
    return (ends[0] - ends[1]).item()


# ---------------------------------------------------------------- tables


def test_of_a_line_they_are_weight_times_difference() -> None:
    model = nn.Linear(WIDTH, 1)
    view = TableView(model, COLUMNS)
    row = random_tensor(1, WIDTH)
    expected = model.weight.detach() * (row - view.empty_row)
    for points in (1, 7, 64):
        torch.testing.assert_close(attribute(view, row, points=points), expected)
    shown = {each["column"]: each for each in view.show(row, expected).facts["columns"]}
    assert shown["kind"]["attribution"] == pytest.approx(expected[0, 1:4].sum().item(), rel=1e-5)
    assert {each["term"] for each in shown["text"]["terms"]} == {"bad", "good"}


def test_the_empty_row_has_missing_numbers_and_nothing_else() -> None:
    view = TableView(nn.Linear(WIDTH, 1), COLUMNS)
    assert view.empty_row.tolist() == [[2.0, 0, 0, 0, 0, 0, 0]]


def test_a_table_shows_its_values_as_they_were() -> None:
    view = TableView(nn.Linear(WIDTH, 1), COLUMNS)
    row = torch.tensor([[4.0, 0, 1, 0, 0, 0, 2]])
    for _ in range(2):
        shown = view.show(row, torch.tensor([[1.0, -2, -2, 0, 0.5, 0, 3]])).facts["columns"]
    assert shown == [
        {"column": "kind", "value": "y", "attribution": -4.0},
        {"column": "text", "terms": [{"term": "good", "attribution": 3.0}], "attribution": 3.0},
        {"column": "a", "value": 4.0, "attribution": 1.0},
        {"column": "constant", "value": 7.0, "attribution": 0.5},
    ]
    summary = view.summarise()
    sizes = {each["column"]: each["mean_absolute"] for each in summary["columns"]}
    assert list(sizes.items()) == [("kind", 4), ("text", 3), ("a", 1), ("constant", 0.5)]
    assert summary["terms"] == [{"column": "text", "term": "good", "mean_absolute": 3.0}]


def test_of_a_network_they_add_up_to_the_difference() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, 16), nn.ReLU(), nn.Linear(16, 3))
    view = TableView(model, COLUMNS)
    for output in range(3):
        row = random_tensor(1, WIDTH, seed=output) * 2
        total = attribute(view, row, 400, output).sum().item()
        assert total == pytest.approx(measure_difference(view, row, output), abs=2e-3)


# ---------------------------------------------------------------- tokens

TOKENS = TokensInput("text", "word", True, 9, tuple("abcdefg"), ())
READERS: list[tuple[Any, dict[str, Any]]] = [
    (CNNSpec, {"channels": [6], "gather": "average", "norm": "batch"}),
    (RNNSpec, {"hidden": 6, "cell": "gru", "bidirectional": True}),
    (RNNSpec, {"hidden": 6, "pool": "average"}),
]


def build(family: Any, over: str, inputs: tuple[int, ...], options: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    return registry.build_model(family(over=over, **options), inputs, outputs=2).eval()


@pytest.mark.parametrize(("family", "options"), READERS)
def test_of_tokens_they_are_those_of_captums_embedding_layer(family: Any, options: Any) -> None:
    model: Any = build(family, "tokens", TOKENS.shape, {"embedding": 5, **options})
    view = TokensView(model, TOKENS)
    row = torch.tensor([[2, 8, 1, 3, 3, 0, 0]])
    found = attribute(view, row)
    tokens = row[:, :5]
    reference = LayerIntegratedGradients(lambda each: model(each)[:, 0], model.embedding)
    torch.testing.assert_close(found, reference.attribute(tokens, torch.zeros_like(tokens)))
    total = attribute(view, row, 400).sum().item()
    assert total == pytest.approx(measure_difference(view, row), abs=2e-3)
    shown = view.show(row, found).facts["tokens"]
    assert [each["token"] for each in shown] == ["a", "g", None, "b", "b"]
    assert {each["token"] for each in view.summarise()["tokens"]} == {"a", "g", None, "b"}


# ---------------------------------------------------------------- sequences and images


@pytest.mark.parametrize(("family", "options"), READERS)
def test_of_sequences_there_is_one_per_step_and_channel(family: Any, options: Any) -> None:
    model = build(family, "sequence", (3,), options)
    view = SequenceView(model, means=(0.0, 10.0, 100.0), stds=(1.0, 2.0, 0.0))
    row = torch.cat([random_tensor(1, 6, 3), torch.full((1, 2, 3), torch.nan)], 1)
    found = attribute(view, row, 400)
    assert found.shape == (1, 6, 3)
    assert found.sum().item() == pytest.approx(measure_difference(view, row), abs=2e-3)
    facts = view.show(row, found).facts
    assert np.shape(facts["attributions"]) == (6, 3)
    first = row[0, 0].tolist()
    assert facts["values"][0] == pytest.approx([first[0], 10 + 2 * first[1], 100], rel=1e-5)
    assert len(facts["values"]) == 6
    sizes = [each["mean_absolute"] for each in view.summarise()["channels"]]
    assert sizes == pytest.approx(found.abs().sum((0, 1)).tolist(), rel=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_of_images_they_are_a_picture_beside_the_image(channels: int) -> None:
    options = {"channels": [4], "gather": "flatten", "pool": "max"}
    view = ImageView(build(CNNSpec, "image", (channels, 6, 8), options))
    generator = torch.Generator().manual_seed(0)
    row = torch.randint(0, 256, (1, channels, 6, 8), generator=generator, dtype=torch.uint8)
    found = attribute(view, row, 400)
    assert found.sum().item() == pytest.approx(measure_difference(view, row), abs=2e-3)
    first, again = (view.show(row, found).picture for _ in range(2))
    assert first is not None
    assert first == again
    picture = np.asarray(Image.open(io.BytesIO(first)))
    times = 224 // 8
    assert picture.shape == (6 * times, 2 * 8 * times + 8, 3)
    pixels = row[0].expand(3, -1, -1).permute(1, 2, 0).numpy()
    assert (picture[::times, : 8 * times : times] == pixels).all()


def test_what_speaks_for_it_is_red_and_what_speaks_against_it_blue() -> None:
    heat = np.zeros((1, 3))
    heat[0, :2] = 5, -5
    assert colour(heat).tolist() == [[[255, 0, 0], [0, 0, 255], [255, 255, 255]]]
    assert (colour(np.zeros((2, 2))) == 255).all()


# ---------------------------------------------------------------- which output


@pytest.mark.parametrize(
    ("target", "outputs", "truth", "predicted", "true", "selected"),
    [
        (ClassTarget("y", ("a", "b", "c")), [[1.0, 3.0, 2.0]], 0, "b", "a", 3.0),
        (ClassTarget("y", ("no", "yes")), [[2.0]], 1, "yes", "yes", 2.0),
        (ClassTarget("y", ("no", "yes")), [[-2.0]], 2, "no", None, 2.0),
        (ValueTarget("y", mean=10.0, std=3.0), [[2.0]], 5.0, 16.0, 5.0, 16.0),
        (CountTarget("y", 1.0, 1.0), [[0.0]], 3.0, 1.0, 3.0, 0.0),
    ],
)
def test_the_predicted_class_or_the_value_is_explained(
    target: Any, outputs: Any, truth: Any, predicted: Any, true: Any, selected: float
) -> None:
    (explained,) = choose_explained(target, torch.tensor(outputs), torch.tensor(truth))
    assert (explained.true, explained.predicted) == (true, predicted)
    assert explained.select(torch.tensor(outputs)).tolist() == [selected]
    assert list_targets(target) == [explained.target]


@pytest.mark.parametrize(
    ("target", "truth", "predicted", "true", "selected"),
    [
        (ValuesTarget(("a", "b"), (1.0, 2.0), (3.0, 4.0)), [5.0, 6.0], [7, -2], [5, 6], [7, -2]),
        (
            CountsTarget(("a", "b"), (1.0, 1.0), (1.0, 1.0)),
            [1.0, 2.0],
            [7.38906, 0.367879],
            [1, 2],
            [2, -1],
        ),
        (
            LabelsTarget((ClassTarget("a", ("0", "1")), ClassTarget("b", ("no", "yes")))),
            [0, 1],
            ["1", "no"],
            ["0", "yes"],
            [2, 1],
        ),
    ],
)
def test_of_several_targets_each_is_explained(
    target: Any, truth: Any, predicted: Any, true: Any, selected: Any
) -> None:
    outputs = torch.tensor([[2.0, -1.0]])
    explained = choose_explained(target, outputs, torch.tensor(truth))
    assert [each.target for each in explained] == list_targets(target) == ["a", "b"]
    assert [each.predicted for each in explained] == predicted
    assert [each.true for each in explained] == true
    assert [each.select(outputs).item() for each in explained] == selected


def test_of_very_many_targets_the_first_are_explained() -> None:
    target = ValuesTarget(tuple("abcdefghijk"), (0.0,) * 11, (1.0,) * 11)
    explained = choose_explained(target, torch.zeros(1, 11), torch.zeros(11))
    assert [each.target for each in explained] == list_targets(target) == list("abcdefgh")


def test_a_model_trains_on_as_it_was() -> None:
    for training in (True, False):
        model = nn.Sequential(nn.Dropout(), nn.RNN(2, 2)).train(training)
        with explaining(model):
            assert not model.training
            assert not torch.backends.cudnn.enabled
        assert model[0].training is training
        assert torch.backends.cudnn.enabled
