"""Convert a detector to the content of an ONNX file, and run it."""

import copy
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from mmdet.models import BaseDetector

from .detections import Found, suppress, unpad
from .exported_detector import ExportedDetector
from .operators import OPSET, register_symbolics
from .resize_rule import apply_rule

TRACED = (320, 352)
"""Height and width of the image that a dynamic file is traced with."""


def to_onnx(
    model: BaseDetector,
    rule: dict[str, Any],
    raw: bool,
    dynamic: bool,
    half: bool,
) -> bytes:
    """Convert a detector to the content of an ONNX file.

    It uses torch.onnx's tracing exporter. The newer exporter takes twenty
    times as long and refuses images of one cell in a level.

    Args:
        model: A detector that `check_exportable` accepts.
        rule: Resize rule of the file, which sets the size of a static file.
        raw: Whether to output the boxes and scores of all anchors.
        dynamic: Whether size and number of images are dynamic.
        half: Whether the network computes in half precision.

    Raises:
        ValueError: The detector has an operation that ONNX lacks.
    """
    detector = ExportedDetector(copy.deepcopy(model), raw, half).eval()
    image = np.zeros((*TRACED, 3), np.uint8)
    if not dynamic:
        image = apply_rule(rule, image)
    inputs = dict(images=torch.from_numpy(image).repeat(1 + dynamic, 1, 1, 1))
    if 'pad' in rule:
        inputs['sizes'] = torch.tensor([rule['fit']])
    names = detector.output_names
    axes: dict[str, dict[int, str]] = {}
    if dynamic:
        axes = {'images': {0: 'batch', 1: 'height', 2: 'width'}}
        axes |= {name: {0: 'batch'} for name in names}
        if raw:
            axes |= {name: {0: 'batch', 1: 'anchors'} for name in names}
    register_symbolics()
    try:
        with (
            warnings.catch_warnings(),
            torch.no_grad(),
            TemporaryDirectory() as folder,
        ):
            warnings.simplefilter('ignore')
            file = Path(folder, 'model.onnx')
            results = detector(**inputs)
            torch.onnx.export(
                detector,
                tuple(inputs.values()),
                file,
                dynamo=False,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=names,
                dynamic_axes=axes,
            )
            proto = onnx.load(file)
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f'Cannot export {type(model).__name__} with '
            f'{type(model.bbox_head).__name__}: {reason}'
        ) from error
    for output, result in zip(proto.graph.output, results, strict=True):
        sizes = output.type.tensor_type.shape.dim
        for axis, (dim, size) in enumerate(
            zip(sizes, result.shape, strict=True)
        ):
            if axis not in axes.get(output.name, {}):
                dim.dim_value = size
    return proto.SerializeToString()


def with_metadata(content: bytes, about: dict[str, str]) -> bytes:
    """Add metadata to the content, and check it."""
    proto = onnx.load_from_string(content)
    onnx.helper.set_model_props(proto, about)
    onnx.checker.check_model(proto)
    return proto.SerializeToString()


def session_of(content: bytes) -> onnxruntime.InferenceSession:
    """Make a session on the CPU without warnings about the graph."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        content, options, providers=['CPUExecutionProvider']
    )


def run_file(
    session: onnxruntime.InferenceSession,
    images: np.ndarray,
    test_cfg: Any,
    size: tuple[int, int],
) -> list[Found]:
    """Detect in resized images (N, H, W, 3); NMS is applied to raw outputs.

    Args:
        session: Session of the file.
        images: RGB, uint8.
        test_cfg: Options of the box head.
        size: Width and height of each image without padding.
    """
    sizes = np.array([size] * len(images), np.int64)
    feeds = dict(images=images, sizes=sizes)
    names = [item.name for item in session.get_inputs()]
    outputs = session.run(None, {name: feeds[name] for name in names})
    if len(outputs) == 2:
        return [
            suppress(boxes, scores, test_cfg)
            for boxes, scores in zip(*outputs, strict=True)
        ]
    return [unpad(outputs, image) for image in range(len(images))]
