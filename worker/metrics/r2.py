import torch
from torch import Tensor
from torchmetrics.functional.regression import r2_score


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    """Undefined where the targets do not vary."""
    undefined = targets.new_tensor(float("nan"))
    if len(targets) < 2:
        return undefined
    score: Tensor = r2_score(outputs, targets)
    return torch.where(targets.min() == targets.max(), undefined, score)
