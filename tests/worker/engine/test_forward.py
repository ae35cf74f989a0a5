"""Each family's outputs and gradients against the formulas, written out in float64 row by row.

T tokens or steps, D numbers per step or token, C channels, K kernel width, H hidden units.
"""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional as F

from app.specs.models import FAMILIES, CNNSpec, LinearSpec, LogisticSpec, MLPSpec, RNNSpec
from worker import registry

Weights = dict[str, Tensor]
OUTPUTS, LENGTHS = 3, (7, 4, 1)
ACTIVATIONS: dict[str, Any] = {"relu": F.relu, "gelu": F.gelu, "tanh": torch.tanh, "silu": F.silu}
CNN: dict[str, Any] = {"task": "classification", "channels": [4, 4], "embedding": 5}
RNN: dict[str, Any] = {"task": "regression", "hidden": 4, "embedding": 5}
CASES: dict[str, tuple[Any, str]] = {
    "linear": (LinearSpec(), "table"),
    "linear without bias": (LinearSpec(bias=False), "table"),
    "logistic": (LogisticSpec(), "table"),
    "mlp": (MLPSpec(hidden=[6, 5], activation="gelu"), "table"),
    "mlp over images": (MLPSpec(hidden=[6], activation="silu"), "image"),
    "cnn over tokens": (CNNSpec(over="tokens", gather="max", kernels=[2, 3], **CNN), "tokens"),
    "cnn over steps": (
        CNNSpec(over="sequence", gather="average", norm="batch", residual=True, **CNN),
        "sequence",
    ),
    "cnn over images": (
        CNNSpec(over="image", gather="flatten", norm="batch", pool="average", hidden=[6], **CNN),
        "image",
    ),
    "cnn over images, residual": (
        CNNSpec(over="image", gather="max", residual=True, activation="tanh", **CNN),
        "image",
    ),
    **{
        f"{cell} over {over}, {pool}": (
            RNNSpec(cell=cell, over=over, pool=pool, bidirectional=both, layers=layers, **RNN),
            over,
        )
        for cell, over, pool, both, layers in (
            ("rnn", "tokens", "last", False, 1),
            ("lstm", "sequence", "last", True, 1),
            ("lstm", "tokens", "max", False, 2),
            ("gru", "sequence", "average", True, 2),
        )
    },
}


def test_every_family_is_checked_on_everything_it_takes() -> None:
    checked = {(spec.type, taken) for spec, taken in CASES.values()}
    types = {family.model_fields["type"].default: family.takes for family in FAMILIES}
    assert checked >= {(name, taken) for name, takes in types.items() for taken in takes}


def make_inputs(taken: str) -> tuple[Tensor, list[Tensor], tuple[int, ...]]:
    """A batch as models take it, its rows without what fills them up, and the shape."""
    random = torch.Generator().manual_seed(3)
    if taken == "table":
        table = torch.randn(3, 6, generator=random)
        return table, list(table.double()), (6,)
    if taken == "image":
        pictures = torch.randint(0, 256, (3, 2, 4, 8), generator=random, dtype=torch.uint8)
        return pictures, list(pictures.double()), (2, 4, 8)
    if taken == "tokens":
        rows = [torch.randint(1, 9, (length,), generator=random) for length in LENGTHS]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), rows, (9,)
    steps = [torch.randn(length, 2, generator=random) for length in LENGTHS]
    padded = torch.nn.utils.rnn.pad_sequence(steps, batch_first=True, padding_value=torch.nan)
    return padded, [row.double() for row in steps], (2,)


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_those_of_the_formulas(name: str) -> None:
    spec, taken = CASES[name]
    batch, rows, shape = make_inputs(taken)
    torch.manual_seed(0)
    model = registry.build_model(spec, shape, OUTPUTS).eval()
    random = torch.Generator().manual_seed(1)
    state = {
        key: torch.rand(each.shape, generator=random) + ("running_var" not in key) * -0.5
        for key, each in model.state_dict().items()
    }
    if "embedding.weight" in state:
        state["embedding.weight"][0] = 0  # the token that fills up
    learned = {key for key, _ in model.named_parameters()}
    wanted = torch.randn(3, OUTPUTS, generator=random)

    ours = {key: each.clone().requires_grad_(key in learned) for key, each in state.items()}
    outputs = functional_call(model, ours, (batch,))
    (outputs * wanted).sum().backward()
    exact = {key: each.double().requires_grad_(key in learned) for key, each in state.items()}
    expected = torch.stack([FORMULAS[spec.type](spec, exact, row) for row in rows])
    (expected * wanted).sum().backward()

    torch.testing.assert_close(outputs.double(), expected, rtol=1e-4, atol=1e-5)
    for key in learned:
        found, reference = ours[key].grad, exact[key].grad
        assert found is not None
        assert reference is not None
        torch.testing.assert_close(found.double(), reference, rtol=1e-3, atol=1e-5)


# ---------------------------------------------------------------- formulas: one row -> (O,)


def compute_linear(_spec: Any, weights: Weights, row: Tensor) -> Tensor:
    outputs = weights["weight"] @ row
    return outputs + weights["bias"] if "bias" in weights else outputs


