"""Compare ways to detect in large canvases made of photographs.

One checkpoint runs on the whole canvas, on tiles, or on four views (two
scales, each also mirrored), and its boxes are fused by NMS or weighted box
clustering. The config's test pipeline resizes tiles, so their side should be
that of the photographs.

python -m benchmarks.canvases configs/retinanet_r18_fpn_pennfudan.py \
    work_dirs/pennfudan/iter_800.pth $ROOT
"""

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.models import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.harness import print_table
from benchmarks.training import summary
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.label_names import category_ids
from mmdet_retina_plus.common.trained_detectors import load_detectors
from mmdet_retina_plus.fusion import WBC_PRESETS, WBCTTAModel, merge_tiles
from mmdet_retina_plus.inference.fusion_options import PRESET_WEIGHTS
from mmdet_retina_plus.inference.image_list import ListedImage
from mmdet_retina_plus.inference.pictures import Pictures
from mmdet_retina_plus.inference.results import coco_results
from mmdet_retina_plus.inference.tiled_detector import (
    TiledDetector,
    window_inputs,
)

GREY = 114
MOST = 1000
"""Boxes per view; the metric uses the best hundred per canvas."""
PANEL = 900
"""Width of a part of the picture."""
ZOOM = 1.2
"""The larger scale of the four views, relative to that of the tiles."""
SHOWN = ('truth', 'whole', 'tiles, NMS', 'tiles, WBC paper')


@dataclass
class Canvas:
    """A mosaic of photographs.

    Attributes:
        image: uint8 BGR of shape (H, W, 3).
        annotations: COCO annotations in coordinates of the mosaic.
    """

    image: np.ndarray
    annotations: list[dict[str, Any]]


def lay_out(photos: Sequence[Canvas], columns: int) -> Canvas:
    """Lay out photographs at original size in rows, with grey gaps."""
    rows = [photos[i : i + columns] for i in range(0, len(photos), columns)]
    heights = [max(x.image.shape[0] for x in row) for row in rows]
    widths = [
        max(x.image.shape[1] for x in photos[i::columns])
        for i in range(min(columns, len(photos)))
    ]
    image = np.full((sum(heights), sum(widths), 3), GREY, np.uint8)
    annotations = []
    for number, photo in enumerate(photos):
        row, column = divmod(number, columns)
        top, left = sum(heights[:row]), sum(widths[:column])
        height, width = photo.image.shape[:2]
        image[top : top + height, left : left + width] = photo.image
        for annotation in photo.annotations:
            x, y, *size = annotation['bbox']
            annotations.append(
                dict(annotation, bbox=[x + left, y + top, *size])
            )
    return Canvas(image, annotations)


def canvases(
    coco: dict, folder: Path, rows: int, columns: int, seed: int
) -> Iterator[Canvas]:
    """Make mosaics with every photograph once; the last may be smaller."""
    photos = [
        Canvas(
            cv2.imread(str(folder / image['file_name'])),
            [x for x in coco['annotations'] if x['image_id'] == image['id']],
        )
        for image in coco['images']
    ]
    random.Random(seed).shuffle(photos)
    for i in range(0, len(photos), rows * columns):
        yield lay_out(photos[i : i + rows * columns], columns)


def tile_factor(cfg: Config, tile: int) -> float:
    """Factor by which the test pipeline resizes a square tile."""
    for step in get_test_pipeline_cfg(cfg):
        if 'scale' in step:
            return min(step.scale) / tile
    raise click.ClickException('The test pipeline has no Resize with a scale')


def views_pipeline(factor: float) -> Compose:
    """Four views: at `factor` and `ZOOM` times that, each mirrored."""
    return Compose(
        [
            dict(
                type='TestTimeAug',
                transforms=[
                    [
                        dict(type='Resize', scale_factor=scale)
                        for scale in (factor, factor * ZOOM)
                    ],
                    [dict(type='RandomFlip', prob=p) for p in (0.0, 1.0)],
                    [dict(type='PackDetInputs')],
                ],
            )
        ]
    )


