"""The pinball loss, least where a share `q` of the targets lies below the prediction.

Koenker and Bassett, 1978.
"""

import torch
from torch import Tensor

from app.specs.losses import QuantileSpec
from worker.losses import Loss, one_output, to_column


def build(spec: QuantileSpec) -> Loss:
    q = spec.q

    def compute(outputs: Tensor, targets: Tensor) -> Tensor:
        above = targets - outputs
        return torch.maximum(q * above, (q - 1) * above).mean()

    def guess(targets: Tensor) -> Tensor:
        ordered = targets.sort().values
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))]

    return Loss(compute, one_output, to_column, guess=guess, guess_name="quantile")
