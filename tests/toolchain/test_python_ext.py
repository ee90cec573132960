"""Operators in Python: what mmcv's compiled ones compute, or a clear error."""

import copy
import runpy
import sys

import mmcv.ops
import pytest
import torch
from mmcv import _ext
from mmdet.models.detectors import BaseDetector
from torch.testing import assert_close

from mmdet_retina_plus.toolchain import python_ext
from tests.helpers.mask_scenes import build_retinamask
from tests.helpers.models import roi_head_config
from tests.helpers.samples import HEAD_OBJECTS, data_sample
from tests.helpers.shipped_configs import build_detector, load

pytestmark = pytest.mark.skipif(
    hasattr(_ext, 'BACKEND'),
    reason='the operators of this environment are those in Python',
)


@pytest.fixture(params=sorted({'torch', python_ext.find_backend()}))
def use_python(request, monkeypatch):
    """Put the operators in Python in the place of the compiled ones."""
    monkeypatch.setattr(python_ext, 'find_backend', lambda: request.param)

    def use() -> None:
        for name in ('nms', 'roi_align'):
            module = sys.modules[f'mmcv.ops.{name}']
            monkeypatch.setattr(module, 'ext_module', python_ext)

    return use


def both(use_python, function):
    """What the function returns with either kind of operators."""
    expected = function()
    use_python()
    return function(), expected


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('iou_threshold', [0.1, 0.5, 0.9])
@pytest.mark.parametrize('count', [0, 1, 40, 1500])
def test_nms_keeps_the_same_boxes(use_python, count, iou_threshold, offset):
    corner = torch.rand(count, 2) * 100
    boxes = torch.cat([corner, corner + torch.rand(count, 2) * 40], dim=1)
    # Duplicates, and a box without area.
    boxes[count // 2 :][:5] = boxes[:1]
    boxes[5:6, 2:] = boxes[5:6, :2]
    # Without ties, which mmcv sorts in no certain order.
    scores = torch.randperm(count) / 2000
    (_, ours), (_, theirs) = both(
        use_python, lambda: mmcv.ops.nms(boxes, scores, iou_threshold, offset)
    )
    assert ours.tolist() == theirs.tolist()


@pytest.mark.parametrize('method', ['naive', 'linear', 'gaussian'])
@pytest.mark.parametrize('count', [0, 1, 200])
@pytest.mark.parametrize('offset', [0, 1])
def test_soft_nms_lowers_the_same_scores(use_python, count, method, offset):
    corner = torch.rand(count, 2) * 60
    boxes = torch.cat([corner, corner + torch.rand(count, 2) * 40 + 1], dim=1)
    scores = (torch.randperm(count) + 1) / 201

    def run():
        return mmcv.ops.soft_nms(boxes, scores, 0.4, 0.5, 0.02, method, offset)

    (ours, our_kept), (theirs, their_kept) = both(use_python, run)
    assert our_kept.tolist() == their_kept.tolist()
    assert_close(ours, theirs)


def test_a_chain_of_suppressions_crosses_chunks(use_python):
    """Each box suppresses the next one, so that every other one stays."""
    x = torch.arange(1200.0)[:, None] * 3
    boxes = torch.cat([x, x * 0, x + 10, x * 0 + 10], dim=1)
    scores = torch.linspace(1, 0, 1200)
    (_, ours), (_, theirs) = both(
        use_python, lambda: mmcv.ops.nms(boxes, scores, 0.5)
    )
    assert ours.tolist() == theirs.tolist() == list(range(0, 1200, 2))


ROIS = torch.tensor(
    [
        [0, 4, 4, 36, 60],
        [1, -30, -20, 20, 90],  # beyond every border
        [1, 10.3, 20.7, 11.1, 21.2],  # less than a cell
        [0, 0, 0, 64, 64],
        [0, 30, 30, 30, 50],  # without area
        [1, 200, 200, 260, 230],  # elsewhere
    ]
)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('sampling_ratio', [0, 2])
@pytest.mark.parametrize('output_size', [(7, 7), (14, 5)])
def test_roi_align_pools_the_same_values_and_gradients(
    use_python, output_size, sampling_ratio, aligned, dtype
):
    features = torch.randn(2, 3, 32, 40, dtype=dtype, requires_grad=True)
    weights = torch.randn(len(ROIS), 3, *output_size, dtype=dtype)

    def step():
        pooled = mmcv.ops.roi_align(
            *(features, ROIS.to(dtype), output_size, 0.5),
            *(sampling_ratio, 'avg', aligned),
        )
        loss = (pooled * weights).sum()
        return pooled, *torch.autograd.grad(loss, features)

    assert_close(*both(use_python, step), rtol=1e-5, atol=1e-5)


def test_roi_align_of_no_rois_is_empty(use_python):
    features = torch.randn(2, 3, 32, 40, requires_grad=True)
    use_python()
    pooled = mmcv.ops.roi_align(features, torch.zeros(0, 5), (7, 7))
    pooled.sum().backward()
    assert pooled.shape == (0, 3, 7, 7)
    assert not features.grad.any()


def demo() -> BaseDetector:
    """What `make demo` trains, where it finds something in noise."""
    model = build_detector(load('retinamask_r18_fpn_shapes-demo')).eval()
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.5)
    return model


