from torch import Tensor


def compute(outputs: Tensor, targets: Tensor) -> Tensor:
    """The share of rows of which every target is told right: (N, K, C) and (N, K) at once."""
    right = outputs.argmax(-1) == targets
    return right.view(len(right), -1).all(1).double().mean()
