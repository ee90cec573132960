"""COCO sets with painted objects, faults of them, and what training reads.

An object is a rectangle in the colour of its class, so that pixels tell which
box and which label are right, whatever the file says.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from PIL import Image

from mmdet_retina_plus.doctor.config import check_config
from mmdet_retina_plus.doctor.data_sets import silence
from mmdet_retina_plus.doctor.findings import Finding
from tests.helpers.case_files import CONFIG, polygon
from tests.helpers.models import roi_head_config

CLASSES = ('cat', 'dog')
COLOURS = ((250, 20, 20), (20, 250, 20))
"""Red, green and blue of each class."""
SIZES = ((96, 80), (80, 96))
"""Widths and heights that the pipeline does not change."""
ROI_HEAD = roi_head_config(**{'mask_head.num_classes': 2}).to_dict()
MASKS = f"""
model['roi_head'] = {ROI_HEAD!r}
model['data_preprocessor'].update(
    pad_mask=True, pad_seg=True, seg_pad_value=255)
train_pipeline[1]['with_mask'] = True
train_pipeline.insert(-1, dict(type='PaintInstances'))
for part in (train_dataloader, val_dataloader):
    # Serialising collects garbage, which takes longer than all else.
    part['dataset']['serialize_data'] = False
train_dataloader['dataset']['pipeline'] = train_pipeline
val_evaluator['metric'] = test_evaluator['metric'] = ['bbox', 'segm']
"""
HARMLESS = ('named', 'warned', 'counted', 'equal')
"""Verdicts about a set that is no fault of doctor's."""
IOU = 0.5
"""IoU above which two boxes are one object; boxes may be imprecise."""
KEPT = re.compile(r'(?:training keeps|it has) ([\d,]+) of ([\d,]+) object')
"""Doctor's count of objects."""


@dataclass(frozen=True)
class Painted:
    """An object: label, and corners x1, y1, x2, y2 in pixels."""

    label: int
    box: tuple[int, int, int, int]


@dataclass
class Split:
    """A set before and after it is corrupted.

    Attributes:
        name: 'train' or 'val'.
        folder: Parent of `images` and of the annotation files.
        truth: Objects by the stem of their image's name.
        coco: The parsed file.
        encoding: Makes bytes of its text.
    """

    name: str
    folder: Path
    truth: dict[str, list[Painted]]
    coco: dict[str, Any] = field(default_factory=dict)
    encoding: Callable[[str], bytes] = str.encode

    def path(self, stem: str) -> Path:
        return self.folder / 'images' / f'{stem}.png'

    def write(self) -> None:
        text = json.dumps(self.coco)
        path = self.folder / f'{self.name}.json'
        path.write_bytes(self.encoding(text))


@st.composite
def layouts(draw: st.DrawFn) -> list[tuple[tuple[int, int], list[Painted]]]:
    """Sizes of two or three images, and objects in one to four of corners."""
    images = []
    for _ in range(draw(st.integers(2, 3))):
        size = draw(st.sampled_from(SIZES))
        corners = draw(
            st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)
        )
        images.append((size, [draw(objects(size, x)) for x in corners]))
    return images


