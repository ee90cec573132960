"""Laws of the statistics, and that watching changes nothing."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from mmdet.models.losses import CrossEntropyLoss, FocalLoss
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.hooks import LoggerHook
from mmengine.logging import HistoryBuffer
from mmengine.runner import LogProcessor, Runner
from torch import nn
from torch.testing import assert_close

import mmdet_retina_plus
from mmdet_retina_plus.hooks import LossStatisticsHook
from mmdet_retina_plus.hooks.loss_statistics_hook import (
    count_soft,
    sum_terms,
)
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.models import build_head
from tests.helpers.processes import in_two_processes
from tests.helpers.samples import HEAD_OBJECTS, Objects, data_sample, pyramid
from tests.hooks.statistics_log import (
    begin_statistics,
    logged_statistics,
    logged_values,
)

BATCH: Sequence[Objects] = (HEAD_OBJECTS, HEAD_OBJECTS[:1])
STATISTICS = {'positives', 'p_t_positives', 'p_t_negatives', 'positive_share'}
BETAS = {'beta_dx', 'beta_dy', 'beta_dw', 'beta_dh'}
LOSSES = {
    'FocalLoss': dict(type='FocalLoss', use_sigmoid=True),
    'FusedFocalLoss': dict(type='FusedFocalLoss'),
    'FocalLossStar': dict(type='FocalLossStar'),
    'sigmoids': dict(type='CrossEntropyLoss', use_sigmoid=True),
    'softmax': dict(type='CrossEntropyLoss', use_sigmoid=False),
}


@pytest.fixture
def heard(monkeypatch) -> list:
    """Calls of a loss that a LossStatisticsHook is told of."""
    calls: list = []
    observe = LossStatisticsHook.observe

    def keep(self, *call):
        calls.append(call)
        observe(self, *call)

    monkeypatch.setattr(LossStatisticsHook, 'observe', keep)
    return calls


def log_of(head: nn.Module, batch: Sequence[Objects] = BATCH) -> dict:
    """Statistics of a head on random features, equal for equal shapes."""
    torch.manual_seed(1)
    features = pyramid(len(batch))
    samples = [data_sample(objects) for objects in batch]
    return logged_statistics(head, lambda: head.loss(features, samples), batch)


def test_p_t_by_hand():
    """Logits of probability .8 and .3, .1 for an object, .6 for background."""
    pred = torch.tensor([[0.8, 0.3], [0.1, 0.6]]).logit()
    target = torch.tensor([0, 2])
    (count, positive, _), (others, negative, _) = sum_terms(
        FocalLoss(), pred, target, None
    ).tolist()
    assert (count, others) == (1, 3)
    assert positive == pytest.approx(0.8)
    assert negative == pytest.approx(0.7 + 0.9 + 0.4)


def test_p_t_of_a_softmax_by_hand():
    """An anchor's own class against background, which comes last."""
    pred = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]]).log()
    (count, positive, cost), (others, negative, other_cost) = sum_terms(
        CrossEntropyLoss(), pred, torch.tensor([1, 2]), torch.ones(2)
    ).tolist()
    assert (count, others) == (1, 1)
    assert (positive, negative) == pytest.approx((0.5, 0.7))
    assert (cost, other_cost) == pytest.approx(
        (-math.log(0.5), -math.log(0.7))
    )


def test_without_gamma_one_positive_has_the_share_of_its_cross_entropy():
    """p = .01 everywhere: alpha ln 100 of a positive, by hand."""
    pred = torch.full((50, 4), 0.01).logit()
    target = torch.full((50,), 4)
    target[7] = 2
    (_, _, positive), (_, _, negative) = sum_terms(
        FocalLoss(gamma=0.0, alpha=0.25), pred, target, None
    ).tolist()
    expected = 0.25 * math.log(100)
    others = 199 * 0.75 * -math.log(0.99)
    assert positive == pytest.approx(expected)
    assert positive / (positive + negative) == pytest.approx(
        expected / (expected + others), rel=1e-5
    )


