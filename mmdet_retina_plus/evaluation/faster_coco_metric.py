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
    their divisor, which the rounding to three digits hides.

    Args:
        args: As ``CocoMetric``.
        kwargs: As ``CocoMetric``. ``use_mp_eval`` makes no difference.

    Raises:
        ImportError: faster-coco-eval is not installed.
        ValueError: An id in the annotations is no whole number, or one of an
            object is negative; or, in ``process``, a score is NaN, which
            CocoMetric takes for the lowest, or, without an ``ann_file``, the
            id of an image is no whole number.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        # Here, so that no run finds out after its first epoch. Not kept, since
        # a local class cannot be pickled.
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
    """Refuse ids that C++ cannot hold, or takes for unmatched objects.

    Args:
        kind: What the ids name, for the message.
        ids: Ids of any type.
        least: The smallest id.

    Raises:
        ValueError: An id is no integer of 64 bits from ``least`` on.
    """
    for number in ids:
        whole = isinstance(number, Integral)
        if not whole or not least <= int(number) < 2**63:
            raise ValueError(
                f'The {kind} id {number!r} is none that FasterCocoMetric can '
                f'match: renumber the {kind} ids from 1 on, or set the type '
                'of the evaluators to CocoMetric'
            )


def check_scores(found: dict) -> None:
    """Refuse detections of an image without an order.

    Raises:
        ValueError: A score is NaN.
    """
    for name in ('scores', 'mask_scores'):
        if np.isnan(found.get(name, 0)).any():
            raise ValueError(
                f'Image {found["img_id"]} has {name} of NaN, as of a training '
                'that diverged: drop these detections, or set the type of '
                'the evaluators to CocoMetric, which takes them for the lowest'
            )


def fast_evaluator() -> Callable:
    """What makes an evaluator, called as pycocotools' ``COCOeval``.

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
        # Its own summary takes mAP from the most detections, pycocotools'
        # from 100 per image.
        summarize = COCOeval.summarize

    return partial(Evaluator, print_function=print, extra_calc=False)


def with_globals(function: FunctionType, **names: Any) -> FunctionType:
    """The same function, seeing other globals of these names.

    There is no public way: mmdet's ``compute_metrics`` names its evaluator in
    its own body. Neither its module nor its code changes for other callers.
    """
    assert names.keys() <= set(function.__code__.co_names), names
    return FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