@st.composite
def objects(draw: st.DrawFn, size: tuple[int, int], corner: int) -> Painted:
    """An object that fills much of a quarter of an image."""
    sides = [side // 2 for side in size]
    starts = [side * (corner >> at & 1) for at, side in enumerate(sides)]
    low = [start + draw(st.integers(1, 8)) for start in starts]
    high = [
        start + side - draw(st.integers(1, 8))
        for start, side in zip(starts, sides, strict=True)
    ]
    return Painted(draw(st.integers(0, 1)), (*low, *high))


def paint(size: tuple[int, int], objects: Sequence[Painted]) -> np.ndarray:
    """Image of a width and a height, (H, W, 3), red first."""
    width, height = size
    # Images of equal bytes are copies to doctor.
    tint = 90 + hash(tuple(objects)) % 30
    image = np.full((height, width, 3), tint, np.uint8)
    for thing in objects:
        x1, y1, x2, y2 = thing.box
        image[y1:y2, x1:x2] = COLOURS[thing.label]
    return image


def write_split(folder: Path, name: str, layout: Sequence) -> Split:
    """Images of a split, and its content, which is not yet written."""
    split = Split(name, folder, {})
    images: list[dict] = []
    annotations: list[dict] = []
    for number, (size, things) in enumerate(layout, 1):
        stem = f'{name}{number}'
        split.truth[stem] = list(things)
        split.path(stem).parent.mkdir(exist_ok=True)
        Image.fromarray(paint(size, things)).save(split.path(stem))
        width, height = size
        images.append(
            dict(
                id=number,
                file_name=split.path(stem).name,
                width=width,
                height=height,
            )
        )
        for thing in things:
            x1, y1, x2, y2 = thing.box
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=thing.label + 1,
                    bbox=box,
                    area=box[2] * box[3],
                    iscrowd=0,
                    segmentation=polygon(*box),
                )
            )
    categories = [
        dict(id=label, name=name) for label, name in enumerate(CLASSES, 1)
    ]
    split.coco = dict(
        images=images, annotations=annotations, categories=categories
    )
    return split


def write_config(folder: Path) -> Path:
    path = folder / 'config.py'
    path.write_text(f'folder = {str(folder)!r}\n{CONFIG}\n{MASKS}')
    return path


@cache
def detector() -> Any:
    """The model of every config; its weights stay as they are."""
    config = Config.fromstring(f"folder = ''\n{CONFIG}\n{MASKS}", '.py')
    return MODELS.build(config.model).train()


@dataclass
class Seen:
    """An object as a head gets it.

    Attributes:
        stem: Stem of the image's file name.
        name: Name of its class.
        box: Box in pixels of the image.
        fits: Whether pixels, mask and map agree with box and class.
    """

    stem: str
    name: str
    box: list[float]
    fits: bool


def what_training_sees(config: Config) -> list[Seen]:
    """A loss step on each batch of training, and the objects in it."""
    model = detector()
    loader = Runner.build_dataloader(config.train_dataloader, seed=0)
    names = loader.dataset.metainfo['classes']
    seen: list[Seen] = []
    for batch in loader:
        data = model.data_preprocessor(batch, True)
        total, _ = model.parse_losses(model(**data, mode='loss'))
        if not total.isfinite():
            raise ValueError(f'the loss is {total}')
        for image, sample in zip(
            data['inputs'], data['data_samples'], strict=True
        ):
            red_last = image * 64 + 128
            seen += objects_of(red_last, sample, names)
    return seen


def objects_of(
    image: torch.Tensor, sample: Any, names: Sequence[str]
) -> Iterator[Seen]:
    """Objects of a sample, and whether image, masks and map show them."""
    across, down = sample.scale_factor
    gt = sample.gt_instances
    for label, box, mask in zip(
        gt.labels.tolist(), gt.bboxes.tolist(), gt.masks.masks, strict=True
    ):
        x1, y1, x2, y2 = (round(value) for value in box)
        colour = image[:, y1:y2, x1:x2].flatten(1).median(1).values.flip(0)
        pixels = sample.gt_sem_seg.sem_seg[0, y1:y2, x1:x2]
        inside = mask[y1:y2, x1:x2]
        expected = torch.tensor(COLOURS[CLASSES.index(names[label])])
        yield Seen(
            Path(sample.img_path.replace('\\', '/')).stem,
            names[label],
            [
                value / factor
                for value, factor in zip(box, (across, down) * 2, strict=True)
            ],
            bool(
                (colour - expected).abs().max() < 60
                and inside.mean() > IOU
                and inside.sum() > IOU * mask.sum()
                and (pixels == label + 1).float().mean() > IOU
            ),
        )


