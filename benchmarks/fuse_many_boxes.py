"""Time `retina-plus fuse` on a million boxes.

python -m benchmarks.fuse_many_boxes --images 10000
"""

import json
import resource
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import torch

from mmdet_retina_plus.inference.fuse_results import fuse_files


def write_files(folder: Path, images: int, boxes: int) -> list[Path]:
    """Write result files of two detectors that find the same objects.

    Args:
        folder: Folder to write into.
        images: Number of images.
        boxes: Number of boxes per image and file.
    """
    random = np.random.default_rng(0)
    corner = random.uniform(0, 900, (images * boxes, 2))
    side = random.uniform(10, 100, (images * boxes, 2))
    category = random.integers(1, 81, images * boxes).tolist()
    paths = []
    for number in range(2):
        box = np.concatenate([corner, side], axis=1)
        box += random.normal(0, 1, box.shape)
        score = random.uniform(0.05, 1, len(box)).tolist()
        records = [
            dict(
                image_id=index // boxes,
                category_id=category[index],
                bbox=values,
                score=score[index],
            )
            for index, values in enumerate(box.tolist())
        ]
        paths.append(folder / f'{number}.json')
        paths[-1].write_text(json.dumps(records))
    return paths


@click.command()
@click.option('--images', default=10_000)
@click.option('--boxes', default=50, help='Boxes per image and file.')
@click.option('--threads', default=1)
def main(images: int, boxes: int, threads: int) -> None:
    """Print seconds and peak memory of a fusion of two files."""
    torch.set_num_threads(threads)
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = write_files(folder, images, boxes)
        begin, cpu = time.perf_counter(), time.process_time()
        fused = fuse_files(files, folder / 'fused.json')
        seconds = time.perf_counter() - begin
        cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f'{2 * images * boxes:,} boxes of {images:,} images, {threads} '
        f'thread(s): {seconds:.1f} s ({cpu:.1f} s of CPU time), '
        f'{len(fused.boxes):,} fused boxes, peak {peak:.2f} GB'
    )


if __name__ == '__main__':
    main()