@pytest.mark.parametrize('kind', LOSSES)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_the_sums_are_those_of_the_loss_itself(kind, dtype, monkeypatch):
    """Also in chunks of a few rows, and of half precision."""
    monkeypatch.setattr(
        'mmdet_retina_plus.hooks.loss_statistics_hook.CHUNK', 32
    )
    loss_cls = MODELS.build(LOSSES[kind])
    classes = 3 + (kind == 'softmax')
    pred = torch.randn(50, classes).to(dtype).requires_grad_()
    target = torch.randint(0, 4, (50,))
    weight = torch.rand(50).round(decimals=1)
    sums = sum_terms(loss_cls, pred, target, weight)
    total = loss_cls(pred.float(), target, weight, reduction_override='none')
    assert_close(sums[:, 2].sum(), total.sum().double().detach())
    terms = 1 if kind == 'softmax' else 3
    assert sums[:, 0].sum() == terms * (weight > 0).sum()
    assert not sums.requires_grad


def test_all_shapes_of_weights_and_targets_tell_the_same():
    pred = torch.randn(20, 3)
    target = torch.randint(0, 4, (20,))
    weight = torch.rand(20).round(decimals=1)
    dense = weight.unsqueeze(1).expand(20, 3)
    expected = sum_terms(FocalLoss(), pred, target, weight)
    one_hot = F.one_hot(target, 4)[:, :3].float()
    for case in (
        (target, weight.unsqueeze(1)),
        (target, dense),
        (target, dense.flatten()),
        (one_hot, weight),
    ):
        assert_close(sum_terms(FocalLoss(), pred, *case), expected)


def test_terms_of_weight_zero_count_nowhere():
    pred = torch.randn(20, 3)
    target = torch.randint(0, 4, (20,))
    weight = (torch.arange(20) < 12).float()
    assert_close(
        sum_terms(FocalLoss(), pred, target, weight),
        sum_terms(FocalLoss(), pred[:12], target[:12], None),
    )


@pytest.mark.parametrize('kind', LOSSES)
def test_calls_by_level_and_over_all_levels_log_equal_numbers(kind):
    heads = [
        build_head(type=head_type, loss_cls=LOSSES[kind])
        for head_type in ('RetinaHead', 'RetinaPlusHead')
    ]
    heads[1].load_state_dict(heads[0].state_dict())
    logs = [log_of(head) for head in heads]
    assert logs[0].keys() == STATISTICS
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    assert 0 < logs[0]['positive_share'] < 1


def test_positives_are_those_that_our_head_counts():
    head = build_head()
    log = log_of(head)
    torch.manual_seed(1)
    samples = [data_sample(objects) for objects in BATCH]
    losses = head.loss(pyramid(2), samples)
    assert log['positives'] == losses['num_positive'] > 0


def test_the_transition_is_logged_by_coordinate():
    head = build_head(loss_bbox=dict(type='SelfAdjustingSmoothL1Loss'))
    log = log_of(head)
    assert log.keys() == STATISTICS | BETAS
    transition = head.loss_bbox.transition()
    assert [log[f'beta_{name}'] for name in ('dx', 'dy', 'dw', 'dh')] == (
        pytest.approx(transition.tolist())
    )


def test_half_precision_logs_nearly_the_same():
    head = build_head()
    expected = log_of(head)
    with torch.autocast('cpu', torch.bfloat16):
        assert log_of(head) == pytest.approx(expected, rel=0.02)


def test_a_step_without_objects_logs_no_positives_and_no_nan():
    log = log_of(build_head(), ((), ()))
    assert log.keys() == STATISTICS - {'p_t_positives'}
    assert log['positives'] == log['positive_share'] == 0
    assert 0 < log['p_t_negatives'] < 1


