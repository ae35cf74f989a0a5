from torch import Tensor
from torchmetrics.functional.classification import binary_average_precision


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    """Average precision. With more than two classes: the mean of each against the rest, over those
    that occur."""
    classes = outputs.shape[1]
    known = targets < classes
    scores, truth = outputs[known], targets[known]
    chosen = [1] if classes == 2 else range(classes)
    areas = [_rank(scores[:, number], truth == number) for number in chosen]
    defined = [area for area in areas if not area.isnan()]
    total = outputs.new_tensor(sum(float(area) for area in defined))
    return total / len(defined) if defined else outputs.new_tensor(float("nan"))


def _rank(scores: Tensor, truth: Tensor) -> Tensor:
    if not truth.any():
        return scores.new_tensor(float("nan"))
    area: Tensor = binary_average_precision(scores, truth.long(), validate_args=False)
    return area
