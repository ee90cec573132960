"""Training steps of a detector whose processes have images of their own."""

from collections.abc import Sequence
from typing import Any

import torch
from mmdet.models.detectors import BaseDetector
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from torch import Tensor, nn

from tests.helpers.samples import OBJECTS, Objects, data_sample
from tests.helpers.shipped_configs import build_detector

IMAGES: Sequence[Sequence[Objects]] = [
    (OBJECTS, ()),
    ((), OBJECTS),
    ((), ()),
    (OBJECTS, OBJECTS[:1]),
]
"""Objects of the even and the odd processes, by step."""
EQUAL = (OBJECTS, OBJECTS)
"""As many positives in each process, where the assigner reads boxes alone."""


def narrow(config: Config) -> Config:
    """Put 64 channels in place of 256 behind the backbone.

    Norms get 8 groups: of one channel and one cell there is no variance.
    """
    for name in ('neck', 'bbox_head', 'roi_head', 'semantic_head', 'rpn_head'):
        if name in config.model:
            narrow_part(config.model[name])
    return config


def narrow_part(part: Any) -> None:
    if isinstance(part, list):
        for item in part:
            narrow_part(item)
    elif isinstance(part, dict):
        for key, value in part.items():
            if 'channels' in key and value == 256:
                part[key] = 64
            elif key == 'num_groups':
                part[key] = 8
            else:
                narrow_part(value)


def build(config: Config) -> BaseDetector:
    """A detector whose batch norms keep their statistics.

    Those of a batch are not those of its parts.
    """
    torch.manual_seed(0)
    detector = build_detector(config)
    for module in detector.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    return detector


def gradient(
    model: BaseDetector, images: Tensor, objects: Sequence[Objects]
) -> Tensor:
    """The gradient of all trainable parameters, as a vector."""
    detector = getattr(model, 'module', model)
    detector.zero_grad()
    samples = [data_sample(image) for image in objects]
    losses = model(images, samples, mode='loss')
    detector.parse_losses(losses)[0].backward()
    missing = [
        name
        for name, parameter in detector.named_parameters()
        if parameter.requires_grad and parameter.grad is None
    ]
    assert not missing, f'no gradient for {missing[:3]}'
    return torch.cat(
        [
            parameter.grad.flatten()
            for parameter in detector.parameters()
            if parameter.grad is not None
        ]
    )


def batch(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 3, 64, 64, generator=generator)


def train(rank: int, config: Config) -> tuple[Tensor, Tensor]:
    """The gradient of `EQUAL`, and the weights after steps of `IMAGES`."""
    count = torch.distributed.get_world_size()
    image = batch(count)[rank : rank + 1]
    # As mmengine's runner does.
    model = MMDistributedDataParallel(
        build(config),
        broadcast_buffers=False,
        find_unused_parameters=config.get('find_unused_parameters', False),
    )
    torch.manual_seed(1)
    first = gradient(model, image, [EQUAL[rank % 2]])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    for objects in IMAGES:
        gradient(model, image, [objects[rank % 2]])
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    weights = [p.detach().flatten() for p in model.parameters()]
    return first, torch.cat(weights)


def joined_gradient(config: Config, count: int) -> Tensor:
    """The gradient of the images of so many processes in one."""
    detector = build(config)
    torch.manual_seed(1)
    objects = [EQUAL[rank % 2] for rank in range(count)]
    return gradient(detector, batch(count), objects)


def distance(found: Tensor, expected: Tensor) -> float:
    """Length of the difference, relative to that of what is expected."""
    return float((found - expected).norm() / expected.norm())
