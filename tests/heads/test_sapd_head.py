import math
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.common.training_phase import training_progress
from mmdet_retina_plus.heads.anchor_points import PositivePoints
from mmdet_retina_plus.heads.sapd_head import (
    NO_POINTS,
    mean_by_level,
    weighted_mean,
)
from tests.heads.device_reads import device_reads
from tests.helpers.processes import in_two_processes
from tests.helpers.samples import (
    HEAD_OBJECTS,
    STRIDES,
    batches,
    data_sample,
    pyramid,
)

CONFIG = dict(
    type='SAPDHead',
    num_classes=3,
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    test_cfg=ConfigDict(
        nms_pre=1000,
        min_bbox_size=0,
        score_thr=0.05,
        nms=dict(type='nms', iou_threshold=0.5),
        max_per_img=100,
    ),
)
SMALL_BOXES = [
    ((4, 4, 20, 20), 0),
    ((24, 28, 60, 60), 2),
    ((0, 30, 30, 62), 1),
]


@pytest.fixture(autouse=True)
def hub() -> Iterator[MessageHub]:
    """A run of 100 iterations, of which none is done."""
    hub = MessageHub.get_instance('sapd')
    hub.update_info_dict(dict(iter=0, max_iters=100))
    yield hub
    del MessageHub._instance_dict['sapd']


def build(**changes) -> nn.Module:
    head = MODELS.build({**CONFIG, **changes})
    head.init_weights()
    return head


def trained(**changes) -> nn.Module:
    """Weights that make points, levels and objects differ."""
    head = build(**changes)
    for name, parameter in head.named_parameters():
        if 'bias' not in name:
            nn.init.normal_(parameter, std=0.2)
    return head


def samples(*images):
    return [data_sample(objects) for objects in images or [HEAD_OBJECTS]]


def total(losses: dict) -> torch.Tensor:
    return sum(losses.values())


def by_hand(head, x, sample, soft: bool) -> dict[str, torch.Tensor]:
    """Losses of one image, point by point, from the paper's formulas."""
    cls_scores, bbox_preds = head(x)
    boxes, labels = sample.gt_instances.bboxes, sample.gt_instances.labels
    logits = head.selector(x, [sample.gt_instances])
    sizes = [score.shape[-2:] for score in cls_scores]
    targets = head.get_targets(sizes, [sample.gt_instances])
    owner = dict(torch.stack([targets.points, targets.gts], 1).tolist())
    background = torch.zeros(())
    rows, index = [], 0
    for level, (scores, preds) in enumerate(
        zip(cls_scores, bbox_preds, strict=True)
    ):
        for i in range(scores.size(2)):
            for j in range(scores.size(3)):
                p = scores[0, :, i, j].sigmoid()
                gt = owner.get(index)
                index += 1
                if gt is None:
                    background = (
                        background - (0.75 * p**2 * (1 - p).log()).sum()
                    )
                    continue
                focal = -0.75 * p**2 * (1 - p).log()
                own = p[labels[gt]]
                focal = focal.sum() - focal[labels[gt]]
                focal = focal - 0.25 * (1 - own) ** 2 * own.log()
                x1, y1, x2, y2 = boxes[gt].tolist()
                px, py = ((k + 0.5) * STRIDES[level] for k in (j, i))
                sides = [
                    max(side, 0.0)
                    for side in (px - x1, py - y1, x2 - px, y2 - py)
                ]
                left, top, right, bottom = preds[0, :, i, j]
                width = min(sides[0], left) + min(sides[2], right)
                height = min(sides[1], top) + min(sides[3], bottom)
                inter = width * height
                union = (
                    (left + right) * (top + bottom)
                    + (sides[0] + sides[2]) * (sides[1] + sides[3])
                    - inter
                )
                iou = (inter / union).clamp(min=1e-6)
                weight = 0.0
                if min(sides) > 0:
                    weight = (
                        min(sides[0], sides[2])
                        / max(sides[0], sides[2])
                        * min(sides[1], sides[3])
                        / max(sides[1], sides[3])
                    )
                rows.append((gt, level, focal, -iou.log(), weight))
    best = []
    for gt in range(len(boxes)):
        means = []
        for level in range(5):
            terms = [
                float((focal + box).detach())
                for g, k, focal, box, weight in rows
                if (g, k) == (gt, level) and weight
            ]
            means.append(sum(terms) / len(terms) if terms else math.inf)
        best.append(means.index(min(means)))
    shares = torch.zeros(len(boxes), 5)
    for gt, level in enumerate(best):
        if soft:
            probability = logits[gt].detach().softmax(0)
            chosen = probability.argsort(descending=True)[:3]
            shares[gt, chosen] = probability[chosen]
        else:
            shares[gt, level] = 1
    weights = [w * shares[gt, level] for gt, level, _, _, w in rows]
    divisor = max(1.0, float(sum(weights)))
    focal = sum(w * row[2] for w, row in zip(weights, rows, strict=True))
    box = sum(w * row[3] for w, row in zip(weights, rows, strict=True))
    meta = [-logits[gt].log_softmax(0)[level] for gt, level in enumerate(best)]
    return dict(
        loss_cls=(background + focal) / divisor,
        loss_bbox=box / divisor,
        loss_meta=0.1 * sum(meta) / len(meta),
    )


