"""Views of figures that a detector sees, where they must end up."""

import copy
import math

import numpy as np
import pytest
import torch
from mmdet.datasets.transforms import PackDetInputs, Pad
from mmdet.models import DetTTAModel, FCNMaskHead
from mmdet.registry import MODELS
from mmengine.config import Config, ConfigDict
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn
from torch.testing import assert_close

import mmdet_retina_plus
from mmdet_retina_plus.fusion import MaskTTAModel
from mmdet_retina_plus.fusion.mask_tta import NEEDED_KEYS
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.fusion.tta_views import PLAIN, batch_of, flip, picture, results_of
from tests.helpers.models import detector_config, roi_head_config
from tests.helpers.shipped_configs import load

DIRECTIONS = ('horizontal', 'vertical', 'diagonal')
SCALES = {'half': (70, 60), 'same': (140, 120), 'uneven': (301, 277)}
"""Width and height that a view fits into."""


class SeeingBackbone(nn.Module):
    """One level of stride 1: the image."""

    def forward(self, images):
        return (images[:, :1] / 255,)


class SeeingBoxHead(nn.Module):
    """Boxes around what is bright and, less sure, around its centre."""

    num_classes = 1

    def __init__(self, **kwargs):
        super().__init__()

    def predict(self, x, batch_data_samples, rescale):
        boxes = [self.boxes_of(image) for image in x[0][:, 0]]
        if rescale:
            for box, sample in zip(boxes, batch_data_samples, strict=True):
                box /= box.new_tensor(sample.scale_factor).repeat(2)
        return [
            InstanceData(
                bboxes=box,
                scores=box.new_tensor([0.9, 0.6])[: len(box)],
                labels=torch.zeros(len(box), dtype=torch.long),
            )
            for box in boxes
        ]

    def boxes_of(self, image):
        y, x = torch.where(image > 0.05)
        if not len(x):
            return torch.zeros(0, 4)
        low, high = torch.stack([x, y]).aminmax(dim=1)
        whole = torch.cat([low, high + 1]).float()
        quarter = (high + 1 - low).float() / 4
        return torch.stack([whole, whole + torch.cat([quarter, -quarter])])


class SeeingMaskHead(FCNMaskHead):
    """Brightness is probability."""

    def forward(self, x):
        return x.logit(eps=1e-4)


SEEING = (SeeingBackbone, SeeingBoxHead, SeeingMaskHead)


@pytest.fixture
def seeing():
    """Builds a MaskTTAModel of a detector that reads figures off images."""
    for module in SEEING:
        MODELS.register_module(module=module)

    def build(model_type=MaskTTAModel, **test_cfg):
        detector = ConfigDict(
            type='RetinaPlus',
            data_preprocessor=dict(
                type='mmdet.DetDataPreprocessor', pad_size_divisor=32
            ),
            backbone=dict(type='SeeingBackbone'),
            bbox_head=dict(type='SeeingBoxHead'),
            roi_head=dict(
                type='MaskRoIHead',
                mask_roi_extractor=dict(
                    type='SingleRoIExtractor',
                    roi_layer=dict(
                        type='RoIAlign', output_size=28, sampling_ratio=2
                    ),
                    out_channels=1,
                    featmap_strides=[1],
                ),
                mask_head=dict(
                    type='SeeingMaskHead',
                    num_convs=0,
                    in_channels=1,
                    num_classes=1,
                ),
                test_cfg=test_cfg,
            ),
        )
        return tta_model(MODELS.build(detector), model_type)

    yield build
    for module in SEEING:
        MODELS.module_dict.pop(module.__name__)


def tta_model(detector, model_type=MaskTTAModel):
    tta_cfg = dict(nms=dict(type='nms', iou_threshold=0.7), max_per_img=100)
    model = model_type(module=detector, tta_cfg=ConfigDict(tta_cfg))
    return model.eval()


def figure(height=120, width=140):
    """An L, which no flip maps to itself, as a bool mask."""
    mask = np.zeros((height, width), bool)
    mask[24:96, 20:44] = True
    mask[72:96, 44:110] = True
    return mask


def overlap(mask, expected):
    mask = mask.numpy()
    return (mask & expected).sum() / (mask | expected).sum()


def assert_shows(results, expected):
    """The best mask is the figure, but for a pixel along its outline."""
    assert results.masks.dtype == torch.bool
    assert results.masks.shape[1:] == expected.shape
    assert overlap(results.masks[0], expected) > 0.9


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_masks_of_a_flipped_view_land_where_the_figure_is(seeing, direction):
    batch = batch_of(picture(figure()), flips=[flip(direction)])
    (results,) = results_of(seeing(), batch)
    assert_close(results.bboxes[0], torch.tensor([20.0, 24, 110, 96]))
    assert_shows(results, figure())


@pytest.mark.parametrize('scale', SCALES)
def test_merged_boxes_reach_a_view_in_its_coordinates(seeing, scale):
    batch = batch_of(picture(figure()), scales=[SCALES[scale]])
    assert_shows(results_of(seeing(), batch)[0], figure())


