"""Compare detections of exported files with mmdet's on unpadded images.

python -m benchmarks.onnx_canvas CONFIG CHECKPOINT ANN_FILE IMAGES FILE.onnx …
"""

import contextlib
import io
import json
import runpy
from pathlib import Path
from typing import Any

import click
import onnxruntime
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from benchmarks.harness import print_table
from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.trained_detectors import load_detectors
from mmdet_retina_plus.inference.export.compare import overlaps
from mmdet_retina_plus.inference.export.detections import Found, found_of
from mmdet_retina_plus.inference.export.export_onnx import EXAMPLE
from mmdet_retina_plus.inference.export.resize_rule import read_rule, shrunk
from mmdet_retina_plus.inference.image_list import images_of, read_coco
from mmdet_retina_plus.inference.tiled_detector import TiledDetector

LEAST = 0.3
"""Minimum score of counted detections."""


def strong(found: Found) -> Found:
    kept = found.scores >= LEAST
    return Found(found.boxes[kept], found.scores[kept], found.labels[kept])


def num_found(wanted: Found, found: Found) -> int:
    """Number of detections that both sides have, at an IoU above .9."""
    return sum(
        bool((overlaps(box, found.boxes[found.labels == label]) > 0.9).any())
        for box, label in zip(wanted.boxes, wanted.labels, strict=True)
    )


def average_precision(ann_file: str, found: dict[Any, Found]) -> float:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(ann_file)
        ids = sorted(truth.cats)
        rows = [
            dict(
                image_id=image,
                category_id=ids[label],
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=float(score),
            )
            for image, (boxes, scores, labels, _) in found.items()
            for (x1, y1, x2, y2), score, label in zip(
                boxes.tolist(), scores, labels, strict=True
            )
        ]
        evaluation = COCOeval(truth, truth.loadRes(rows), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


@click.command()
@click.argument('config')
@click.argument('checkpoint')
@click.argument('ann_file')
@click.argument('images')
@click.argument('files', nargs=-1)
@click.option('--cfg-options', multiple=True)
def main(
    config: str,
    checkpoint: str,
    ann_file: str,
    images: str,
    files: tuple[str, ...],
    cfg_options: tuple[str, ...],
) -> None:
    """Print how many detections above .3 both sides have, and AP."""
    cfg = read_config(config, cfg_options)
    detector = TiledDetector(load_detectors(cfg, [checkpoint], 'cpu'))
    listed = images_of(Path(ann_file), read_coco(Path(ann_file)), Path(images))
    theirs = {
        item.image_id: found_of(
            detector(detector.read(item.path)).pred_instances
        )
        for item in listed
    }
    example = runpy.run_path(str(EXAMPLE))
    rows: list[tuple] = []
    for file in files:
        session = onnxruntime.InferenceSession(file)
        about = session.get_modelmeta().custom_metadata_map
        rule = json.loads(about['resize'])
        ours = {
            item.image_id: Found(
                *example['detect'](session, example['read'](item.path))[:3]
            )
            for item in listed
        }
        precision = average_precision(ann_file, ours)
        for small in (False, True):
            ids = [
                item.image_id
                for item in listed
                if (shrunk(read_rule(cfg), rule, *item.size) < 0.999) == small
            ]
            pairs = [(strong(theirs[i]), strong(ours[i])) for i in ids]
            count = sum(num_found(one, other) for one, other in pairs)
            rows.append(
                (
                    f'{file} {rule}',
                    f'{len(ids)} {"shrunk" if small else "as large"}',
                    sum(len(one.scores) for one, _ in pairs),
                    count,
                    sum(
                        len(other.scores) - num_found(other, one)
                        for one, other in pairs
                    ),
                    f'{precision:.4f}',
                )
            )
    print_table(
        f'mmdet: AP {average_precision(ann_file, theirs):.4f}',
        ('file', 'images', 'mmdet', 'found', 'only the file', 'AP'),
        rows,
    )


if __name__ == '__main__':
    main()