def test_the_oracles_loss_divides_by_the_sum_of_weights():
    """Specs B3.5."""
    losses = torch.tensor([0.4, 1.2, 0.3], dtype=torch.float64)
    weights = torch.tensor([1, 0.5, 0.8], dtype=torch.float64)
    loss = weighted_mean(0.02 + 0.05, losses, weights, weights.sum())
    assert_close(loss.item(), 0.569565217391, rtol=1e-11, atol=0)


def test_a_small_sum_of_weights_does_not_blow_up_the_loss():
    losses, weights = torch.tensor([2.0]), torch.tensor([0.1])
    assert_close(weighted_mean(0, losses, weights, weights.sum()).item(), 0.2)


@pytest.mark.parametrize('done', [0, 70], ids=['hard', 'soft'])
def test_losses_are_those_of_the_paper_point_by_point(hub, done):
    hub.update_info('iter', done)
    head, x = trained(), pyramid(1)
    sample = data_sample(SMALL_BOXES)
    losses = head.loss(x, [sample])
    assert losses.keys() == {'loss_cls', 'loss_bbox', 'loss_meta'}
    expected = by_hand(head, x, sample, soft=done > 0)
    for name, value in losses.items():
        assert_close(value, expected[name], msg=name, rtol=1e-4, atol=1e-6)


def test_level_losses_are_means_and_levels_without_points_come_last():
    targets = PositivePoints(
        points=torch.arange(6),
        levels=torch.tensor([0, 0, 2, 1, 0, 2]),
        gts=torch.tensor([0, 0, 0, 1, 0, 1]),
    )
    losses = mean_by_level(
        torch.tensor([1.0, 3, 1.5, 7, 0, 0]),
        targets,
        torch.tensor([True] * 4 + [False] * 2),
        torch.Size([2, 3]),
    )
    assert losses.tolist() == [[2, NO_POINTS, 1.5], [NO_POINTS, 7, NO_POINTS]]


