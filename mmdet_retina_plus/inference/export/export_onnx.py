"""Export a trained detector to ONNX, and compare it in onnxruntime."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmdet_retina_plus.common.config_file import (
    check_kinds,
    check_parts,
    read_config,
)
from mmdet_retina_plus.common.config_tree import (
    annotation_path,
    datasets_in,
    part,
)
from mmdet_retina_plus.common.label_names import trained_names
from mmdet_retina_plus.common.output_files import check_out, replace
from mmdet_retina_plus.common.text import TAKE_WEAKER, quantity
from mmdet_retina_plus.inference.image_list import (
    ListedImage,
    find_images,
    images_of,
    read_coco,
)

EXAMPLE = Path(__file__).with_name('example.py')


class Exported(NamedTuple):
    """Written files, and how closely they agree with the checkpoint.

    Attributes:
        files: The ONNX file and its example.
        inputs: Name and shape of each input.
        outputs: Name and shape of each output.
        num_images: Number of compared images.
        num_found: Number of detections in them.
        difference: Largest differences, a `Difference`.
        tolerance: Allowed differences, a `Tolerance`.
        notes: Notes on limitations.
    """

    files: list[Path]
    inputs: dict[str, list]
    outputs: dict[str, list]
    num_images: int
    num_found: int
    difference: Any
    tolerance: Any
    notes: list[str]


def export_onnx(
    config: str,
    checkpoint: str,
    out: Path,
    *,
    raw: bool = False,
    dynamic: bool = False,
    fp16: bool = False,
    images: str | None = None,
    num_images: int = 8,
    overwrite: bool = False,
    cfg_options: Sequence[str] = (),
    progress: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> Exported:
    """Write a detector as an ONNX file, and an example that runs it.

    The file takes uint8 RGB images (N, H, W, 3), resized by the rule in its
    metadata. It includes normalisation, decoding and NMS. It is compared with
    the checkpoint on real images before it is written.

    Args:
        config: Config file of mmdet.
        checkpoint: File or URL.
        out: ONNX file.
        raw: Whether to leave out NMS and masks, and output the boxes and
            scores of all anchors.
        dynamic: Whether to accept any size and number of images.
        fp16: Whether the network computes in half precision.
        images: File, folder or glob pattern to compare on. None: the config's
            test images.
        num_images: Number of images to compare on, evenly spread.
        overwrite: Whether to replace existing files.
        cfg_options: Changes of the config, each KEY=VALUE.
        progress: Wraps an iterable to show progress.

    Raises:
        ValueError: The detector cannot be exported, the detections differ from
            the checkpoint's, or a file exists; nothing is written.
        ImportError: The environment is broken, or lacks onnx or onnxruntime.
        OSError: A file cannot be read or written.
    """
    if out.suffix != '.onnx':
        raise ValueError(f'--out {out} must end in .onnx')
    example = out.with_name(f'{out.stem}_example.py')
    check_kinds(config, [checkpoint])
    for file in (out, example):
        check_out(file, [config, checkpoint])
        if file.exists() and not overwrite:
            raise ValueError(
                f'{file} exists: name another --out, or use --overwrite'
            )
    check_installed()
    found = find_images(images) if images else []
    cfg = read_config(config, cfg_options)
    check_parts(cfg)
    from mmdet_retina_plus.common.trained_detectors import load_detectors

    from .compare import HALF, SINGLE
    from .description import metadata, notes_on, notes_on_size
    from .onnx_file import session_of, to_onnx, with_metadata
    from .resize_rule import read_rgb, read_rule, with_canvas
    from .support import check_exportable

    listed = spread(found or images_of_config(cfg), num_images)
    rule = read_rule(cfg)
    (model,) = load_detectors(cfg, [checkpoint], 'cpu')
    check_exportable(model, raw)
    if raw:
        # A raw file is compared over all pairs of anchors and classes.
        model.bbox_head.test_cfg.nms_pre = 2**31
    names, notes = trained_names(
        cfg,
        model.dataset_meta['classes'],
        [] if model.names_classes else [checkpoint],
    )
    own_rule = rule
    sizes: list[tuple[int, int]] = []
    if not dynamic:
        for item in listed:
            height, width = read_rgb(item.path).shape[:2]
            sizes.append((width, height))
        rule = with_canvas(rule, sizes, model)
    tolerance = HALF if fp16 else SINGLE
    content = with_metadata(
        to_onnx(model, rule, raw, dynamic, fp16),
        metadata(names, model, rule, raw, fp16, tolerance),
    )
    session = session_of(content)
    count, difference = compare_all(
        model, session, listed, rule, dynamic, tolerance, progress
    )
    if not count:
        raise ValueError(
            f'The checkpoint finds nothing in {quantity(len(listed), "image")}'
            f', so nothing can be compared: {TAKE_WEAKER}, or name other '
            '--images'
        )
    replace(out, content)
    replace(example, EXAMPLE.read_bytes())
    return Exported(
        [out, example],
        {item.name: item.shape for item in session.get_inputs()},
        {item.name: item.shape for item in session.get_outputs()},
        len(listed),
        count,
        difference,
        tolerance,
        [
            *notes,
            *notes_on(model, raw),
            *notes_on_size(own_rule, rule, sizes),
        ],
    )


def check_installed() -> None:
    """Check that onnx and onnxruntime are installed.

    Raises:
        ImportError: With the command that installs it.
    """
    missing = [
        name for name in ('onnx', 'onnxruntime') if find_spec(name) is None
    ]
    if missing:
        raise ImportError(
            f'{" and ".join(missing)} missing: pip install '
            "'mmdet_retina_plus[export]', or pip install onnx onnxruntime"
        )


def images_of_config(cfg: Any) -> list[ListedImage]:
    """Images of the config's test set that exist.

    Raises:
        ValueError: There is no annotation file, or no image exists.
    """
    config = next(datasets_in(cfg.test_dataloader.dataset))
    try:
        folder = Path(
            config.get('data_root') or '',
            part(config, 'data_prefix').get('img') or '',
        )
        path = Path(annotation_path(config))
        listed = images_of(path, read_coco(path), folder)
    except ValueError as error:
        raise ValueError(
            f'No images to compare on in the test set of the config: {error}; '
            'name images with --images'
        ) from error
    return [image for image in listed if image.path.is_file()]


def spread(listed: Sequence[ListedImage], most: int) -> list[ListedImage]:
    """Select evenly spaced images, starting with the first."""
    count = min(most, len(listed))
    return [listed[i * len(listed) // count] for i in range(count)]


def compare_all(
    model: Any,
    session: Any,
    listed: Sequence[ListedImage],
    rule: dict[str, Any],
    dynamic: bool,
    tolerance: Any,
    progress: Callable[[Iterable[Any]], Iterable[Any]],
) -> tuple[int, Any]:
    """Compare file and checkpoint on images.

    The first image is also compared in a batch with its mirror image, or in a
    static file by its left half, which leaves more of the canvas empty.

    Args:
        model: The detector.
        session: Session of onnxruntime with the file.
        listed: Images to compare on.
        rule: Resize rule of the file.
        dynamic: Whether the file accepts batches of any size.
        tolerance: Allowed differences.
        progress: Wraps an iterable to show progress.

    Returns:
        Number of detections, and the largest `Difference`.

    Raises:
        ValueError: Detections differ by more than the tolerance; names the
            image.
        OSError: An image cannot be read.
    """
    from .compare import Difference, compare
    from .detections import run_before_nms, run_checkpoint
    from .onnx_file import run_file
    from .resize_rule import apply_rule, new_size, read_rgb

    test_cfg = model.bbox_head.test_cfg
    count, total = 0, Difference()
    for number, item in enumerate(progress(listed)):
        photo = read_rgb(item.path)
        batches = [[photo]]
        if number == 0:
            half = (photo.shape[1] + 1) // 2
            batches.append(
                [photo, photo[:, ::-1]] if dynamic else [photo[:, :half]]
            )
        for photos in batches:
            height, width = photos[0].shape[:2]
            size = new_size(rule, width, height)
            batch = np.stack([apply_rule(rule, photo) for photo in photos])
            for image, found in zip(
                batch, run_file(session, batch, test_cfg, size), strict=True
            ):
                expected = run_checkpoint(
                    model, image, found.masks is not None, size
                )
                try:
                    difference = compare(
                        expected,
                        found,
                        tolerance,
                        test_cfg,
                        partial(run_before_nms, model, image, size),
                    )
                except ValueError as error:
                    raise ValueError(
                        f'The file does not find what the checkpoint does in '
                        f'{item.path}: {error}; nothing is written'
                    ) from error
                count += len(expected.scores)
                total = total.join(difference)
    return count, total
