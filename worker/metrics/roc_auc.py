from torch import Tensor
from torchmetrics.functional.classification import binary_auroc


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    """With more than two classes: the mean of each against the rest, over those that occur."""
    classes = outputs.shape[1]
    known = targets < classes
    scores, truth = outputs[known], targets[known]
    if classes == 2:
        return _rank(scores[:, 1], truth == 1)
    areas = [_rank(scores[:, number], truth == number) for number in range(classes)]
    defined = [area for area in areas if not area.isnan()]
    total = outputs.new_tensor(sum(float(area) for area in defined))
    return total / len(defined) if defined else outputs.new_tensor(float("nan"))


def _rank(scores: Tensor, truth: Tensor) -> Tensor:
    if truth.all() or not truth.any():
        return scores.new_tensor(float("nan"))
    area: Tensor = binary_auroc(scores, truth.long(), validate_args=False)
    return area
