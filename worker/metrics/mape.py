import torch
from torch import Tensor
from torchmetrics.functional.regression import mean_absolute_percentage_error


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    """A share, not a percentage: 0.1 is 10 %. Undefined where a target is 0."""
    error: Tensor = mean_absolute_percentage_error(outputs, targets)
    return torch.where((targets == 0).any(), targets.new_tensor(float("nan")), error)