def test_all_scales_and_flips_agree(seeing):
    flips = [PLAIN, *map(flip, DIRECTIONS)]
    batch = batch_of(
        picture(figure()), scales=list(SCALES.values()), flips=flips
    )
    assert len(batch['inputs']) == 12
    (results,) = results_of(seeing(), batch)
    assert_shows(results, figure())
    assert len(results) == 2


@pytest.mark.parametrize('direction', DIRECTIONS)
def test_a_padding_after_the_flip_is_no_part_of_it(seeing, direction):
    batch = batch_of(
        picture(figure()),
        flips=[flip(direction)],
        after=[Pad(size=(224, 224))],
    )
    assert_shows(results_of(seeing(), batch)[0], figure())


def test_images_of_a_batch_differ_in_size_and_flip(seeing):
    masks = figure(), figure(200, 130)[::-1]
    batch = batch_of(*map(picture, masks), flips=[PLAIN, flip('horizontal')])
    mirrored = batch_of(
        *map(picture, masks), flips=[flip('vertical'), flip('diagonal')]
    )
    for key in batch:
        batch[key] = [
            [first, second]
            for (first, _), (_, second) in zip(
                batch[key], mirrored[key], strict=True
            )
        ]
    for results, mask in zip(results_of(seeing(), batch), masks, strict=True):
        assert_shows(results, mask)


@pytest.mark.parametrize(
    ('brightness', 'visible'),
    [((1.0, 0.2, 0.2), 0.0), ((1.0, 0.3, 0.3), 1.0)],
)
def test_masks_are_means_of_probabilities(seeing, brightness, visible):
    """Whose logits have a mean above 0 in both cases."""
    batches = [batch_of(picture(figure(), value)) for value in brightness]
    batch = {
        key: [view for batch in batches for view in batch[key]]
        for key in batches[0]
    }
    (results,) = results_of(seeing(), batch)
    assert overlap(results.masks[0], figure()) == pytest.approx(
        visible, abs=0.2
    )


@pytest.mark.parametrize('blank', [0, 1])
def test_without_detections_masks_have_the_images_shape(seeing, blank):
    images = [picture(figure()), picture(figure())]
    images[blank][:] = 0
    batch = batch_of(*images, scales=[(70, 60)], flips=[flip('vertical')])
    results = results_of(seeing(), batch)
    assert results[blank].masks.shape == (0, 120, 140)
    assert results[blank].masks.dtype == torch.bool
    assert len(results[blank].mask_scores) == 0
    assert_shows(results[1 - blank], figure())


def test_boxes_beyond_max_masks_keep_an_empty_one(seeing):
    (results,) = results_of(seeing(max_masks=1), batch_of(picture(figure())))
    assert_shows(results, figure())
    assert not results.masks[1].any()
    assert_close(results.scores, torch.tensor([0.9, 0.6]))
    assert_close(results.mask_scores, torch.tensor([0.9, 0.0]))


def test_or_leave(seeing):
    model = seeing(max_masks=1, keep_all_boxes=False)
    (results,) = results_of(model, batch_of(picture(figure())))
    assert len(results) == 1
    assert_shows(results, figure())


def test_without_masks_it_is_a_det_tta_model(seeing):
    flips = [PLAIN, flip('horizontal')]
    batch = batch_of(picture(figure()), flips=flips)
    with_masks, ours, theirs = (
        results_of(model, batch)[0]
        for model in (
            seeing(),
            seeing(with_mask=False),
            seeing(DetTTAModel, with_mask=False),
        )
    )
    assert set(ours.keys()) == set(theirs.keys())
    for key in theirs.keys():  # noqa: SIM118  no mapping
        assert_close(ours[key], theirs[key])
        assert_close(with_masks[key], theirs[key])


def test_features_of_a_view_are_computed_once(seeing):
    model = seeing()
    shapes = []
    model.module.backbone.register_forward_hook(
        lambda module, inputs, levels: shapes.append(levels[0].shape)
    )
    scales = [SCALES['same'], SCALES['half']]
    results_of(model, batch_of(picture(figure()), scales=scales))
    # Multiples of 32 pixels.
    assert shapes == [(1, 1, 128, 160), (1, 1, 64, 96)]


def test_the_detector_is_as_before(seeing):
    model = seeing()
    batch = batch_of(picture(figure()))
    view = {key: views[0] for key, views in batch.items()}
    results_of(model, batch)
    assert 'masks' in results_of(model.module, view)[0]
    bad = copy.deepcopy(batch)
    bad['inputs'][0] = ['no image']
    with pytest.raises(TypeError):
        results_of(model, bad)
    assert 'masks' in results_of(model.module, view)[0]


