import copy

import pytest
import torch
from mmdet.registry import MODELS
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.detectors.retina_plus import check_num_classes
from tests.helpers.models import detector_config
from tests.helpers.samples import HEAD_OBJECTS, data_sample
from tests.helpers.shipped_configs import load


class CountingRoIHead(nn.Module):
    """Follows mmdet's RoI head interface and remembers what it was given."""

    with_bbox = False
    with_mask = True
    with_shared_head = False

    def loss(self, x, rpn_results_list, batch_data_samples):
        self.given = x, rpn_results_list
        return dict(loss_mask=x[0].mean())

    def predict(self, x, rpn_results_list, batch_data_samples, rescale=False):
        self.given = x, rpn_results_list
        self.rescale = rescale
        for sample, result in zip(
            batch_data_samples, rpn_results_list, strict=True
        ):
            if rescale:
                result.bboxes /= result.bboxes.new_tensor(
                    sample.scale_factor
                ).repeat(2)
        return rpn_results_list


class CountingSemanticHead(nn.Module):
    def loss(self, x, batch_data_samples):
        self.given = x
        return dict(loss_seg=x[0].mean())


@pytest.fixture
def slots():
    modules = (CountingRoIHead, CountingSemanticHead)
    for module in modules:
        MODELS.register_module(module=module)
    yield
    for module in modules:
        MODELS.module_dict.pop(module.__name__)


def test_without_slots_it_is_a_single_stage_detector():
    ours = MODELS.build(detector_config())
    theirs = MODELS.build(dict(detector_config(), type='SingleStageDetector'))
    theirs.load_state_dict(ours.state_dict())
    images = torch.randn(2, 3, 64, 64)
    samples = [data_sample(HEAD_OBJECTS), data_sample()]
    results = []
    for model in (ours.eval(), theirs.eval()):
        losses = model.loss(images, copy.deepcopy(samples))
        predictions = model.predict(images, copy.deepcopy(samples))
        results.append(
            (
                losses['loss_cls'],
                losses['loss_bbox'],
                *(p.pred_instances.bboxes for p in predictions),
                *(
                    output
                    for level in model(images, mode='tensor')
                    for output in level
                ),
            )
        )
    for value, expected in zip(*results, strict=True):
        assert_close(value, expected)
    assert not ours.with_mask
    assert not ours.with_semantic


def test_filled_slots_add_their_losses(slots):
    model = MODELS.build(
        detector_config(
            roi_head=dict(type='CountingRoIHead'),
            semantic_head=dict(type='CountingSemanticHead'),
        )
    )
    losses = model.loss(torch.randn(1, 3, 64, 64), [data_sample(HEAD_OBJECTS)])
    assert {'loss_cls', 'loss_bbox', 'loss_mask', 'loss_seg'} <= set(losses)
    assert model.with_mask
    assert model.with_semantic


def test_detections_reach_the_roi_head_without_gradient(slots):
    model = MODELS.build(
        detector_config(roi_head=dict(type='CountingRoIHead'))
    )
    nn.init.constant_(model.bbox_head.retina_cls.bias, 2.0)
    model.loss(torch.randn(1, 3, 64, 64), [data_sample(HEAD_OBJECTS)])
    _, detections = model.roi_head.given
    assert len(detections[0]) > 0
    assert not detections[0].bboxes.requires_grad


def test_the_roi_head_gets_network_coordinates_and_rescales_itself(slots):
    model = MODELS.build(
        detector_config(roi_head=dict(type='CountingRoIHead'))
    ).eval()
    nn.init.constant_(model.bbox_head.retina_cls.bias, 2.0)
    images = torch.randn(1, 3, 64, 64)
    sample = data_sample()
    sample.set_metainfo(dict(scale_factor=(2.0, 2.0)))
    boxes = [
        model.predict(images, [copy.deepcopy(sample)], rescale=rescale)[
            0
        ].pred_instances.bboxes
        for rescale in (False, True)
    ]
    assert model.roi_head.rescale
    assert_close(boxes[0], 2 * boxes[1])


