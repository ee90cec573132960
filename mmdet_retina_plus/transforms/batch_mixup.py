"""MixUp for detection: blend two images and keep the objects of both.

Bag of Freebies: https://arxiv.org/abs/1902.04103, section 3.1
"""

from itertools import starmap
from operator import itemgetter
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample, SampleList
from mmengine.dist import get_dist_info
from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmdet_retina_plus.common.training_phase import training_progress


@MODELS.register_module()
class BatchMixUp(nn.Module):
    """Mix every image of a batch with its neighbour in the batch.

    An image becomes lambda times itself plus 1 - lambda times the other and
    gets the objects of both. ``gt_instances.mix_weights`` is lambda for its
    own objects and 1 - lambda for those of the other. ``YOLOV3PlusHead``
    weighs the objectness by them; other heads ignore them. The objects with
    the larger weight come last, so that they keep a prior that is the best
    for objects of both images.

    Use it in ``batch_augments`` of the data preprocessor, where all images
    have the same size. It runs in the training process, so switching it off
    needs neither a hook nor a message to the data loader workers. Unlike
    mmdet's MixUp, the transform of YOLOX, it records lambda.

    mmengine seeds all processes alike, so each process draws lambdas for the
    images of all processes and uses its own. A single image in a batch is
    unchanged.

    Args:
        alpha: Both parameters of lambda's Beta distribution; 1.5 as in ASFF's
            baseline.
        stop_at: Fraction of the training after which images are not mixed; .9
            as in ASFF's baseline, 270 of 300 epochs.

    Raises:
        ValueError: An option is out of its range, or the samples have
            segmentation maps, which have no mixture.
    """

    def __init__(self, alpha: float = 1.5, stop_at: float = 0.9) -> None:
        super().__init__()
        if alpha <= 0 or not 0 <= stop_at <= 1:
            raise ValueError(
                f'alpha={alpha}, stop_at={stop_at}: use an alpha above 0 and '
                'a fraction of the training'
            )
        self.beta = torch.distributions.Beta(alpha, alpha)
        self.stop_at = stop_at

    def forward(
        self, inputs: Tensor, data_samples: SampleList
    ) -> tuple[Tensor, SampleList]:
        """Mix the images and add the objects of the neighbours.

        Args:
            inputs: Normalised images, shape (N, 3, H, W).
            data_samples: Samples of the N images, changed in place.
        """
        if len(inputs) < 2 or training_progress() >= self.stop_at:
            return inputs, data_samples
        if any('gt_sem_seg' in sample for sample in data_samples):
            raise ValueError(
                'BatchMixUp cannot mix gt_sem_seg: remove one of the two'
            )
        rank, world_size = get_dist_info()
        drawn = self.beta.sample((world_size, len(inputs)))[rank]
        weights = drawn.to(inputs).view(-1, 1, 1, 1)
        mixed = weights * inputs + (1 - weights) * inputs.roll(1, dims=0)
        others = [data_samples[-1], *data_samples[:-1]]
        changes = [
            mix_samples(*of_image)
            for of_image in zip(
                data_samples, others, drawn.tolist(), strict=True
            )
        ]
        for sample, (fields, shapes) in zip(
            data_samples, changes, strict=True
        ):
            sample.set_metainfo(shapes)
            for name, instances in fields.items():
                setattr(sample, name, instances)
        return mixed, data_samples


def mix_samples(
    sample: DetDataSample, other: DetDataSample, weight: float
) -> tuple[dict[str, Any], dict[str, tuple[int, ...]]]:
    """Join the instances of both samples and the sizes that cover both.

    Args:
        sample: Sample of the image.
        other: Sample of its neighbour.
        weight: Weight of the image.
    """
    both = [(sample.gt_instances, weight), (other.gt_instances, 1 - weight)]
    both.sort(key=itemgetter(1))
    fields = dict(gt_instances=InstanceData.cat(list(starmap(weigh, both))))
    if 'ignored_instances' in sample:
        fields['ignored_instances'] = InstanceData.cat(
            [sample.ignored_instances, other.ignored_instances]
        )
    return fields, {
        # Anchors are valid within `pad_shape`.
        name: tuple(map(max, sample.get(name), other.get(name)))
        for name in ('img_shape', 'pad_shape')
        if name in sample
    }


def weigh(instances: InstanceData, weight: float) -> InstanceData:
    """Add constant ``mix_weights`` to instances."""
    weighted = instances[:]
    weighted.mix_weights = torch.full(
        (len(instances),), weight, device=instances.labels.device
    )
    return weighted