@pytest.fixture
def warnings(monkeypatch) -> list[str]:
    """What the hook writes to mmengine's log."""
    written: list[str] = []
    monkeypatch.setattr(
        'mmdet_retina_plus.hooks.loss_statistics_hook.print_log',
        lambda message, logger, level: written.append(message),
    )
    return written


def test_a_step_without_a_call_is_not_one_without_positives(warnings):
    """An object's absence and a deaf hook look alike by zeros."""
    log = logged_statistics(build_head(), lambda: None, BATCH)
    assert log == {}
    (warning,) = warnings
    assert 'compile=False, or remove the hook from default_hooks' in warning


def test_a_deaf_hook_warns_once_and_hears_again(warnings):
    head = build_head()
    hook, run = begin_statistics(head)
    for _ in range(3):
        hook.before_train_iter(run, 0)
        hook.after_train_iter(run, 0, dict(data_samples=BATCH))
    assert len(warnings) == 1
    hook.before_train_iter(run, 0)
    head.loss_cls(torch.randn(2, 3), torch.tensor([0, 3]))
    hook.after_train_iter(run, 0, dict(data_samples=BATCH))
    assert logged_values(run)['positives'] == 0.5


def test_the_calls_of_another_process_are_enough(warnings, monkeypatch):
    """This one's head may have had nothing to classify."""
    head = build_head()
    pred, target = torch.randn(20, 3), torch.randint(0, 3, (20,))
    expected = logged_statistics(
        head, lambda: head.loss_cls(pred, target), BATCH
    )
    hook, run = begin_statistics(head)
    hook.before_train_iter(run, 0)
    head.loss_cls(pred, target)
    (other,) = hook.calls
    hook.calls = []
    monkeypatch.setattr(
        'mmdet_retina_plus.hooks.loss_statistics_hook.all_reduce',
        lambda values: values[: len(other)].add_(other),
    )
    hook.after_train_iter(run, 0, dict(data_samples=BATCH))
    assert not warnings
    assert logged_values(run) == expected


@pytest.mark.parametrize('again', ['before_train', 'before_train_iter'])
def test_after_a_step_that_raised_no_call_counts_double(again, heard):
    head = build_head()
    pred, target = torch.randn(20, 3), torch.randint(0, 3, (20,))
    expected = logged_statistics(
        head, lambda: head.loss_cls(pred, target), BATCH
    )
    hook, run = begin_statistics(head)
    hook.before_train_iter(run, 0)
    head.loss_cls(pred, target)
    # No after_train_iter, since the backward pass ran out of memory.
    heard.clear()
    if again == 'before_train':
        hook.before_train(run)
        head.loss_cls(pred, target)
        assert not heard
    hook.before_train_iter(run, 0)
    head.loss_cls(pred, target)
    hook.after_train_iter(run, 0, dict(data_samples=BATCH))
    assert logged_values(run) == expected
    head.loss_cls(pred, target)
    assert len(heard) == 1


@pytest.mark.parametrize('end', ['after_train', 'after_run'])
def test_nothing_listens_after_the_end(end, heard):
    head = build_head()
    pred, target = torch.randn(2, 3), torch.tensor([0, 3])
    hook, run = begin_statistics(head)
    hook.before_train_iter(run, 0)
    head.loss_cls(pred, target)
    getattr(hook, end)(run)
    head.loss_cls(pred, target)
    assert len(heard) == 1


def test_calls_between_steps_are_not_kept():
    """torch.compile may go on calling a hook that is removed."""
    head = build_head()
    hook, _ = begin_statistics(head)
    hook.observe(head.loss_cls, torch.randn(2, 3), torch.tensor([0, 3]), None)
    assert not hook.calls


def test_targets_scaled_by_iou_are_refused_when_they_come():
    """As of YOLOX, whose loss is a plain cross entropy."""
    head = nn.Module()
    head.loss_cls = MODELS.build(LOSSES['sigmoids'])
    target = F.one_hot(torch.tensor([0, 2, 1]), 3) * 0.7
    with pytest.raises(ValueError, match='3 targets of loss_cls'):
        logged_statistics(
            head, lambda: head.loss_cls(torch.randn(3, 3), target), BATCH
        )