@pytest.mark.parametrize('rescale', [False, True])
def test_without_a_roi_head_boxes_rescale_on_demand(rescale):
    model = MODELS.build(detector_config()).eval()
    nn.init.constant_(model.bbox_head.retina_cls.bias, 2.0)
    sample = data_sample()
    sample.set_metainfo(dict(scale_factor=(2.0, 2.0)))
    images = torch.randn(1, 3, 64, 64)
    original = model.predict(images, [data_sample()], rescale=False)[0]
    result = model.predict(images, [sample], rescale=rescale)[0]
    assert_close(
        result.pred_instances.bboxes * (2 if rescale else 1),
        original.pred_instances.bboxes,
    )


def test_the_box_head_starts_at_its_level_the_others_see_all(slots):
    config = detector_config(
        roi_head=dict(type='CountingRoIHead'),
        semantic_head=dict(type='CountingSemanticHead'),
        bbox_start_level=1,
    )
    config.neck.update(start_level=0, num_outs=6)
    model = MODELS.build(config)
    images = torch.randn(1, 3, 64, 64)
    model.loss(images, [data_sample(HEAD_OBJECTS)])
    assert [level.shape[-1] for level in model.semantic_head.given] == [
        16,
        8,
        4,
        2,
        1,
        1,
    ]
    assert len(model.roi_head.given[0]) == 6
    assert len(model(images, mode='tensor')[0]) == 5


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_boxes_and_masks_train_and_predict_in_half_precision(dtype):
    config = load('retinamask_r18_fpn_shapes')
    model = MODELS.build(config.model)
    nn.init.zeros_(model.bbox_head.retina_cls.bias)  # scores that detect
    images = torch.randn(1, 3, 64, 64)
    with torch.autocast('cpu', dtype):
        loss, log = model.parse_losses(
            model.loss(images, [data_sample(HEAD_OBJECTS)])
        )
        results = model.eval().predict(images, [data_sample()])
    loss.backward()
    assert loss.isfinite()
    assert log['num_mask_rois'] > len(HEAD_OBJECTS)
    assert results[0].pred_instances.masks.any()


def test_mask_heads_of_a_cascade_are_not_looked_into():
    cascade = nn.Module()
    cascade.mask_head = nn.ModuleList([nn.Identity()])
    check_num_classes(nn.Identity(), cascade)


@pytest.mark.parametrize('masks', [False, True])
def test_double_precision_predicts(masks):
    config = load('retinamask_r18_fpn_shapes')
    if not masks:
        config.model.roi_head = None
    model = MODELS.build(config.model).double().eval()
    nn.init.zeros_(model.bbox_head.retina_cls.bias)
    images = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    [sample] = model.predict(images, [data_sample()])
    assert len(sample.pred_instances) > 0
    assert ('masks' in sample.pred_instances) == masks


def semantic_detector(**options) -> nn.Module:
    """Retina U-Net of the shapes; channel 1 wins at every pixel."""
    config = load('retinaunet_r18_fpn_shapes')
    config.model.semantic_head.update(options)
    config.model.test_cfg.with_seg = True
    model = MODELS.build(config.model).eval()
    nn.init.zeros_(model.semantic_head.conv_seg.weight)
    model.semantic_head.conv_seg.bias.data.copy_(
        torch.arange(len(model.semantic_head.conv_seg.bias)) == 1
    )
    return model


@pytest.mark.parametrize('rescale', [False, True])
def test_pixels_are_predicted_on_demand(rescale):
    model = semantic_detector()
    sample = data_sample()
    sample.set_metainfo(dict(ori_shape=(48, 32), scale_factor=(2.0, 4 / 3)))
    images = torch.randn(1, 3, 64, 64)
    [result] = model.predict(images, [copy.deepcopy(sample)], rescale=rescale)
    shape = (1, 48, 32) if rescale else (1, 64, 64)
    assert result.pred_sem_seg.sem_seg.shape == shape
    assert (result.pred_sem_seg.sem_seg == 1).all()
    model.test_cfg.with_seg = False
    [result] = model.predict(images, [sample], rescale=rescale)
    assert 'pred_sem_seg' not in result


