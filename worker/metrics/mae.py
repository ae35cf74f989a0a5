from torch import Tensor
from torchmetrics.functional.regression import mean_absolute_error


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    error: Tensor = mean_absolute_error(outputs, targets)
    return error
