"""Peak memory of `retina-plus predict` on many images, and on a huge one.

python -m benchmarks.predict_many --images 20000
"""

import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import cv2
import numpy as np

COMMAND = 'from mmdet_retina_plus.cli.main import main; main()'
MODEL = 'retinanet_r18_fpn_shapes'
OPTIONS = (
    'model.test_cfg.score_thr=0',
    'test_dataloader.dataset.pipeline.1.scale=(64,64)',
)


def write_checkpoint(folder: Path) -> list[str]:
    """Write a detector that finds 100 boxes in any image."""
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config

    import mmdet_retina_plus

    config = mmdet_retina_plus.config(MODEL)
    model = MODELS.build(Config.fromfile(config).model)
    checkpoint = folder / 'model.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    return [config, str(checkpoint)]


def write_images(folder: Path, count: int, side: int) -> None:
    """Write links to one image of noise."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    pixels = cv2.resize(pixels, (side, side))
    first = folder / '0.png'
    cv2.imwrite(str(first), pixels)
    for number in range(1, count):
        os.link(first, folder / f'{number}.png')


def peak(arguments: list[str]) -> tuple[float, float]:
    """Peak memory of a command in MB, and its seconds."""
    begin = time.perf_counter()
    words = [sys.executable, '-c', COMMAND, 'predict', *arguments]
    process = os.posix_spawn(sys.executable, words, os.environ)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise RuntimeError(f'predict ended with {status}')
    return usage.ru_maxrss / 1e3, time.perf_counter() - begin


@click.command()
@click.option('--images', default=20_000, help='Number of images of 64 px.')
@click.option(
    '--side', default=20_000, help='Side of the huge image. 0: none.'
)
@click.option('--tile', default=1024, help='Tile size of the huge image.')
def main(images: int, side: int, tile: int) -> None:
    """Print the peaks for a tenth of the images, all, and a huge one."""
    cases = [(images // 10, 64), (images, 64)] + ([(1, side)] if side else [])
    for count, pixels in cases:
        with TemporaryDirectory() as name:
            folder = Path(name)
            detector = write_checkpoint(folder)
            (folder / 'images').mkdir()
            write_images(folder / 'images', count, pixels)
            out = folder / 'results.json'
            extra = ['--tile', str(tile)] if pixels > tile else []
            size, seconds = peak(
                [
                    *(str(folder / 'images'), *detector, '--out', str(out)),
                    *('--device', 'cpu', *extra),
                    *('--cfg-options', *OPTIONS),
                ]
            )
            print(
                f'{count:,} image(s) of {pixels:,} px: peak {size:,.0f} MB, '
                f'{seconds:.0f} s, {out.stat().st_size / 1e6:.1f} MB of rows'
            )


if __name__ == '__main__':
    main()