def compute_mlp(spec: MLPSpec, weights: Weights, row: Tensor) -> Tensor:
    x = row.reshape(-1) / 255 if row.dim() > 1 else row
    for number in range(1, len(spec.hidden) + 1):
        layer = f"hidden{number}"
        x = ACTIVATIONS[spec.activation](weights[f"{layer}.weight"] @ x + weights[f"{layer}.bias"])
    return weights["output.weight"] @ x + weights["output.bias"]


def convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(C, *L) -> (O, *L): a sum over each place's surroundings, zeros beyond the border."""
    flat, width = x.dim() == 3, weight.shape[-1]
    border = ((width - 1) // 2, width - 1 - (width - 1) // 2)
    if not flat:
        around = F.pad(x, border).unfold(1, width, 1)  # (C, L, K)
        return torch.einsum("clk,ock->ol", around, weight) + bias[:, None]
    around = F.pad(x, border * 2).unfold(1, width, 1).unfold(2, width, 1)  # (C, H, W, K, K)
    return torch.einsum("chwij,ocij->ohw", around, weight) + bias[:, None, None]


def compute_block(spec: CNNSpec, weights: Weights, block: str, x: Tensor) -> Tensor:
    places = (1,) * (x.dim() - 1)
    branches = [
        convolve(x, weights[f"{block}.branches.{n}.weight"], weights[f"{block}.branches.{n}.bias"])
        for n in range(len(spec.kernels))
    ]
    y = torch.cat(branches)
    if spec.norm == "batch":
        facts = ("running_mean", "running_var", "weight", "bias")
        mean, var, scale, shift = (
            weights[f"{block}.norm.{each}"].view(-1, *places) for each in facts
        )
        y = (y - mean) / (var + 1e-5).sqrt() * scale + shift
    y = ACTIVATIONS[spec.activation](y)
    if spec.residual:
        around = f"{block}.around.weight"
        y = y + (
            convolve(x, weights[around], weights[f"{block}.around.bias"])
            if around in weights
            else x
        )
    if spec.pool == "average":
        channels, height, width = y.shape
        y = y.reshape(channels, height // 2, 2, width // 2, 2).mean((2, 4))
    return y


def compute_cnn(spec: CNNSpec, weights: Weights, row: Tensor) -> Tensor:
    match spec.over:
        case "tokens":
            x = weights["embedding.weight"][row].T  # (D, T)
        case "sequence":
            x = row.T
        case _:
            x = row / 255
    for number in range(len(spec.channels)):
        x = compute_block(spec, weights, f"blocks.{number}", x)
    places = x.flatten(1)
    gathered = {"max": places.amax(1), "average": places.mean(1), "flatten": places.flatten()}
    x = gathered[spec.gather]
    layers = sorted({int(key.split(".")[1]) for key in weights if key.startswith("head.")})
    for layer in layers:
        x = weights[f"head.{layer}.weight"] @ x + weights[f"head.{layer}.bias"]
        x = x if layer == layers[-1] else ACTIVATIONS[spec.activation](x)
    return x


def compute_cell(spec: RNNSpec, weights: Weights, layer: str, x: Tensor) -> Tensor:
    """(T, D) -> (T, H), in one direction. The cells are those of torch's documentation."""
    end = "_reverse" if layer.endswith("back") else ""
    layer = layer.removesuffix("back")
    names = [f"{layer}.{kind}_l0{end}" for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    from_input, from_state, input_bias, state_bias = (weights[name] for name in names)
    h = c = torch.zeros(spec.hidden, dtype=torch.float64)
    states = []
    for step in x.flip(0) if end else x:
        a, b = from_input @ step + input_bias, from_state @ h + state_bias
        if spec.cell == "rnn":
            h = torch.tanh(a + b)
        elif spec.cell == "gru":
            (ar, az, an), (br, bz, bn) = a.chunk(3), b.chunk(3)
            update = torch.sigmoid(az + bz)
            h = (1 - update) * torch.tanh(an + torch.sigmoid(ar + br) * bn) + update * h
        else:
            keep_in, forget, made, out = (a + b).chunk(4)
            c = torch.sigmoid(forget) * c + torch.sigmoid(keep_in) * torch.tanh(made)
            h = torch.sigmoid(out) * torch.tanh(c)
        states.append(h)
    return torch.stack(states[::-1] if end else states)


def compute_rnn(spec: RNNSpec, weights: Weights, row: Tensor) -> Tensor:
    x = weights["embedding.weight"][row] if spec.over == "tokens" else row
    for number in range(spec.layers):
        ahead = compute_cell(spec, weights, f"layers.{number}", x)
        back = (
            [compute_cell(spec, weights, f"layers.{number}back", x)] if spec.bidirectional else []
        )
        x = torch.cat([ahead, *back], 1)
        last = torch.cat([ahead[-1], *(states[0] for states in back)])
    summary = {"last": last, "max": x.amax(0), "average": x.mean(0)}[spec.pool]
    return weights["output.weight"] @ summary + weights["output.bias"]


FORMULAS: dict[str, Any] = {
    "linear": compute_linear,
    "logistic": compute_linear,
    "mlp": compute_mlp,
    "cnn": compute_cnn,
    "rnn": compute_rnn,
}