@pytest.mark.parametrize('class_specific', [False, True])
def test_a_map_says_whether_its_values_are_labels(class_specific):
    model = semantic_detector(class_specific=class_specific)
    [result] = model.predict(torch.randn(1, 3, 64, 64), [data_sample()])
    assert ('label_names' in result.pred_sem_seg) != class_specific


def test_boxes_do_not_change_where_pixels_are_predicted():
    model = semantic_detector()
    nn.init.zeros_(model.bbox_head.retina_cls.bias)
    images = torch.randn(1, 3, 64, 64)
    [with_seg] = model.predict(images, [data_sample()])
    model.test_cfg.with_seg = False
    [without] = model.predict(images, [data_sample()])
    assert_close(with_seg.pred_instances.bboxes, without.pred_instances.bboxes)


def test_a_channel_for_each_class_wants_as_many_classes():
    with pytest.raises(ValueError, match='semantic_head 3'):
        semantic_detector(class_specific=True, num_classes=3)
    semantic_detector(class_specific=False, num_classes=3)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_pixels_train_in_half_precision(dtype):
    model = MODELS.build(load('retinaunet_r18_fpn_shapes').model)
    sample = data_sample(HEAD_OBJECTS)
    with torch.autocast('cpu', dtype):
        losses = model.loss(torch.randn(1, 3, 64, 64), [sample])
    losses['loss_seg'].backward()
    assert losses['loss_seg'].dtype == torch.float32
    for module in (model.semantic_head, model.neck.decoder_lateral_convs):
        for weight in module.parameters():
            assert weight.grad.isfinite().all()
            assert weight.grad.abs().sum() > 0


@pytest.mark.parametrize('shape', [(64, 96), (33, 65), (71, 50)])
def test_images_of_odd_sizes_train(shape):
    model = MODELS.build(load('retinaunet_r18_fpn_shapes').model)
    samples = [data_sample(HEAD_OBJECTS, shape), data_sample((), shape)]
    losses = model.loss(torch.randn(2, 3, *shape), samples)
    assert losses['loss_seg'].isfinite()


def test_a_test_of_boxes_alone_leaves_the_decoder_out():
    model = semantic_detector()
    runs = []
    model.neck.finest_conv.register_forward_hook(
        lambda module, inputs, output: runs.append(module)
    )
    images = torch.randn(1, 3, 64, 64)
    model.test_cfg.with_seg = False
    model.predict(images, [data_sample()])
    model(images, mode='tensor')
    assert not runs
    # Its loss stands, in a validation for example.
    assert 'loss_seg' in model.loss(images, [data_sample(HEAD_OBJECTS)])
    assert len(runs) == 1


def test_a_test_decodes_where_masks_read_the_finest_level():
    config = load('retinaunet-mask_r50_fpn').model
    config.backbone.update(depth=18, init_cfg=None)
    config.neck.in_channels = [32, 64, 64, 128, 256, 512]
    model = MODELS.build(config).eval()
    images = torch.randn(1, 3, 64, 64)
    assert model.levels_at_test_time(images)[0] is None
    model.roi_head.start_level = 0
    assert model.levels_at_test_time(images)[0].shape[-1] == 64
    assert model.levels_at_test_time(images, with_mask=False)[0] is None
    model.roi_head.test_cfg.with_mask = False
    assert model.levels_at_test_time(images)[0] is None
    model.bbox_start_level = 0
    assert model.levels_at_test_time(images)[0] is not None


def test_weights_that_torchvision_does_not_know_name_the_ways_out(monkeypatch):
    """mmengine raises a KeyError where torchvision is installed."""
    monkeypatch.setattr(
        'mmengine.runner.checkpoint.get_torchvision_models', dict
    )
    config = detector_config()
    config.backbone.init_cfg = dict(
        type='Pretrained', checkpoint='torchvision://resnet_none'
    )
    detector = MODELS.build(config)
    with pytest.raises(
        OSError, match=r"KeyError: 'resnet_none'.*init_cfg=None"
    ):
        detector.init_weights()
