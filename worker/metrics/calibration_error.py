from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

BINS = 15


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    """The expected calibration error: how far the probability of the chosen class is from the share
    of rows where it is right, over 15 equal bins (Guo et al., 2017)."""
    error: Tensor = multiclass_calibration_error(
        outputs, targets, outputs.shape[1], n_bins=BINS, norm="l1", validate_args=False
    )
    return error
