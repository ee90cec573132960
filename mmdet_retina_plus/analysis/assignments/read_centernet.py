"""Read CenterNetHead: the centres of its heat map."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from .assignment import NEGATIVE, POSITIVE, Assignment
from .watching import watched


def read_centernet(
    head: Any, features: Sequence[Tensor], samples: list
) -> Assignment:
    """Read the assignment of an image from the target of the heat map.

    A location is positive in the channels of classes whose objects have their
    centre there, and a negative of reduced weight around it. To find the
    object of each positive, the head computes targets for each object
    separately.

    Args:
        head: Head of a detector in training mode.
        features: Output of the neck for one image.
        samples: One, as the data preprocessor leaves it.
    """
    with (
        watched(head, 'get_targets') as called,
        watched(head, 'loss_by_feat') as losses,
    ):
        head.loss(features, samples)
    arguments, (targets, _) = called[0]
    (heat,) = losses[0].arguments['center_heatmap_preds']
    centres = centres_in(targets)
    height, width = centres.shape
    objects, priors = locations_of(head, arguments)
    image_height, image_width = arguments['img_shape'][:2]
    step = np.array([image_width / width, image_height / height])
    y, x = np.divmod(np.arange(height * width), width)
    return Assignment(
        strides=[float(step[0])],
        levels=np.zeros(height * width, int),
        centres=(np.stack([x, y], axis=1) + 0.5) * step,
        boxes=None,
        states=np.where(centres.flatten(), POSITIVE, NEGATIVE),
        priors=priors,
        objects=objects,
        weights=np.ones(len(priors)),
        scores=heat[0].detach().amax(dim=0).flatten().cpu().numpy(),
    )


def centres_in(targets: dict[str, Tensor]) -> np.ndarray:
    """Whether a location is the centre of any object, shape (H, W)."""
    peaks = targets['center_heatmap_target'][0].eq(1)
    return peaks.any(dim=0).cpu().numpy()


def locations_of(head: Any, arguments: dict) -> tuple[np.ndarray, np.ndarray]:
    """Objects and their positive locations, by the head's own targets."""
    (bboxes,) = arguments['gt_bboxes']
    if not len(bboxes):
        return np.zeros(0, int), np.zeros(0, int)
    # One class is enough; maps of all classes would fill the memory.
    head = copy.copy(head)
    head.num_classes = 1
    *_, height, width = arguments['feat_shape']
    targets, _ = head.get_targets(
        bboxes.split(1),
        [arguments['gt_labels'][0].new_zeros(1)] * len(bboxes),
        (len(bboxes), 1, height, width),
        arguments['img_shape'],
    )
    peaks = targets['center_heatmap_target'].eq(1).flatten(1)
    objects, priors = peaks.nonzero().cpu().numpy().T
    return objects, priors