@pytest.mark.parametrize(
    'build',
    [lambda: build_retinamask(roi_head_config()), demo],
    ids=['narrow', 'demo'],
)
def test_retinamask_trains_and_predicts_the_same(use_python, build):
    model = build()
    images = torch.randn(2, 3, 64, 64)
    samples = [data_sample(HEAD_OBJECTS), data_sample()]

    def step():
        model.zero_grad()
        torch.manual_seed(0)
        losses = model.loss(images, copy.deepcopy(samples))
        total, _ = model.parse_losses(losses)
        total.backward()
        gradients = [x.grad for x in model.parameters() if x.grad is not None]
        with torch.no_grad():
            (first, second) = model.predict(images, copy.deepcopy(samples))
        found = [x.pred_instances for x in (first, second)]
        assert sum(map(len, found))
        boxes = [x.bboxes for x in found]
        masks = [x.masks.float() for x in found]
        return total, gradients, boxes, masks

    assert_close(*both(use_python, step), rtol=1e-4, atol=1e-5)


def test_another_operator_raises_with_its_name_and_the_fix(monkeypatch):
    module = sys.modules['mmcv.ops.nms']
    monkeypatch.setattr(module, 'ext_module', python_ext)
    with pytest.raises(NotImplementedError, match=r'nms_match.*build-mmcv'):
        mmcv.ops.nms_match(torch.ones(1, 5), 0.5)
    monkeypatch.setattr(
        sys.modules['mmcv.ops.roi_align'], 'ext_module', python_ext
    )
    with pytest.raises(NotImplementedError, match="pool_mode='max'"):
        mmcv.ops.roi_align(torch.ones(1, 1, 8, 8), ROIS[:1], 7, 1.0, 0, 'max')


def test_import_leaves_the_gpus_alone(monkeypatch):
    """A process of several GPUs imports mmcv before it chooses its own."""
    asked = []
    monkeypatch.setattr(
        torch.cuda, 'is_available', lambda: asked.append('cuda') or False
    )
    module = runpy.run_path(python_ext.__file__)
    assert not asked
    assert module['__getattr__']('BACKEND') == python_ext.BACKEND
    assert asked


def test_mmcv_finds_every_operator_that_it_asks_for():
    """mmcv asserts at import that the operators exist."""
    operators = {name for name in dir(_ext) if not name.startswith('_')}
    assert all(hasattr(python_ext, name) for name in operators)
    assert not hasattr(python_ext, '__path__')
