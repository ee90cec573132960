"""The check of the operators passes here, and sees wrong ones."""

import mmcv.ops
import pytest
import torch
from mmcv.ops import roi_align as mmcv_roi_align

from mmdet_retina_plus.toolchain import proof


def test_the_operators_here_work(capsys):
    proof.main()
    assert f'torch {torch.__version__}' in capsys.readouterr().out


def test_wrong_indices_of_nms_are_seen(monkeypatch):
    right = mmcv.ops.nms
    monkeypatch.setattr(
        mmcv.ops,
        'nms',
        lambda boxes, scores, iou: right(boxes, scores, iou + 0.1),
    )
    with pytest.raises(AssertionError):
        proof.check_nms('cpu')


def test_a_wrong_score_of_soft_nms_is_seen(monkeypatch):
    right = mmcv.ops.soft_nms

    def wrong(*arguments, sigma, method):
        return right(*arguments, sigma=2 * sigma, method=method)

    monkeypatch.setattr(mmcv.ops, 'soft_nms', wrong)
    with pytest.raises(AssertionError):
        proof.check_soft_nms()


def one_image(features, rois, *options):
    """RoIs of the second image read the first."""
    first = torch.cat([torch.zeros(len(rois), 1), rois[:, 1:]], dim=1)
    return mmcv_roi_align(features, first, *options)


@pytest.mark.parametrize(
    'wrong',
    [
        lambda *x: mmcv_roi_align(*x) * 1.01,
        lambda *x: mmcv_roi_align(*x).flip(-1),
        one_image,
    ],
)
def test_wrong_values_of_roi_align_are_seen(monkeypatch, wrong):
    monkeypatch.setattr(mmcv.ops, 'roi_align', wrong)
    with pytest.raises(AssertionError):
        proof.check_roi_align('cpu')


def test_a_wrong_gradient_of_roi_align_is_seen(monkeypatch):
    right = mmcv.ops.roi_align

    def wrong(*arguments):
        pooled = right(*arguments)
        return 2 * pooled - pooled.detach()

    monkeypatch.setattr(mmcv.ops, 'roi_align', wrong)
    with pytest.raises(AssertionError):
        proof.check_roi_align('cpu')
