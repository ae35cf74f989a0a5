"""Files and specs belong together: neither exists without the other."""

from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch import nn

from app.specs.augment import AugmentSpec
from app.specs.explanations import EXPLANATIONS
from app.specs.losses import LossSpec
from app.specs.models import FAMILIES, CNNSpec, ModelSpec, RNNSpec
from app.specs.optimizers import OptimizerSpec
from app.specs.schedules import ScheduleSpec
from app.specs.training import MetricName
from worker import registry


def list_specs(union: Any) -> dict[str, Any]:
    members = get_args(get_args(union)[0])
    return {spec.model_fields["type"].default: spec for spec in members}


SPECS = {
    "models": list_specs(ModelSpec),
    "augment": list_specs(AugmentSpec),
    "optimizers": list_specs(OptimizerSpec),
    "losses": list_specs(LossSpec),
    "schedules": list_specs(ScheduleSpec),
    "attributions": {spec.model_fields["type"].default: spec for spec in EXPLANATIONS},
}


@pytest.mark.parametrize("kind", SPECS)
def test_every_spec_has_a_file_and_every_file_a_spec(kind: str) -> None:
    assert registry.list_variants(kind) == sorted(SPECS[kind])


def test_every_metric_name_has_a_file() -> None:
    assert registry.list_variants("metrics") == sorted(get_args(MetricName))


def test_every_variant_can_be_imported_ahead() -> None:
    registry.import_variants()


def list_variants(family: Any) -> list[tuple[Any, tuple[int, ...]]]:
    """Specs as they are once resolved, with what their inputs look like."""
    if "table" in family.takes:
        return [(family(), (7,))]
    shapes = {"tokens": (7,), "sequence": (4,), "image": (2, 9, 8)}
    fields: list[dict[str, Any]] = [
        {},
        {"cell": "gru", "bidirectional": True, "layers": 2, "pool": "max"},
        {"cell": "rnn", "pool": "average"},
        {"channels": [4, 4, 6], "kernels": [1, 3], "pool": "max", "norm": "batch", "hidden": [5]},
        {"channels": [4, 4], "residual": True, "pool": "average", "gather": "average"},
    ]
    variants = []
    for over, more in product(family.takes, fields):
        if more.keys() <= family.model_fields.keys():
            gather = {"gather": "flatten" if over == "image" else "max"}
            more = (gather if family is CNNSpec else {}) | more
            variants.append((family(over=over, **more), shapes[over]))
    return variants


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parameter_count_of_a_spec_is_that_of_the_model(family: Any) -> None:
    for spec, inputs in list_variants(family):
        model = registry.build_model(spec, inputs, outputs=3)
        count = sum(param.numel() for param in model.parameters())
        assert count == spec.parameter_count(inputs, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_maps_rows_to_outputs(family: Any) -> None:
    for spec, inputs in list_variants(family):
        model = registry.build_model(spec, inputs, outputs=3)
        rows = {
            "image": torch.zeros(5, *inputs, dtype=torch.uint8),
            "tokens": torch.ones(5, 9, dtype=torch.long),
            "sequence": torch.zeros(5, 9, *inputs),
        }
        assert model(rows.get(getattr(spec, "over", ""), torch.zeros(5, 7))).shape == (5, 3)


def test_what_fills_up_a_row_changes_nothing() -> None:
    """The same text, whether a longer one stands beside it or not."""
    tokens = torch.randint(1, 7, (1, 5), generator=torch.Generator().manual_seed(0))
    filled = torch.cat([tokens, torch.zeros(1, 6, dtype=torch.long)], 1)
    for family in (CNNSpec, RNNSpec):
        for spec, inputs in list_variants(family):
            if spec.over == "tokens":
                model = registry.build_model(spec, inputs, outputs=3).eval()
                torch.testing.assert_close(model(tokens), model(filled))


@pytest.mark.parametrize("spec", SPECS["optimizers"].values())
def test_every_optimizer_lowers_a_bowl(spec: Any) -> None:
    point = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = registry.build_optimizer(spec(lr=0.05), [point])
    for _ in range(20):
        point.grad = 2 * point.detach()
        optimizer.step()
    assert point.square().sum().item() < 5.0


@pytest.mark.parametrize("spec", SPECS["schedules"].values())
def test_every_schedule_stays_between_0_and_the_full_rate(spec: Any) -> None:
    for steps in (1, 2, 3, 50):
        factor = registry.build_schedule(spec(warmup=0.4), steps, steps_per_epoch=5)
        assert all(0 <= factor(step) <= 1 for step in range(steps))
