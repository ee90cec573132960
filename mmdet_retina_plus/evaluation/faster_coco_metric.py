"""mmdet's CocoMetric with the matching of faster-coco-eval, in C++.

https://github.com/MiXaiLL76/faster_coco_eval
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from numbers import Integral
from types import FunctionType
from typing import Any

import numpy as np
from mmdet.evaluation import CocoMetric
from mmdet.registry import METRICS
from pycocotools.cocoeval import COCOeval


# The onedl fork has a class of this name, without the checks below.
@METRICS.register_module(force=True)
class FasterCocoMetric(CocoMetric):
    """CocoMetric's numbers and tables in less time.

    Recalls are equal. Precisions lack the 2.2e-16 that pycocotools adds to
    their divisor, which does not show in three digits.

    Args:
        args: See ``CocoMetric``.
        kwargs: See ``CocoMetric``. ``use_mp_eval`` has no effect.

    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: An id in the annotations is not an integer, or the id of
            an object is negative; or, in ``process``, a score is NaN, which
            CocoMetric ranks lowest, or, without ``ann_file``, the id of an
            image is not an integer.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Checked here, so that no run fails after its first epoch. Not kept,
        # since a local class cannot be pickled.
        fast_evaluator()
        if self._coco_api is not None:
            check_ids('image', self._coco_api.imgs)
            check_ids('category', self._coco_api.cats)
            check_ids('annotation', self._coco_api.anns, least=0)

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        if self._coco_api is None:
            check_ids('image', [sample['img_id'] for sample in data_samples])
        super().process(data_batch, data_samples)
        for _, found in self.results[len(self.results) - len(data_samples) :]:
            check_scores(found)

    def compute_metrics(self, results: list) -> dict[str, float]:
        evaluator = fast_evaluator()
        compute = with_globals(
            CocoMetric.compute_metrics,
            COCOeval=evaluator,
            COCOevalMP=evaluator,
        )
        return compute(self, results)


def check_ids(kind: str, ids: Iterable, least: int = -(2**63)) -> None:
    """Check ids: the C++ code cannot store others or misreads them.

    Args:
        kind: Kind of object, for the message.
        ids: Ids of any type.
        least: Smallest allowed id.

    Raises:
        ValueError: An id is not a 64-bit integer of at least ``least``.
    """
    for number in ids:
        whole = isinstance(number, Integral)
        if not whole or not least <= int(number) < 2**63:
            raise ValueError(
                f'FasterCocoMetric cannot match the {kind} id {number!r}: '
                f'renumber the {kind} ids from 1 on, or set the type of the '
                'evaluators to CocoMetric'
            )


def check_scores(found: dict) -> None:
    """Check that the detections of an image can be ordered.

    Raises:
        ValueError: A score is NaN.
    """
    for name in ('scores', 'mask_scores'):
        if np.isnan(found.get(name, 0)).any():
            raise ValueError(
                f'Image {found["img_id"]} has {name} of NaN, as after a '
                'training that diverged: drop these detections, or set the '
                'type of the evaluators to CocoMetric, which ranks them lowest'
            )


def fast_evaluator() -> Callable:
    """Return an evaluator class with the interface of ``COCOeval``.

    Raises:
        ImportError: faster-coco-eval is not installed.
    """
    try:
        from faster_coco_eval import COCOeval_faster
    except ImportError as error:
        raise ImportError(
            'FasterCocoMetric evaluates with faster-coco-eval: `pip install '
            '"mmdet_retina_plus[fast]"`, or set the type of the evaluators to '
            'CocoMetric'
        ) from error

    class Evaluator(COCOeval_faster):
        # Its own summary computes mAP with the largest number of detections,
        # that of pycocotools with 100 per image.
        summarize = COCOeval.summarize

    return partial(Evaluator, print_function=print, extra_calc=False)


def with_globals(function: FunctionType, **names: Any) -> FunctionType:
    """Copy a function and replace some of its globals.

    mmdet's ``compute_metrics`` has no parameter for the evaluator. Its module
    does not change for other callers.
    """
    assert names.keys() <= set(function.__code__.co_names), names
    return FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
