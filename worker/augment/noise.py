import torch
from torch import Generator, Tensor

from app.specs.augment import NoiseSpec
from worker.augment import Augment, keep_targets


def build(spec: NoiseSpec) -> Augment:
    def add_noise(inputs: Tensor, generator: Generator) -> Tensor:
        noise = torch.randn(inputs.shape, generator=generator).to(inputs.device)
        return inputs + spec.std * noise  # NaN stays NaN

    return keep_targets(add_noise)