@pytest.mark.parametrize('weight', ['(N,)', '(N, 1)', '(N, C)', '(N * C,)'])
def test_soft_targets_of_weight_zero_are_none(weight):
    target = torch.tensor([[0.5, 1], [0, 0.2], [-1, 0]])
    weights = torch.tensor([1.0, 0, 2])
    shapes = {
        '(N,)': weights,
        '(N, 1)': weights[:, None],
        '(N, C)': weights[:, None].expand(3, 2),
        '(N * C,)': weights.repeat_interleave(2),
    }
    assert count_soft(target, shapes[weight]) == 2
    assert count_soft(target, None) == 3


def test_one_hot_targets_and_labels_are_not_soft():
    labels = torch.tensor([0, 3, 2])
    assert count_soft(labels, None) == 0
    assert count_soft(F.one_hot(labels).float(), None) == 0
    assert count_soft(torch.zeros(0, 3), torch.zeros(0)) == 0


def test_a_call_by_which_the_head_only_weighs_anchors_is_left_out():
    head = build_head()
    pred, target = torch.randn(20, 3), torch.randint(0, 4, (20,))

    def step(*reductions: str | None) -> None:
        for reduction in reductions:
            head.loss_cls(pred, target, reduction_override=reduction)

    assert logged_statistics(head, lambda: step(None), BATCH) == (
        logged_statistics(head, lambda: step('none', None, 'none'), BATCH)
    )


@pytest.mark.parametrize('name', sorted(STATISTICS | BETAS))
def test_mmengine_logs_the_last_value_and_no_mean(name):
    """Its window would be of values, which lie an interval apart."""
    hub = SimpleNamespace(
        log_scalars={f'train/{name}': HistoryBuffer([1.0, 2.0], [1, 1])}
    )
    tags = LogProcessor()._collect_scalars(
        [], SimpleNamespace(message_hub=hub), 'train'
    )
    assert tags == {name: 2.0}


@pytest.mark.parametrize(
    ('options', 'length', 'expected'),
    [
        (dict(interval=4), 10, [3, 7]),
        (dict(interval=4, ignore_last=False), 10, [3, 7, 9]),
        (dict(interval=50), 10, [9]),
    ],
)
def test_by_default_it_looks_when_the_logger_writes(options, length, expected):
    hook = LossStatisticsHook()
    hook.logger = LoggerHook(**options)
    run = SimpleNamespace(train_dataloader=range(length))
    due = [index for index in range(length) if hook.is_due(run, index)]
    assert due == expected


def test_an_interval_counts_iterations_of_the_whole_training():
    hook = LossStatisticsHook(interval=7)
    due = [
        step
        for step in range(20)
        if hook.is_due(SimpleNamespace(iter=step), 0)
    ]
    assert due == [6, 13]


@pytest.mark.parametrize('interval', [0, -5, '10', 2.5, True])
def test_an_impossible_interval_is_refused(interval):
    with pytest.raises(ValueError, match='None'):
        LossStatisticsHook(interval)


OTHERS = {
    'soft targets': dict(type='QualityFocalLoss'),
    'probabilities': dict(type='FocalLoss', activated=True),
    'a state': dict(type='GHMC'),
    'no own terms': dict(type='L1Loss'),
}


@pytest.mark.parametrize('loss_cls', OTHERS.values(), ids=OTHERS)
def test_an_unknown_loss_is_refused_before_training(loss_cls):
    head = nn.Module()
    head.loss_cls = MODELS.build(loss_cls)
    run = SimpleNamespace(
        model=SimpleNamespace(bbox_head=head), hooks=[LoggerHook()]
    )
    with pytest.raises(ValueError, match='remove the hook from default_hooks'):
        LossStatisticsHook().before_train(run)


