"""MaxIoUAssigner without the matrix of overlaps.

Faster R-CNN: https://arxiv.org/abs/1506.01497
RetinaMask's matcher: https://arxiv.org/abs/1901.03353
"""

from collections.abc import Sequence

import torch
from mmdet.models.task_modules.assigners import (
    AssignResult,
    BaseAssigner,
    BboxOverlaps2D,
)
from mmdet.registry import TASK_UTILS
from mmdet.utils import ConfigType
from mmengine.structures import InstanceData
from torch import Tensor

from mmdet_retina_plus.kernels import dispatch, overlap_matching
from mmdet_retina_plus.kernels.boxes import (
    iou,
    share_of_first,
    share_of_second,
)
from mmdet_retina_plus.kernels.overlap_matching import LowQuality, Matches

from .assign_io import Inputs, read_inputs, to_result


@TASK_UTILS.register_module()
class StreamingMaxIoUAssigner(BaseAssigner):
    """Assign priors by IoU thresholds, plus low-quality matches.

    Bit-identical to mmdet's MaxIoUAssigner, with its options, except:

    - A ground truth that overlaps no prior matches none. There it matches all.
    - Ignore regions also count in images without ground truth.
    - Thresholds may be integers, a pair may be a list. There such a
      ``neg_iou_thr`` silently leaves an image without background.
    - Half precision boxes are compared in single precision.

    Memory grows with the number of priors, not with that of objects. A GPU is
    not synchronised. With Triton two kernels match all objects; without it,
    each block of objects takes its own kernel launches.

    Args:
        pos_iou_thr: A prior whose best IoU reaches this is positive.
        neg_iou_thr: A prior whose best IoU is below this, or in the interval
            [low, high) of a pair, is background.
        min_pos_iou: A ground truth whose best IoU is below this gets no
            low-quality match. One whose best IoU is 0 never does.
        gt_max_assign_all: A ground truth matches all priors that tie for its
            best IoU, else the first.
        ignore_iof_thr: Ignore priors of which more than this fraction lies in
            an ignore region; off unless above 0.
        ignore_wrt_candidates: Whether the fraction is one of the prior's area
            or of the region's.
        match_low_quality: Whether to add low-quality matches.
        gpu_assign_thr: Ignored; accepted because stock configs set it. In
            mmdet it moves a large matrix to the CPU.
        iou_calculator: Calculators other than BboxOverlaps2D, or this one in
            half precision, compute full rows for blocks of objects, which
            takes more time and memory.
        perm_repeat_gt_cfg: Must be None.
        best_match: Ground truth of a low-quality match: ``'trigger_gt'``, the
            one that matched the prior (the last of several), even if another
            overlaps more; ``'own_argmax'``, the ground truth that the prior
            overlaps most, as in RetinaMask and detectron2.

    Raises:
        ValueError: An option has a wrong type or is not supported.
    """

    def __init__(
        self,
        pos_iou_thr: float,
        neg_iou_thr: float | Sequence[float],
        min_pos_iou: float = 0.0,
        gt_max_assign_all: bool = True,
        ignore_iof_thr: float = -1,
        ignore_wrt_candidates: bool = True,
        match_low_quality: bool = True,
        gpu_assign_thr: float = -1,
        iou_calculator: ConfigType = dict(type='BboxOverlaps2D'),  # noqa: B006
        perm_repeat_gt_cfg: dict | None = None,
        best_match: str = 'trigger_gt',
    ) -> None:
        if perm_repeat_gt_cfg is not None:
            raise ValueError(
                'perm_repeat_gt_cfg moves repeated boxes at random and is not '
                'supported: use gt_max_assign_all=False, or MaxIoUAssigner'
            )
        if best_match not in ('trigger_gt', 'own_argmax'):
            raise ValueError(
                "best_match must be 'trigger_gt' or 'own_argmax', "
                f'not {best_match!r}'
            )
        if not isinstance(pos_iou_thr, (int, float)):
            raise ValueError(
                f'pos_iou_thr must be a number, not {pos_iou_thr!r}'
            )
        self.pos_iou_thr = pos_iou_thr
        self.neg_interval = _interval(neg_iou_thr)
        self.low_quality = (
            LowQuality(min_pos_iou, gt_max_assign_all)
            if match_low_quality
            else None
        )
        self.ignore_iof_thr = ignore_iof_thr
        self.ignore_wrt_candidates = ignore_wrt_candidates
        self.iou_calculator = TASK_UTILS.build(iou_calculator)
        self.best_match = best_match

    @torch.no_grad()
    def assign(
        self,
        pred_instances: InstanceData,
        gt_instances: InstanceData,
        gt_instances_ignore: InstanceData | None = None,
        num_level_priors: Sequence[int] | None = None,
        **kwargs,
    ) -> AssignResult:
        """Assign each prior to a ground truth, the background or neither.

        Args:
            pred_instances: With ``priors``, shape (N, 4).
            gt_instances: With ``bboxes``, shape (G, 4), and ``labels``, (G,).
            gt_instances_ignore: With ``bboxes``, shape (R, 4).
            num_level_priors: Not needed.
            kwargs: Not used.

        Returns:
            ``gt_inds`` holds 1-based indices, 0 for background, -1 for
            ignored; ``max_overlaps`` each prior's best IoU, -1 in an ignore
            region; ``labels`` -1 for all that is not positive. Each (N,).

        Raises:
            ValueError: A box on the CPU is not finite. On a GPU it overlaps
                nothing.
        """
        inputs = read_inputs(
            pred_instances, gt_instances, gt_instances_ignore, num_level_priors
        )
        priors, gt_bboxes = inputs.priors, inputs.gt_bboxes
        ignored = None
        if self.ignore_iof_thr > 0 and len(inputs.regions) and len(priors):
            mode = 'iof_prior' if self.ignore_wrt_candidates else 'iof'
            shares = self._match(
                inputs.regions, priors, mode, name='Ignore regions'
            ).overlaps
            ignored = shares > self.ignore_iof_thr
        some = len(gt_bboxes) and len(priors)
        if some and self._by_kernels(gt_bboxes, priors):
            return self._assign_by_kernels(inputs, ignored)
        if some:
            matches = self._match(
                gt_bboxes, priors, 'iou', ignored, self.low_quality
            )
            gt_inds, overlaps = self._decide(matches), matches.overlaps
        else:
            # Background is 0 in both, and -1 stands for ignored in both.
            overlaps = overlap_matching.finite_coordinates(
                priors, 'Priors'
            ).new_zeros(len(priors))
            if ignored is not None:
                overlaps.masked_fill_(ignored, -1)
            gt_inds = overlaps.long()
        return to_result(gt_inds, overlaps, inputs.gt_labels)

    def _match(
        self,
        boxes: Tensor,
        priors: Tensor,
        mode: str,
        ignored: Tensor | None = None,
        low_quality: LowQuality | None = None,
        name: str = 'Ground truths',
    ) -> Matches:
        if self._by_kernels(boxes, priors):
            from mmdet_retina_plus.kernels import max_iou

            best = max_iou.best_overlaps(boxes, priors, mode, ignored)
            return Matches(*best, torch.full_like(best[1], -1))
        calculator = self.iou_calculator
        if self._plain:
            dtype = torch.promote_types(boxes.dtype, priors.dtype)
            return overlap_matching.match(
                overlap_matching.finite_coordinates(boxes.to(dtype), name),
                overlap_matching.finite_coordinates(
                    priors.to(dtype), 'Priors'
                ),
                OVERLAPS[mode],
                ignored,
                low_quality,
            )

        def overlap_rows(rows: Tensor) -> Tensor:
            if mode == 'iof_prior':
                return calculator(priors, boxes[rows], mode='iof').t()
            return calculator(boxes[rows], priors, mode=mode)

        ids = torch.arange(len(boxes), device=boxes.device)
        return overlap_matching.match_rows(
            overlap_rows, ids, len(priors), ignored, low_quality
        )

    @property
    def _plain(self) -> bool:
        """Whether overlaps are those of ``kernels.boxes``."""
        calculator = self.iou_calculator
        return type(calculator) is BboxOverlaps2D and calculator.dtype is None

    def _by_kernels(self, boxes: Tensor, priors: Tensor) -> bool:
        return self._plain and dispatch.usable(boxes, priors)

    def _assign_by_kernels(
        self, inputs: Inputs, ignored: Tensor | None
    ) -> AssignResult:
        """Assign on a GPU; there is at least one prior and ground truth."""
        from mmdet_retina_plus.kernels import max_iou

        rule = max_iou.Rule(
            self.pos_iou_thr,
            *self.neg_interval,
            self.low_quality is not None,
            *(self.low_quality or LowQuality(0.0, True)),
            to_nearest=self.best_match == 'own_argmax',
        )
        result = max_iou.assign(
            inputs.gt_bboxes, inputs.gt_labels, inputs.priors, ignored, rule
        )
        return AssignResult(len(inputs.gt_bboxes), *result)

    def _decide(self, matches: Matches) -> Tensor:
        overlaps, nearest, matched_by = matches
        low, high = self.neg_interval
        background = (overlaps >= low) & (overlaps < high)
        gt_inds = torch.where(background, 0, -1)
        positive = overlaps >= self.pos_iou_thr
        gt_inds = torch.where(positive, nearest + 1, gt_inds)
        owner = nearest if self.best_match == 'own_argmax' else matched_by
        return torch.where(matched_by >= 0, owner + 1, gt_inds)


OVERLAPS = dict(
    iou=iou,
    iof=share_of_first,
    iof_prior=share_of_second,
)


def _interval(neg_iou_thr: float | Sequence[float]) -> tuple[float, float]:
    """Overlaps of the background, low <= overlap < high."""
    pair = (
        tuple(neg_iou_thr)
        if isinstance(neg_iou_thr, (list, tuple))
        else (0.0, neg_iou_thr)
    )
    if len(pair) != 2 or not all(
        isinstance(value, (int, float)) for value in pair
    ):
        raise ValueError(
            'neg_iou_thr must be a number or a pair (low, high), '
            f'not {neg_iou_thr!r}'
        )
    low, high = pair
    if low >= high:
        raise ValueError(f'neg_iou_thr {pair} leaves no background')
    return low, high