def detector_with_masks() -> nn.Module:
    """A narrow RetinaMask with random weights, that finds something."""
    config = detector_config(
        data_preprocessor=dict(
            type='mmdet.DetDataPreprocessor',
            mean=[127.5] * 3,
            std=[50.0] * 3,
            pad_size_divisor=32,
        ),
        bbox_start_level=1,
        roi_head=roi_head_config(start_level=1),
    )
    # P2 is there for others: neither head takes it.
    config.neck.update(start_level=0, num_outs=6)
    detector = MODELS.build(config)
    detector.init_weights()
    nn.init.constant_(detector.bbox_head.retina_cls.bias, 1.0)
    nn.init.normal_(detector.roi_head.mask_head.conv_logits.weight, std=10.0)
    return detector.eval()


@pytest.mark.parametrize('times', [1, 3])
def test_equal_views_give_the_plain_prediction(times):
    image = np.random.randint(0, 256, (90, 110, 3), np.uint8)
    detector = detector_with_masks()
    batch = batch_of(image, scales=[(160, 160)] * times)
    (merged,) = results_of(tta_model(detector), batch)
    view = {key: views[0] for key, views in batch.items()}
    (plain,) = results_of(detector, view)
    assert len(plain) > 50
    assert 0 < plain.masks.float().mean() < 1
    for key in ('bboxes', 'scores', 'labels', 'mask_scores'):
        assert_close(merged[key], plain[key])
    # Boxes of the original image return to the view with rounding errors.
    assert (merged.masks != plain.masks).float().mean() < 1e-4


def test_masks_may_need_a_level_that_boxes_do_not():
    """Which a test of boxes alone would not compute."""
    config = load('retinaunet-mask_r50_fpn').model
    config.backbone.update(depth=18, init_cfg=None)
    config.neck.in_channels = [32, 64, 64, 128, 256, 512]
    config.roi_head.start_level = 0
    config.roi_head.mask_roi_extractor.update(
        featmap_strides=[1], out_channels=64
    )
    config.roi_head.mask_head.in_channels = 64
    detector = MODELS.build(config)
    nn.init.constant_(detector.bbox_head.retina_cls.bias, 1.0)
    image = np.random.randint(0, 256, (64, 64, 3), np.uint8)
    batch = batch_of(image, scales=[(64, 64)])
    (results,) = results_of(tta_model(detector), batch)
    assert results.masks.any()


def test_no_config_is_written_to(seeing):
    model = seeing()
    seen = []
    model.module.backbone.register_forward_hook(
        lambda *args: seen.append(model.module.roi_head.test_cfg.with_mask)
    )
    results_of(model, batch_of(picture(figure())))
    assert seen == [True]


@pytest.mark.parametrize('key', ['flip', 'flip_direction', 'scale_factor'])
@pytest.mark.parametrize('with_mask', [True, False])
def test_views_without_their_story_stop_before_any_work(
    seeing, key, with_mask
):
    model = seeing(with_mask=with_mask)
    model.module.data_preprocessor.forward = pytest.fail
    kept = [known for known in NEEDED_KEYS if known != key]
    batch = batch_of(
        picture(figure()), pack=PackDetInputs(meta_keys=tuple(kept))
    )
    with pytest.raises(
        ValueError, match=f'no {key}:.*RandomFlip.*PackDetInputs'
    ):
        model.test_step(batch)


def test_a_pipeline_without_views_says_how_to_make_them(seeing):
    model = seeing()
    model.module.data_preprocessor.forward = pytest.fail
    batch = batch_of(picture(figure()))
    view = {key: views[0] for key, views in batch.items()}
    with pytest.raises(ValueError, match='TestTimeAug'):
        model.test_step(view)


def test_a_detector_without_masks_is_told_of_mmdets_model():
    detector = detector_with_masks()
    del detector.roi_head
    with pytest.raises(ValueError, match='DetTTAModel'):
        MaskTTAModel(module=detector)


def test_a_run_tests_with_views_as_mmdets_script_does(tmp_path):
    data = tmp_path / 'shapes'
    make_shapes(data, num=2, num_val=2, size=96)
    config = Config.fromfile(
        mmdet_retina_plus.config('retinamask_r18_fpn_shapes')
    )
    detector = MODELS.build(copy.deepcopy(config.model))
    nn.init.zeros_(detector.bbox_head.retina_cls.bias)
    torch.save(detector.state_dict(), tmp_path / 'detector.pth')
    config.test_dataloader.dataset.data_root = str(data)
    config.test_evaluator.ann_file = str(data / 'instances_val.json')
    config.work_dir = str(tmp_path / 'run')
    config.experiment_name = tmp_path.name
    config.load_from = str(tmp_path / 'detector.pth')
    # What mmdet's tools/test.py does at --tta.
    config.model = ConfigDict(**config.tta_model, module=config.model)
    config.test_dataloader.dataset.pipeline = config.tta_pipeline
    runner = Runner.from_cfg(config)
    metrics = runner.test()
    assert isinstance(runner.model, MaskTTAModel)
    assert_close(
        runner.model.module.state_dict(), detector.state_dict(), rtol=0, atol=0
    )
    for name in ('bbox', 'segm'):
        assert math.isfinite(metrics[f'coco/{name}_mAP'])