class Methods:
    """All ways to detect in a canvas and to fuse the results.

    NMS has an IoU threshold of .5, weighted box clustering that of its preset.
    Both use the same tiles and the same four views.

    Args:
        cfg: Config of the detector.
        checkpoint: Checkpoint of the detector.
        tile: Side of tiles in pixels of the canvas.
        overlap: Overlap of the tiles.
        device: Device of the detector.
    """

    def __init__(
        self,
        cfg: Config,
        checkpoint: str,
        tile: int,
        overlap: float,
        device: str,
    ) -> None:
        cfg.model.test_cfg.max_per_img = MOST
        if cfg.model.get('roi_head'):
            # Weighted box clustering merges boxes only.
            cfg.merge_from_dict({'model.roi_head.test_cfg.with_mask': False})
        models = load_detectors(cfg, [checkpoint], device)
        factor = tile_factor(cfg, tile)
        self.model = models[0]
        self.whole = TiledDetector(models)
        self.full = TiledDetector(models)
        resize = dict(type='Resize', scale_factor=factor)
        self.full.prepare = Compose([resize, dict(type='PackDetInputs')])
        self.tiles = TiledDetector(models, tile, overlap)
        self.views = views_pipeline(factor)

    def __call__(self, image: np.ndarray) -> dict[str, InstanceData]:
        """Detections in a canvas, by method."""
        samples, windows = self.tiles.look(image)
        views = [sample.pred_instances for sample in samples]
        shape = image.shape[:2]
        found = {
            'whole': self.whole(image).pred_instances,
            'whole, at the scale of tiles': self.full(image).pred_instances,
            'tiles, NMS': merge_tiles(views, windows, shape, 'nms'),
        }
        for preset, options in WBC_PRESETS.items():
            found[f'tiles, WBC {preset}'] = merge_tiles(
                views,
                windows,
                shape,
                patch_weight=PRESET_WEIGHTS[preset],
                **options,
            )
        return found | self.look_four_times(image)

    @torch.no_grad()
    def look_four_times(self, image: np.ndarray) -> dict[str, InstanceData]:
        batch = self.views(window_inputs(image))
        views = [
            self.model.test_step(dict(inputs=[pixels], data_samples=[sample]))
            for pixels, sample in zip(
                batch['inputs'], batch['data_samples'], strict=True
            )
        ]
        nms = dict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=MOST)
        mergers = {
            '4 views, NMS': DetTTAModel(ConfigDict(nms), module=self.model)
        }
        for preset in WBC_PRESETS:
            mergers[f'4 views, WBC {preset}'] = WBCTTAModel(
                self.model, dict(preset=preset, max_per_img=MOST)
            )
        # Merging writes into the first view.
        return {
            name: merger.merge_preds([[deepcopy(x) for [x] in views]])[0]
            .cpu()
            .pred_instances
            for name, merger in mergers.items()
        }


def average_precision(
    truth: dict, found: Sequence[InstanceData], labels: Sequence[int]
) -> tuple[float, float]:
    """AP and AP50 of the detections, at most 100 per canvas.

    Args:
        truth: Images, annotations and categories in COCO format.
        found: Detections in each image, in order.
        labels: Category id of each label.
    """
    results = []
    for image, instances in zip(truth['images'], found, strict=True):
        listed = ListedImage(image['id'], '', Path())
        shape = image['height'], image['width']
        results += coco_results(listed, shape, instances, labels)
    with redirect_stdout(StringIO()):
        coco = COCO()
        coco.dataset = truth
        coco.createIndex()
        if not results:
            return 0.0, 0.0
        score = COCOeval(coco, coco.loadRes(results), 'bbox')
        score.evaluate()
        score.accumulate()
        score.summarize()
    return float(score.stats[0]), float(score.stats[1])


def coco_of(mosaics: Sequence[Canvas], categories: list) -> dict:
    """Ground truth of canvases numbered from 1, in COCO format."""
    boxes = [
        dict(annotation, image_id=number)
        for number, mosaic in enumerate(mosaics, 1)
        for annotation in mosaic.annotations
    ]
    return dict(
        images=[
            dict(id=i, height=x.image.shape[0], width=x.image.shape[1])
            for i, x in enumerate(mosaics, 1)
        ],
        annotations=[dict(box, id=i) for i, box in enumerate(boxes, 1)],
        categories=categories,
    )


