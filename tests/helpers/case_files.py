"""A tiny COCO set, its config, and the findings about one with a fault.

Six images of 96 x 80 pixels with two objects each, a cat and a dog.
"""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmdet_retina_plus.doctor.config import check_config
from mmdet_retina_plus.doctor.findings import Finding

CATEGORIES = ({'id': 1, 'name': 'cat'}, {'id': 2, 'name': 'dog'})
WIDTH, HEIGHT = 96, 80


def polygon(left: float, top: float, width: float, height: float) -> list:
    right, bottom = left + width, top + height
    return [[left, top, right, top, right, bottom, left, bottom]]


def coco_set(first: int = 0, number: int = 6) -> dict[str, Any]:
    """A parsed file; images and objects are numbered from `first` on."""
    images, annotations = [], []
    for index in range(first, first + number):
        images.append(
            {
                'id': index + 1,
                'file_name': f'{index}.png',
                'width': WIDTH,
                'height': HEIGHT,
            }
        )
        for label, box in enumerate(([8, 12, 30, 34], [48, 30, 36, 40])):
            annotations.append(
                {
                    'id': 2 * index + label + 1,
                    'image_id': index + 1,
                    'category_id': label + 1,
                    'bbox': box,
                    'area': box[2] * box[3],
                    'iscrowd': 0,
                    'segmentation': polygon(*box),
                }
            )
    return {
        'images': images,
        'annotations': annotations,
        'categories': copy.deepcopy(list(CATEGORIES)),
    }


def picture(seed: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    shape = (height, width, 3)
    return np.random.default_rng(seed).integers(255, size=shape, dtype='B')


CONFIG = """
custom_imports = dict(imports=['mmdet_retina_plus'])
default_scope = 'mmdet'
model = dict(
    type='RetinaPlus',
    data_preprocessor=dict(
        type='DetDataPreprocessor',
        mean=[128.0] * 3, std=[64.0] * 3, pad_size_divisor=32),
    backbone=dict(
        type='ResNet', depth=18, base_channels=8, frozen_stages=-1,
        norm_eval=False, init_cfg=None),
    neck=dict(
        type='FPN', in_channels=[8, 16, 32, 64], out_channels=8,
        start_level=1, add_extra_convs='on_input', num_outs=5),
    bbox_head=dict(
        type='RetinaPlusHead', num_classes=2, in_channels=8,
        feat_channels=8, stacked_convs=1,
        anchor_generator=dict(
            type='AnchorGenerator', octave_base_scale=4,
            scales_per_octave=3, ratios=[0.5, 1.0, 2.0],
            strides=[8, 16, 32, 64, 128]),
        bbox_coder=dict(type='DeltaXYWHBBoxCoder'),
        loss_cls=dict(type='FocalLoss', use_sigmoid=True),
        loss_bbox=dict(type='L1Loss')),
    train_cfg=dict(
        assigner=dict(
            type='StreamingMaxIoUAssigner', pos_iou_thr=0.5,
            neg_iou_thr=0.4, min_pos_iou=0),
        sampler=dict(type='PseudoSampler'),
        allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5), max_per_img=100))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 80), keep_ratio=True),
    dict(type='PackDetInputs')]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 80), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='PackDetInputs')]
data = dict(
    type='CocoDataset', data_root=folder, data_prefix=dict(img='images/'),
    metainfo=dict(classes=('cat', 'dog')))
train_dataloader = dict(
    batch_size=2, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(data, ann_file='train.json', pipeline=train_pipeline,
        filter_cfg=dict(filter_empty_gt=True, min_size=16)))
val_dataloader = dict(
    batch_size=1, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, ann_file='val.json', test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=folder + '/val.json')
test_evaluator = val_evaluator
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9))
param_scheduler = [
    dict(type='MultiStepLR', begin=0, end=12, by_epoch=True, milestones=[8])]
"""


def write_set(
    folder: Path,
    train: dict[str, Any] | None = None,
    val: dict[str, Any] | None = None,
) -> Path:
    """Images and annotation files below a folder, and `config.py`."""
    (folder / 'images').mkdir(parents=True, exist_ok=True)
    for index in range(12):
        cv2.imwrite(str(folder / f'images/{index}.png'), picture(index))
    train = coco_set() if train is None else train
    (folder / 'train.json').write_text(json.dumps(train))
    val = coco_set(first=6) if val is None else val
    (folder / 'val.json').write_text(json.dumps(val))
    path = folder / 'config.py'
    path.write_text(f'folder = {str(folder)!r}\n{CONFIG}')
    return path


class Case:
    """A set in a folder, to be spoilt, and what doctor says of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = write_set(folder)

    def change(self, name: str, change: Callable[[dict], object]) -> None:
        """Change the parsed annotation file 'train' or 'val'."""
        path = self.folder / f'{name}.json'
        coco = json.loads(path.read_text())
        change(coco)
        path.write_text(json.dumps(coco))

    def add(self, lines: str) -> None:
        """Add lines to the end of the config."""
        self.config.write_text(f'{self.config.read_text()}\n{lines}\n')

    def findings(self, *options: str, **settings: Any) -> list[Finding]:
        return check_config(self.config, options, **settings)

    def problems(self, *options: str, **settings: Any) -> list[Finding]:
        found = self.findings(*options, **settings)
        return [finding for finding in found if finding.level != 'ok']

    def problem(self, *options: str) -> Finding:
        """The one problem that there is."""
        (finding,) = self.problems(*options)
        return finding
