"""Time an exported file in onnxruntime and its checkpoint in mmdet on a CPU.

python -m benchmarks.onnx_speed CONFIG CHECKPOINT FILE.onnx IMAGE --threads 1
"""

import json
from pathlib import Path

import click
import onnxruntime
import torch

from benchmarks.harness import describe, measure, print_table
from mmdet_retina_plus.common.config_file import read_config
from mmdet_retina_plus.common.trained_detectors import load_detectors
from mmdet_retina_plus.inference.export.detections import run_checkpoint
from mmdet_retina_plus.inference.export.onnx_file import run_file
from mmdet_retina_plus.inference.export.resize_rule import (
    apply_rule,
    new_size,
    read_rgb,
)


@click.command()
@click.argument('config')
@click.argument('checkpoint')
@click.argument('file')
@click.argument('image')
@click.option('--threads', default=1, help='Number of threads on each side.')
@click.option('--repeats', default=9)
@click.option('--cfg-options', multiple=True)
def main(
    config: str,
    checkpoint: str,
    file: str,
    image: str,
    threads: int,
    repeats: int,
    cfg_options: tuple[str, ...],
) -> None:
    """Print both medians and their ratio, for one resized image."""
    torch.set_num_threads(threads)
    (model,) = load_detectors(
        read_config(config, cfg_options), [checkpoint], 'cpu'
    )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        file, options, providers=['CPUExecutionProvider']
    )
    about = session.get_modelmeta().custom_metadata_map
    rule, photo = json.loads(about['resize']), read_rgb(Path(image))
    pixels = apply_rule(rule, photo)
    size = new_size(rule, photo.shape[1], photo.shape[0])
    test_cfg = model.bbox_head.test_cfg
    masks = 'mask_thr' in about
    theirs, ours = measure(
        [
            lambda: run_checkpoint(model, pixels, masks, size),
            lambda: run_file(session, pixels[None], test_cfg, size),
        ],
        torch.device('cpu'),
        repeats=repeats,
    )
    print_table(
        f'{describe(torch.device("cpu"))}, onnxruntime '
        f'{onnxruntime.__version__}',
        ('pixels', 'mmdet ms', 'onnxruntime ms', 'mmdet / onnxruntime'),
        [
            (
                f'{pixels.shape[1]} x {pixels.shape[0]}',
                *(f'{side.seconds * 1e3:.1f}' for side in (theirs, ours)),
                f'{theirs.seconds / ours.seconds:.2f}x',
            )
        ],
    )


if __name__ == '__main__':
    main()
