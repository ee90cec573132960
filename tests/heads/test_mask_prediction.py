"""How RetinaMask predicts: which boxes get masks, and how they are pasted."""

import copy
import json
from unittest.mock import Mock

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import DetInferencer
from mmdet.evaluation import CocoMetric
from mmengine.config import Config
from pycocotools import mask as rle_tools
from torch.testing import assert_close

import mmdet_retina_plus
from benchmarks.harness import peak_bytes
from mmdet_retina_plus.heads import mask_roi_head
from mmdet_retina_plus.synthetic.coco_writer import encode_mask
from tests.helpers.mask_scenes import (
    Spy,
    build_retinamask,
    build_roi_head,
    detections,
    mask_sample,
    rasterise,
    rectangle,
)
from tests.helpers.models import roi_head_config
from tests.helpers.samples import pyramid

SHAPE = (96, 128)
SCALE = (1.6, 1.5)
"""Across and down, from an original image of (64, 80) pixels."""
META = dict(ori_shape=(64, 80), scale_factor=SCALE)


def scaled_sample():
    sample = mask_sample(shape=SHAPE)
    sample.set_metainfo(META)
    return sample


def spread_boxes(count: int, side: float = 10.0) -> torch.Tensor:
    """Boxes (x1, y1, x2, y2) side by side, 8 in a row."""
    place = torch.arange(count)
    corner = torch.stack([place % 8, place // 8], dim=1) * (side + 2.0)
    return torch.cat([corner, corner + side], dim=1)


def logits_for(count: int, classes: int = 3) -> torch.Tensor:
    return torch.randn(count, classes, 28, 28)


def predict(head, found, samples=None, rescale=False, features=None):
    if samples is None:
        samples = [scaled_sample() for _ in found]
    if features is None:
        features = pyramid(len(found), shape=SHAPE)
    return head.predict(features, found, samples, rescale=rescale)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    return build_retinamask(roi_head_config()).eval()


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('with_mask', [False, True])
def test_detections_are_those_of_the_detector_without_masks(
    model, rescale, with_mask
):
    plain = build_retinamask().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    images = torch.randn(2, 3, *SHAPE)
    results = []
    model.roi_head.test_cfg.with_mask = with_mask
    for detector in (plain, model):
        samples = [scaled_sample(), scaled_sample()]
        results.append(detector.predict(images, samples, rescale=rescale))
    model.roi_head.test_cfg.with_mask = True
    for expected, sample in zip(*results, strict=True):
        ours, theirs = sample.pred_instances, expected.pred_instances
        assert len(ours) == len(theirs) == 100
        assert ours.scores.unique().numel() > 50
        for name in ('bboxes', 'scores', 'labels'):
            assert_close(ours[name], theirs[name])
        assert ('masks' in ours) == with_mask


@pytest.mark.parametrize('rescale', [False, True])
def test_without_masks_it_is_a_retinanet(model, rescale):
    """To the bit, also where boxes are sorted out by their size."""
    detector = copy.deepcopy(model)
    plain = build_retinamask().eval()
    plain.load_state_dict(model.state_dict(), strict=False)
    plain.bbox_head.test_cfg.min_bbox_size = 20
    detector.bbox_head.test_cfg.min_bbox_size = 20
    detector.roi_head.test_cfg.with_mask = False
    detector.roi_head.forward = detector.roi_head.predict = Mock()
    images = torch.randn(1, 3, *SHAPE)
    [ours], [theirs] = (
        each.predict(images, [scaled_sample()], rescale)
        for each in (detector, plain)
    )
    detector.roi_head.predict.assert_not_called()
    results = ours.pred_instances
    assert set(results.keys()) == {'bboxes', 'labels', 'scores'}
    for name, value in results.items():
        assert torch.equal(value, theirs.pred_instances[name])


def test_masks_can_be_left_out_of_one_prediction(model):
    """Equal to leaving them out by the config, which stays as it is."""
    images = torch.randn(1, 3, *SHAPE)
    [argument] = model.predict(images, [scaled_sample()], with_mask=False)
    assert model.roi_head.test_cfg.with_mask
    detector = copy.deepcopy(model)
    detector.roi_head.test_cfg.with_mask = False
    [config] = detector.predict(images, [scaled_sample()], with_mask=True)
    for name in ('bboxes', 'labels', 'scores'):
        assert torch.equal(
            argument.pred_instances[name], config.pred_instances[name]
        )
    assert 'masks' not in argument.pred_instances
    assert 'masks' not in config.pred_instances


def test_a_config_for_tests_alone_needs_no_train_cfg():
    config = roi_head_config()
    config.train_cfg = None
    model = build_retinamask(config, train_cfg=None).eval()
    [sample] = model.predict(torch.randn(1, 3, *SHAPE), [scaled_sample()])
    assert sample.pred_instances.masks.shape == (100, 64, 80)


@pytest.mark.parametrize('count', [0, 3, 50, 60])
@pytest.mark.parametrize('keep', [True, False])
@pytest.mark.parametrize('max_masks', [50, 0])
def test_the_first_detections_have_masks(count, keep, max_masks):
    head = build_roi_head(
        test_cfg=dict(keep_all_boxes=keep, max_masks=max_masks)
    )
    torch.nn.init.constant_(head.mask_head.conv_logits.bias, 5.0)
    spy = Spy(head)
    found = detections(spread_boxes(count))
    [result] = predict(head, [copy.deepcopy(found)])
    masks = min(count, max_masks)
    assert len(spy.rois[0]) == masks
    assert len(result) == (count if keep else masks)
    shown = result.masks.flatten(1).any(dim=1)
    assert shown.tolist() == [True] * masks + [False] * (len(result) - masks)
    assert_close(result.mask_scores[:masks], found.scores[:masks])
    assert not result.mask_scores[masks:].any()
    assert_close(result.scores, found.scores[: len(result)])
    assert_close(result.bboxes, found.bboxes[: len(result)])


@pytest.mark.parametrize(
    ('rescale', 'shape'), [(True, (64, 80)), (False, (96, 128))]
)
@pytest.mark.parametrize('counts', [(0, 0), (0, 2), (3, 0)])
def test_masks_have_the_images_size_also_without_detections(
    rescale, shape, counts
):
    head = build_roi_head()
    found = [detections(spread_boxes(count)) for count in counts]
    results = predict(head, found, rescale=rescale)
    for result, count in zip(results, counts, strict=True):
        assert result.masks.shape == (count, *shape)
        assert result.masks.dtype == torch.bool
        assert result.mask_scores.shape == (count,)


def test_each_image_has_its_own_size():
    head = build_roi_head()
    samples = [scaled_sample(), mask_sample(shape=SHAPE)]
    found = [detections(spread_boxes(2)), detections(spread_boxes(3))]
    first, second = predict(head, found, samples, rescale=True)
    assert first.masks.shape == (2, 64, 80)
    assert second.masks.shape == (3, *SHAPE)
    assert_close(second.bboxes, spread_boxes(3))
    assert_close(
        first.bboxes, spread_boxes(2) / torch.tensor([*SCALE, *SCALE])
    )


def test_rescaled_masks_lie_in_rescaled_boxes():
    head = build_roi_head()
    torch.nn.init.constant_(head.mask_head.conv_logits.bias, 50.0)
    box = (16.0, 30.0, 80.0, 75.0)
    [result] = predict(head, [detections([box])], rescale=True)
    expected = torch.zeros(64, 80, dtype=torch.bool)
    expected[20:50, 10:50] = True
    assert_close(result.bboxes, torch.tensor([[10.0, 20, 50, 50]]))
    assert torch.equal(result.masks[0], expected)


def test_a_mask_is_the_predicted_labels():
    head = build_roi_head()
    logits = torch.full((3, 3, 28, 28), -5.0)
    logits[range(3), [2, 0, 1]] = 5.0
    found = detections(spread_boxes(3), labels=[2, 0, 0])
    result = head.paste(logits, found, META, rescale=False)
    assert result.masks.flatten(1).any(dim=1).tolist() == [True, True, False]


def test_a_class_agnostic_mask_is_every_labels():
    head = build_roi_head(mask_head=dict(class_agnostic=True))
    logits = torch.full((3, 1, 28, 28), 5.0)
    found = detections(spread_boxes(3), labels=[2, 0, 1])
    result = head.paste(logits, found, META, rescale=False)
    assert result.masks.flatten(1).any(dim=1).all()
    [result] = predict(head, [detections(spread_boxes(3), labels=[2, 0, 1])])
    assert len(result.masks) == 3


@pytest.mark.parametrize(
    ('probability', 'threshold', 'shown'),
    [(0.49, 0.5, False), (0.5, 0.5, True), (0.51, 0.5, True), (0.6, 0.7, 0)],
)
def test_a_pixel_belongs_to_the_mask_from_the_threshold_on(
    probability, threshold, shown
):
    head = build_roi_head(test_cfg=dict(mask_thr_binary=threshold))
    logits = torch.full((1, 3, 28, 28), probability).logit()
    found = detections([(8.0, 8, 40, 40)])
    result = head.paste(logits, found, META, rescale=False)
    assert result.masks[0, 16:32, 16:32].all() == shown
    assert result.masks.any() == shown


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('pixels', [1, 64 * 80 * 2, 10**9])
@pytest.mark.parametrize('agnostic', [False, True])
def test_pasting_equals_mmdets_in_chunks_of_any_size(
    monkeypatch, rescale, pixels, agnostic
):
    monkeypatch.setattr(mask_roi_head, 'PASTED_PIXELS', pixels)
    head = build_roi_head(mask_head=dict(class_agnostic=agnostic))
    corner = torch.rand(7, 2) * torch.tensor([120.0, 90.0])
    boxes = torch.cat([corner - 4, corner + torch.rand(7, 2) * 60 + 1], dim=1)
    found = detections(boxes, labels=[0, 1, 2, 0, 1, 2, 0])
    logits = logits_for(7, 1 if agnostic else 3)
    [expected] = head.mask_head.predict_by_feat(
        (logits,),
        [copy.deepcopy(found)],
        [META],
        Config(dict(mask_thr_binary=0.5)),
        rescale=rescale,
    )
    result = head.paste(logits, found, META, rescale)
    assert expected.masks.any()
    assert torch.equal(result.masks, expected.masks)
    assert_close(result.bboxes, expected.bboxes)


def test_a_negative_threshold_leaves_probabilities():
    head = build_roi_head(test_cfg=dict(mask_thr_binary=-1))
    boxes = torch.tensor([[10.0, 10, 60, 60]])
    logits = torch.zeros(1, 3, 28, 28)
    result = head.paste(logits, detections(boxes), META, rescale=False)
    assert result.masks.dtype == torch.uint8
    assert result.masks[0, 35, 35] == 127


def test_sides_are_rounded_as_mmdet_does():
    """15 px times 1.1 is 17 in single precision and 16 in double."""
    head = build_roi_head()
    meta = dict(ori_shape=(15, 15), scale_factor=(1.1, 1.1))
    boxes = torch.tensor([[1.0, 1, 12, 12]])
    result = head.paste(logits_for(1), detections(boxes), meta, rescale=False)
    assert result.masks.shape == (1, 17, 17)


INVISIBLE = {
    'no width': (10.0, 10, 10, 40),
    'no width at a pixel centre': (10.5, 10, 10.5, 40),
    'no height': (10.0, 20, 40, 20),
    'a point in the corner': (0.0, 0, 0, 0),
    'left': (-50.0, 10, -5, 40),
    'above': (10.0, -50, 40, -5),
    'right': (200.0, 10, 250, 40),
    'below': (10.0, 200, 40, 250),
    'touching': (128.0, 10, 140, 40),
    'turned': (40.0, 40, 10, 10),
    'no number': (float('nan'), 10, 40, 40),
}


@pytest.mark.parametrize('rescale', [False, True])
@pytest.mark.parametrize('box', INVISIBLE.values(), ids=INVISIBLE)
def test_boxes_without_area_in_the_image_have_empty_masks(box, rescale):
    head = build_roi_head()
    seen = (8.0, 8, 40, 40)
    logits = torch.full((3, 3, 28, 28), 5.0)
    found = detections([seen, box, seen])
    result = head.paste(logits, found, META, rescale)
    assert result.masks.flatten(1).any(dim=1).tolist() == [True, False, True]
    assert torch.equal(result.masks[0], result.masks[2])
    assert_close(result.mask_scores, result.scores)
    # Alone, nothing at all is pasted.
    alone = head.paste(logits[:1], detections([box]), META, rescale)
    assert not alone.masks.any()


def test_boxes_across_the_border_are_cut():
    head = build_roi_head()
    found = detections([(-20.0, -20, 20, 20), (100.0, 80, 148, 112)])
    logits = torch.full((2, 3, 28, 28), 50.0)
    result = head.paste(logits, found, META, rescale=False)
    expected = torch.zeros(2, *SHAPE, dtype=torch.bool)
    expected[0, :20, :20] = True
    expected[1, 80:, 100:] = True
    assert torch.equal(result.masks, expected)


@pytest.mark.parametrize('rescale', [False, True])
def test_large_images_take_little_more_than_their_masks(rescale):
    """Float masks of all twelve would take 36 bytes for each pixel."""
    height, width = 4000, 6000
    head = build_roi_head()
    boxes = torch.tensor([[0.0, 0, width, height]] + [[9.0, 9, 99, 99]] * 11)
    logits = logits_for(12)
    meta = dict(ori_shape=(height, width), scale_factor=(1.0, 1.0))
    result = peak_bytes(
        lambda: head.paste(logits, detections(boxes), meta, rescale),
        torch.device('cpu'),
    )
    pixels = height * width
    assert result < 12 * pixels + 20 * max(mask_roi_head.PASTED_PIXELS, pixels)


def evaluate(head) -> dict[str, float]:
    """COCO's AP of an image without objects and one with 60, all perfect."""
    metric = CocoMetric(metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=('a', 'b', 'c'))
    meta = dict(ori_shape=(100, 100), scale_factor=(1.0, 1.0))
    for image, boxes in enumerate([spread_boxes(0), spread_boxes(60)]):
        count = min(len(boxes), head.test_cfg.max_masks)
        result = head.paste(
            torch.full((count, 3, 28, 28), 50.0),
            detections(boxes),
            meta,
            rescale=True,
        )
        masks = [
            encode_mask(rasterise([rectangle(box)], meta['ori_shape']))
            for box in boxes.tolist()
        ]
        objects = [
            dict(bbox=box, bbox_label=0, mask=mask['segmentation'])
            for box, mask in zip(boxes.tolist(), masks, strict=True)
        ]
        sample = dict(pred_instances=result, instances=objects, img_id=image)
        metric.process({}, [dict(sample, **meta)])
    return metric.evaluate(size=2)


def test_keeping_all_boxes_raises_box_ap_and_leaves_mask_ap():
    """The first image has no detection, which must not switch off segm."""
    kept, dropped = (
        evaluate(build_roi_head(test_cfg=dict(keep_all_boxes=keep)))
        for keep in (True, False)
    )
    assert kept['coco/segm_mAP'] == dropped['coco/segm_mAP']
    assert kept['coco/segm_mAP'] == pytest.approx(50 / 60, abs=0.01)
    assert dropped['coco/bbox_mAP'] == pytest.approx(50 / 60, abs=0.01)
    assert kept['coco/bbox_mAP'] == 1.0


def test_the_inferencer_draws_masks_and_saves_them_as_rle(tmp_path):
    config = mmdet_retina_plus.config('retinamask_r18_fpn_shapes')
    inferencer = DetInferencer(str(config), palette='random')
    model = inferencer.model
    # Six boxes, of which three have masks that fill them.
    torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    torch.nn.init.constant_(model.roi_head.mask_head.conv_logits.bias, 50.0)
    model.bbox_head.test_cfg.update(
        max_per_img=6, nms=dict(type='nms', iou_threshold=0.05)
    )
    model.roi_head.test_cfg.max_masks = 3
    path = tmp_path / 'scene.png'
    rng = np.random.default_rng(0)
    cv2.imwrite(str(path), rng.integers(255, size=(90, 160, 3)))
    [result] = inferencer(
        str(path),
        out_dir=str(tmp_path),
        no_save_pred=False,
        pred_score_thr=0.0,
    )['predictions']
    areas = [rle_tools.area(mask) for mask in result['masks']]
    assert [mask['size'] for mask in result['masks']] == [[90, 160]] * 6
    assert min(areas[:3]) > 0 and areas[3:] == [0, 0, 0]
    assert json.loads((tmp_path / 'preds' / 'scene.json').read_text()) == (
        result
    )
    drawn = cv2.imread(str(tmp_path / 'vis' / 'scene.png'))
    assert drawn.shape == (90, 160, 3)
    assert (drawn != cv2.imread(str(path))).any()
    # Nothing found is drawn as well.
    torch.nn.init.constant_(model.bbox_head.retina_cls.bias, -1e4)
    nothing = str(tmp_path / 'nothing')
    [result] = inferencer(str(path), out_dir=nothing)['predictions']
    assert result['masks'] == []
