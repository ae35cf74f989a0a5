"""The mean gradient on the straight way from the empty row to the row, times their difference.

The attributions of a row add up to what its output differs from that of the empty row.
Sundararajan, Taly and Yan, "Axiomatic attribution for deep networks", 2017.
"""

from captum.attr import IntegratedGradients
from torch import Tensor

from app.specs.explanations import IntegratedGradientsSpec
from worker.attributions import Attribute, Forward


def build(spec: IntegratedGradientsSpec) -> Attribute:
    def attribute(forward: Forward, row: Tensor, empty: Tensor, points: int) -> Tensor:
        method = IntegratedGradients(forward)
        found: Tensor = method.attribute(row, empty, n_steps=spec.steps, internal_batch_size=points)
        return found.detach()

    return attribute
