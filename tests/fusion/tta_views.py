"""Flipped and scaled views of pictures, shared by the tests."""

import copy

import numpy as np
import torch
from mmcv.transforms import TestTimeAug as Views
from mmdet.datasets.transforms import PackDetInputs, RandomFlip, Resize
from mmengine.dataset import pseudo_collate

PLAIN = RandomFlip(prob=0.0)


def flip(direction):
    return RandomFlip(prob=1.0, direction=direction)


def picture(mask, brightness=1.0):
    grey = np.where(mask, round(255 * brightness), 0).astype(np.uint8)
    return grey[..., None].repeat(3, axis=-1)


def batch_of(
    *images,
    scales=((140, 120),),
    flips=(PLAIN,),
    after=(),
    pack=PackDetInputs(),  # noqa: B008  is not changed
):
    """The images' views at all scales with all flips, as a loader's batch."""
    make_views = Views(
        [
            [Resize(scale=scale, keep_ratio=True) for scale in scales],
            list(flips),
            *([step] for step in after),
            [pack],
        ]
    )
    return pseudo_collate(
        [
            make_views(
                dict(
                    img_id=index,
                    img_path='',
                    img=image,
                    img_shape=image.shape[:2],
                    ori_shape=image.shape[:2],
                )
            )
            for index, image in enumerate(images)
        ]
    )


@torch.no_grad()
def results_of(model, batch):
    samples = model.test_step(copy.deepcopy(batch))
    return [sample.pred_instances for sample in samples]
