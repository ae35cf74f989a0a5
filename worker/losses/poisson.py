"""The negative log-likelihood of counts whose expectation is exp(output), up to a constant."""

from torch.nn import functional as F

from app.specs.losses import PoissonSpec
from worker.losses import Loss, one_output, to_column


def build(_spec: PoissonSpec) -> Loss:
    return Loss(
        F.poisson_nll_loss,
        one_output,
        to_column,
        guess=lambda targets: targets.mean().clamp(min=1e-6).log(),
    )