def test_a_model_without_a_box_head_is_refused_before_training():
    run = SimpleNamespace(model=nn.Linear(1, 1), hooks=[LoggerHook()])
    with pytest.raises(ValueError, match='Linear has no bbox_head'):
        LossStatisticsHook().before_train(run)


def test_without_a_logger_an_interval_is_asked_for():
    run = SimpleNamespace(
        model=SimpleNamespace(bbox_head=build_head()), hooks=[]
    )
    LossStatisticsHook(interval=1).before_train(run)
    with pytest.raises(ValueError, match='`interval`'):
        LossStatisticsHook().before_train(run)


def log_of_one_image(rank: int) -> dict[str, float]:
    """Two objects for rank 0, an empty image for rank 1."""
    torch.manual_seed(0)
    head = build_head()
    torch.manual_seed(1)
    features = [level[rank : rank + 1] for level in pyramid(2)]
    objects = () if rank else HEAD_OBJECTS
    return logged_statistics(
        head,
        lambda: head.loss(features, [data_sample(objects)]),
        [objects],
    )


def test_two_processes_log_what_one_does_of_all_images(tmp_path):
    ranks = in_two_processes(tmp_path, log_of_one_image)
    assert ranks[0] == ranks[1]
    torch.manual_seed(0)
    head = build_head()
    assert log_of(head, (HEAD_OBJECTS, ())) == pytest.approx(
        ranks[0], rel=1e-6
    )


@pytest.fixture
def config(tmp_path) -> Config:
    """The CPU config on ten images, eight steps in four accumulations."""
    make_shapes(tmp_path / 'shapes', num=10, num_val=1, size=128)
    config = Config.fromfile(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes')
    )
    data = config.train_dataloader
    data.dataset.data_root = str(tmp_path / 'shapes')
    data.batch_size = 2
    for transform in data.dataset.pipeline:
        if transform.type == 'Resize':
            transform.scale = (64, 64)
    config.train_cfg = dict(type='IterBasedTrainLoop', max_iters=8)
    for loop in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config.pop(f'{loop}_{part}')
    config.model.bbox_head.loss_bbox = dict(type='SelfAdjustingSmoothL1Loss')
    config.default_hooks.logger.interval = 4
    config.optim_wrapper.accumulative_counts = 2
    return config


def train(config: Config, folder: Path, hooks: dict) -> Runner:
    config = Config(config.to_dict())
    config.default_hooks.update(hooks)
    config.work_dir = str(folder)
    # mmengine keeps what has a name, so that a second run would share it.
    config.experiment_name = str(folder).replace('/', '_')
    config.visualizer.name = config.experiment_name
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def test_a_training_with_and_without_it(config, tmp_path, heard):
    hooks = dict(loss_statistics=dict(type='LossStatisticsHook'))
    watched = train(config, tmp_path / 'watched', hooks)
    alone = train(config, tmp_path / 'alone', {})

    # Weights and running statistics are equal bit by bit.
    expected = alone.model.state_dict()
    for name, value in watched.model.state_dict().items():
        assert torch.equal(value, expected[name]), name

    # Every value is in scalars.json of the steps that are logged.
    (file,) = (tmp_path / 'watched').glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line['step'] for line in lines] == [4, 8]
    for line in lines:
        assert line.keys() >= STATISTICS | BETAS
        assert line['positives'] > 0
        for name in STATISTICS - {'positives'}:
            assert 0 < line[name] < 1
        for name in BETAS:
            assert 1e-3 <= line[name] <= 0.11

    # One value a line, and nothing listens any more.
    history = watched.message_hub.get_scalar('train/positives')
    assert len(history.data[0]) == 2
    assert heard
    heard.clear()
    watched.model.bbox_head.loss_cls(torch.randn(2, 4), torch.tensor([0, 4]))
    assert not heard
