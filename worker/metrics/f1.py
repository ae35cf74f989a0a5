from torch import Tensor
from torchmetrics.functional.classification import binary_f1_score, multiclass_f1_score


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    chosen, classes = outputs.argmax(1), outputs.shape[1]
    score: Tensor
    if classes == 2:
        score = binary_f1_score(chosen, (targets == 1).long(), validate_args=False)
    else:  # rows of a class that training has not seen form one more class
        score = multiclass_f1_score(
            chosen, targets, classes + 1, average="macro", validate_args=False
        )
    return score