def what_scoring_says(
    config: Config, truth: Mapping[str, Sequence[Painted]]
) -> tuple[dict[str, float], int]:
    """Metrics of the painted objects as predictions, and objects scored.

    Args:
        config: Config of the set.
        truth: Painted objects, by the stem of their image's name.
    """
    loader = Runner.build_dataloader(config.val_dataloader, seed=0)
    evaluator = Evaluator(config.val_evaluator)
    evaluator.dataset_meta = loader.dataset.metainfo
    names = loader.dataset.metainfo['classes']
    scored = 0
    for batch in loader:
        for sample in batch['data_samples']:
            stem = Path(sample.img_path.replace('\\', '/')).stem
            sample.pred_instances = predictions(
                truth[stem], sample.ori_shape[:2], names
            )
            scored += len(sample.gt_instances)
        evaluator.process(batch['data_samples'], batch)
    return evaluator.evaluate(len(loader.dataset)), scored


def predictions(
    things: Sequence[Painted], shape: tuple[int, int], names: Sequence[str]
) -> InstanceData:
    """The painted objects of an image as detections."""
    masks = np.zeros((len(things), *shape), bool)
    for mask, thing in zip(masks, things, strict=True):
        x1, y1, x2, y2 = thing.box
        mask[y1:y2, x1:x2] = True
    return InstanceData(
        bboxes=torch.tensor([x.box for x in things]).float(),
        labels=torch.tensor([names.index(CLASSES[x.label]) for x in things]),
        scores=torch.full((len(things),), 0.9),
        masks=torch.from_numpy(masks),
    )


def counted(findings: Sequence[Finding], name: str) -> tuple[int, int] | None:
    """Objects that doctor says a set has, and that its file has."""
    for finding in findings:
        match = KEPT.search(finding.message)
        if match and finding.subject == f'{name} data':
            kept, whole = (int(x.replace(',', '')) for x in match.groups())
            return kept, whole
    return None


def verdict(folder: Path, train: Split, val: Split) -> str:
    """How a set fares: 'named', 'warned', 'counted', 'equal' or a fault.

    'named': doctor has an error. Else training and scoring run, and what they
    read is 'equal' to what is painted; or doctor 'counted' each object that is
    lost; or it 'warned' of what is wrong. Whatever else comes out is the
    fault, in words.
    """
    path = write_config(folder)
    findings = check_config(path)
    if any(finding.level == 'error' for finding in findings):
        return 'named'
    warned = {
        x.subject.partition('_')[0].partition(' ')[0]
        for x in findings
        if x.level == 'warning'
    }
    try:
        config = Config.fromfile(path)
        with silence():
            seen = what_training_sees(config)
            metrics, scored = what_scoring_says(config, val.truth)
    except Exception as error:  # Whatever it is, doctor has not named it.
        return f'doctor passes what stops: {type(error).__name__}: {error}'
    left = [
        (stem, CLASSES[thing.label], thing.box)
        for stem, things in train.truth.items()
        for thing in things
    ]
    wrong = []
    for thing in seen:
        match = next((x for x in left if matches(thing, x)), None)
        if match is None or not thing.fits:
            wrong.append(thing)
        if match is not None:
            left.remove(match)
    # At the overlap from which a box counts as that of its object in training.
    low = [
        key
        for key in ('coco/bbox_mAP_50', 'coco/segm_mAP_50')
        if metrics[key] < 0.99
    ]
    lost = sum(map(len, val.truth.values())) - scored
    if wrong and 'train' not in warned:
        return f'silent in training: {wrong}'
    if low and not lost and 'val' not in warned:
        return f'silent in scoring: {low}'
    for split, number in ((train, len(seen)), (val, scored)):
        said = counted(findings, split.name)
        if said != (number, len(split.coco['annotations'])):
            return f'{split.name} has {number} objects, doctor says {said}'
    if wrong or (low and not lost):
        return 'warned'
    return 'counted' if left or lost else 'equal'


def matches(seen: Seen, painted: tuple) -> bool:
    stem, name, box = painted
    if (seen.stem, seen.name) != (stem, name):
        return False
    iou = bbox_overlaps(torch.tensor([seen.box]), torch.tensor([box]).float())
    return bool(iou > IOU)