def truth_of(mosaic: Canvas, labels: Sequence[int]) -> InstanceData:
    """Ground truth of a canvas as detections with a score of 1."""
    boxes = torch.tensor([x['bbox'] for x in mosaic.annotations])
    boxes = boxes.float().reshape(-1, 4)
    return InstanceData(
        bboxes=torch.cat([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], dim=1),
        scores=torch.ones(len(boxes)),
        labels=torch.tensor(
            [labels.index(x['category_id']) for x in mosaic.annotations]
        ).long(),
    )


def draw(
    mosaic: Canvas,
    found: dict[str, InstanceData],
    pictures: Pictures,
    path: Path,
) -> None:
    """Write a picture of a canvas with the boxes of `SHOWN`, two per row."""
    image = mosaic.image[..., ::-1]
    panels = []
    for name in SHOWN:
        panel = cv2.resize(
            pictures.draw(
                np.ascontiguousarray(image),
                DetDataSample(pred_instances=found[name]),
            ),
            None,
            fx=PANEL / image.shape[1],
            fy=PANEL / image.shape[1],
            interpolation=cv2.INTER_AREA,
        )
        title = np.full((40, PANEL, 3), 255, np.uint8)
        place, black = (8, 28), (0, 0, 0)
        cv2.putText(title, name, place, cv2.FONT_HERSHEY_SIMPLEX, 0.9, black)
        panels.append(np.concatenate([title, panel]))
    rows = [np.concatenate(panels[i : i + 2], axis=1) for i in (0, 2)]
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.concatenate(rows)[..., ::-1])


@click.command()
@click.argument('config', type=click.Path(exists=True, dir_okay=False))
@click.argument('checkpoint', type=click.Path(exists=True, dir_okay=False))
@click.argument(
    'data_root',
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)
@click.option('--ann-file', default='instances_val.json', show_default=True)
@click.option('--images', default='images', show_default=True)
@click.option('--tile', default=512, show_default=True)
@click.option('--overlap', default=0.25, show_default=True)
@click.option('--rows', default=3, show_default=True)
@click.option('--columns', default=3, show_default=True)
@click.option(
    '--seeds',
    default='0,1,2',
    show_default=True,
    help='Seeds of the mosaics.',
)
@click.option(
    '--score-thr', default=0.3, help='Minimum score of boxes in the picture.'
)
@click.option('--device', default='cpu', show_default=True)
@click.option(
    '--out',
    default='work_dirs/canvases/canvas.png',
    show_default=True,
    type=click.Path(path_type=Path),
    help='Picture of the first canvas.',
)
def main(
    config: str,
    checkpoint: str,
    data_root: Path,
    ann_file: str,
    images: str,
    tile: int,
    overlap: float,
    rows: int,
    columns: int,
    seeds: str,
    score_thr: float,
    device: str,
    out: Path,
) -> None:
    """Print AP and AP50 of all methods on mosaics of DATA_ROOT's images."""
    coco = json.loads((data_root / ann_file).read_text())
    cfg = load_config(Path(config))
    methods = Methods(cfg, checkpoint, tile, overlap, device)
    meta = methods.model.dataset_meta
    labels = category_ids(coco, meta['classes'])
    precisions: dict[str, list[tuple[float, float]]] = {}
    for seed in seeds.split(','):
        mosaics = list(
            canvases(coco, data_root / images, rows, columns, int(seed))
        )
        found = [methods(mosaic.image) for mosaic in mosaics]
        if not precisions:
            shown = dict(found[0], truth=truth_of(mosaics[0], labels))
            draw(mosaics[0], shown, Pictures(meta, score_thr), out)
        truth = coco_of(mosaics, coco['categories'])
        for name in found[0]:
            precisions.setdefault(name, []).append(
                average_precision(truth, [x[name] for x in found], labels)
            )
    print_table(
        f'{Path(config).stem}, mosaics of {rows} x {columns}, tiles of {tile} '
        f'px, overlap {overlap}, seeds {seeds}: mean (spread)',
        ('method', 'AP', 'AP50'),
        [
            [name, *map(summary, zip(*values, strict=True))]
            for name, values in precisions.items()
        ],
    )
    click.echo(f'Picture: {out}')


if __name__ == '__main__':
    main()
