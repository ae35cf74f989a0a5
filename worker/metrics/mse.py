from torch import Tensor
from torchmetrics.functional.regression import mean_squared_error


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    error: Tensor = mean_squared_error(outputs, targets)
    return error