def losses_and_weights(
    head: nn.Module, box: tuple[int, ...], best_level: int
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Losses, and the objects' level weights, if one level predicts best."""
    x, sample = pyramid(1), data_sample([(box, 0)])
    gts = [sample.gt_instances]
    cls_scores = [
        torch.full_like(scores, 9.0 if level == best_level else -9.0)
        for level, scores in enumerate(head(x)[0])
    ]
    found = []
    weigh = head.weigh_levels
    head.weigh_levels = lambda *args: found.append(weigh(*args)) or found[0]
    losses = head.loss_by_feat(
        cls_scores, head(x)[1], gts, [{}], level_logits=head.selector(x, gts)
    )
    return losses, found[0]


def test_the_level_of_least_loss_has_a_point_in_the_object():
    """P7's only point, (64, 64), has the least loss but weighs nothing."""
    _, weights = losses_and_weights(
        build(loss_cls=dict(type='FocalLoss', use_sigmoid=True)),
        (0, 0, 7, 7),
        best_level=4,
    )
    assert weights.tolist() == [[1, 0, 0, 0, 0]]


def test_an_object_between_all_points_trains_nothing():
    """They lie at 4, 12, ... for stride 8, at 8, 24, ... for 16."""
    head = trained()
    losses, _ = losses_and_weights(head, (9, 9, 12, 12), best_level=0)
    assert losses['loss_bbox'] == losses['loss_meta'] == 0
    losses['loss_meta'].backward()
    assert not any(p.grad.any() for p in head.selector.parameters())


@pytest.mark.parametrize(
    ('done', 'soft_start', 'soft'),
    [(0, 0.5, 0), (49, 0.5, 0), (50, 0.5, 1), (0, 0.0, 1), (99, 1.0, 0)],
)
def test_weights_are_hard_then_soft(hub, done, soft_start, soft):
    hub.update_info('iter', done)
    head = build(soft_start=soft_start)
    logits = torch.randn(4, 5)
    best = torch.tensor([0, 1, 4, 4])
    weights = head.weigh_levels(logits, best)
    if not soft:
        assert weights.argmax(dim=1).tolist() == best.tolist()
        assert weights.sum(dim=1).tolist() == [1] * 4
        return
    probabilities = logits.softmax(dim=1)
    kept = weights > 0
    assert kept.sum(dim=1).tolist() == [3] * 4
    assert_close(weights[kept], probabilities[kept])
    for row, keep in zip(probabilities, kept, strict=True):
        assert row[keep].min() >= row[~keep].max()


def test_without_top_k_all_levels_keep_their_weight():
    logits = torch.randn(4, 5)
    weights = build(topk=None, soft_start=0).weigh_levels(logits, logits)
    assert_close(weights, logits.softmax(dim=1))


def test_without_a_runner_the_training_stands_at_its_start(hub):
    hub.runtime_info.clear()
    assert training_progress() == 0


@pytest.mark.parametrize('detach', [True, False])
def test_the_detection_loss_trains_the_selector_only_if_asked(detach):
    head = trained(detach_weights=detach, soft_start=0)
    losses = head.loss(pyramid(), samples(SMALL_BOXES, HEAD_OBJECTS))
    (losses['loss_cls'] + losses['loss_bbox']).backward()
    gradients = [
        parameter.grad is not None and bool(parameter.grad.any())
        for parameter in head.selector.parameters()
    ]
    assert gradients == [not detach] * len(gradients)


def test_a_positive_point_without_weight_is_ignored():
    """In the hard phase, of all levels but the best; not background."""
    head, x = trained(), pyramid(1)
    sample = data_sample(SMALL_BOXES)
    gts = [sample.gt_instances]
    cls_scores, bbox_preds = head(x)
    leaves = [score.detach().requires_grad_() for score in cls_scores]
    head.loss_by_feat(
        leaves, bbox_preds, gts, [{}], level_logits=head.selector(x, gts)
    )['loss_cls'].backward()
    touched = torch.cat(
        [leaf.grad.abs().sum(dim=1).flatten() > 0 for leaf in leaves]
    )
    targets = head.get_targets([leaf.shape[-2:] for leaf in leaves], gts)
    positive = torch.zeros_like(touched)
    positive[targets.points] = True
    assert touched[~positive].all()
    assert 0 < touched[positive].sum() < positive.sum()


@pytest.mark.parametrize('soft_start', [0, 1])
@pytest.mark.parametrize('batch', batches(HEAD_OBJECTS))
def test_a_step_has_finite_losses_and_every_gradient(batch, soft_start):
    images = batches(HEAD_OBJECTS)[batch]
    head = trained(soft_start=soft_start)
    losses = head.loss(pyramid(), samples(*images))
    total(losses).backward()
    empty = batch == 'all-empty'
    assert total(losses).isfinite() and losses['loss_cls'] > 0
    assert (losses['loss_bbox'] == 0) == empty
    assert (losses['loss_meta'] == 0) == empty
    for name, parameter in head.named_parameters():
        assert parameter.grad.isfinite().all(), name
        needs_objects = '_reg' in name or 'reg_' in name or 'selector' in name
        assert parameter.grad.any() != (empty and needs_objects), name


def test_mmdets_focal_loss_has_the_same_values():
    focal = dict(type='FocalLoss', use_sigmoid=True, gamma=2.0, alpha=0.25)
    ours, theirs = build(), build(loss_cls=focal)
    theirs.load_state_dict(ours.state_dict())
    x, batch = pyramid(), samples(HEAD_OBJECTS, ())
    expected = theirs.loss(x, batch)
    for name, value in ours.loss(x, batch).items():
        assert_close(value, expected[name])


def test_an_object_whose_points_smaller_ones_took_trains_no_selector():
    """The same box twice: all cells go to the first."""
    head, x = trained(), pyramid(1)
    once = head.loss(x, samples([HEAD_OBJECTS[0]]))
    twice = head.loss(x, samples([HEAD_OBJECTS[0]] * 2))
    for name, value in once.items():
        assert_close(twice[name], value, msg=name)


def test_mixed_precision_only_rounds():
    head, x, batch = trained(soft_start=0), pyramid(), samples(SMALL_BOXES, ())
    expected = head.loss(x, batch)
    with torch.autocast('cpu', torch.bfloat16):
        losses = head.loss(x, batch)
    total(losses).backward()
    for name, value in expected.items():
        assert_close(losses[name], value, rtol=0.05, atol=0, msg=name)
        assert losses[name].dtype == torch.float32


def test_distances_are_in_pixels_and_not_negative():
    head = trained()
    x = pyramid(1)
    _, bbox_preds = head(x)
    tower = head.reg_convs[0](x[1])
    raw = head.conv_reg(tower)
    assert_close(bbox_preds[1], raw.clamp(min=0) * 4 * 16)
    assert raw.min() < 0


def test_it_predicts_the_box_of_a_point():
    head = build().eval()
    for conv in (head.conv_cls, head.conv_reg):
        nn.init.zeros_(conv.weight)
        nn.init.constant_(conv.bias, -20)
    head.conv_reg.bias.data = torch.tensor([0.25, 0.5, 0.75, 1.0])
    head.conv_cls.bias.data[1] = 2.0
    # No box suppresses another.
    head.test_cfg.update(nms=dict(type='nms', iou_threshold=1.0))
    head.test_cfg['max_per_img'] = 1000
    with torch.no_grad():
        (result,) = head.predict(
            pyramid(1, shape=(128, 128)), [data_sample(shape=(128, 128))]
        )
    assert result.labels.unique().tolist() == [1]
    # The first point of P3, (4, 4), predicts 8, 16, 24 and 32 px, cut to 0.
    assert [0, 0, 28, 36] in result.bboxes.tolist()


@pytest.mark.parametrize('number', [1, 0], ids=['objects', 'an empty image'])
def test_two_processes_have_the_gradient_of_one_with_both_images(
    tmp_path, number
):
    gradients = in_two_processes(tmp_path, gradient_of_an_image, number)
    expected = gradient_of_images(samples(SMALL_BOXES, HEAD_OBJECTS[:number]))
    for name, value in expected.items():
        mean = (gradients[0][name] + gradients[1][name]) / 2
        assert_close(mean, value, rtol=1e-4, atol=1e-6, msg=name)


def gradient_of_an_image(rank: int, number: int) -> dict[str, torch.Tensor]:
    objects = (SMALL_BOXES, HEAD_OBJECTS[:number])[rank]
    return gradient_of_images(samples(objects), first=rank)


def gradient_of_images(batch, first: int = 0) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    head = trained()
    x = tuple(level[first : first + len(batch)] for level in pyramid(2))
    total(head.loss(x, batch)).backward()
    return {
        name: parameter.grad for name, parameter in head.named_parameters()
    }


def test_a_step_reads_the_ground_truth_and_the_positives_once():
    head = build(loss_cls=dict(type='FocalLoss', use_sigmoid=True))
    with device_reads() as reads:
        head.loss(pyramid(), samples(HEAD_OBJECTS, HEAD_OBJECTS[:1]))
    assert reads == dict(check_ground_truth=1, find_positive_points=1)


class ProgressRecorder(BaseModel):
    """Trains one number and notes how far the training is."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[float] = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        self.seen.append(training_progress())
        return dict(loss=self.weight)


class Interruption(Hook):
    def after_train_iter(self, runner, *args, **kwargs) -> None:
        if runner.iter == 4:
            raise KeyboardInterrupt


def run(folder: Path, resume: bool, hooks: list) -> list[float]:
    """Progress at the iterations of a run of eight."""
    model = ProgressRecorder()
    data = [dict(inputs=0, data_samples=None)] * 8
    runner = Runner(
        model=model,
        work_dir=str(folder),
        default_scope='mmdet',
        experiment_name=f'resume={resume}',
        train_dataloader=dict(
            dataset=data,
            batch_size=1,
            sampler=dict(type='InfiniteSampler', shuffle=False),
        ),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=8),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(
            checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False),
            logger=None,
        ),
        custom_hooks=hooks,
        resume=resume,
        log_level='ERROR',
    )
    with suppress(KeyboardInterrupt):
        runner.train()
    return model.seen


def test_a_resumed_run_goes_on_in_its_phase(tmp_path):
    before = run(tmp_path, resume=False, hooks=[Interruption()])
    after = run(tmp_path, resume=True, hooks=[])
    steps = [step / 8 for step in range(8)]
    assert (before, after) == (steps[:5], steps[4:])


def test_a_second_stage_is_refused():
    with pytest.raises(ValueError, match='without a roi_head'):
        build().loss_and_predict(pyramid(), samples(HEAD_OBJECTS, ()))


@pytest.mark.parametrize(
    ('changes', 'words'),
    [
        (dict(shrink_factor=0), 'at most 1'),
        (dict(soft_start=6), 'soft_start=6'),
        (dict(topk=6), '1 to 5'),
        (dict(loss_cls=dict(type='FocalLoss')), 'use_sigmoid=True'),
    ],
)
def test_options_out_of_range_say_what_to_do(changes, words):
    with pytest.raises(ValueError, match=words):
        build(**changes)
