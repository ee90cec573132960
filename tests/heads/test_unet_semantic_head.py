import pytest
import torch
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmengine.structures import PixelData
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.heads import UNetSemanticHead
from mmdet_retina_plus.losses import BatchDiceCELoss
from tests.helpers.processes import in_two_processes
from tests.helpers.samples import HEAD_OBJECTS, OBJECTS, data_sample
from tests.helpers.shipped_configs import build_detector, load


def build(**options) -> UNetSemanticHead:
    return MODELS.build(
        dict(type='UNetSemanticHead', num_classes=3, in_channels=8, **options)
    )


def features(batch: int = 1, side: int = 64) -> list[torch.Tensor]:
    return [
        torch.randn(batch, 8, side, side),
        torch.randn(batch, 8, side // 4, side // 4),
    ]


def sample_with(seg_map: torch.Tensor):
    sample = data_sample()
    sample.gt_sem_seg = PixelData(sem_seg=seg_map)
    return sample


@pytest.mark.parametrize(('class_specific', 'channels'), [(0, 2), (1, 4)])
def test_background_comes_before_the_objects(class_specific, channels):
    head = build(class_specific=bool(class_specific))
    logits = head(features())['seg_preds']
    assert logits.shape == (1, channels, 64, 64)


def test_the_loss_is_that_of_the_finest_levels_pixels():
    head = build(class_specific=True)
    levels, sample = features(), data_sample(HEAD_OBJECTS)
    loss = head.loss(levels, [sample])['loss_seg']
    expected = BatchDiceCELoss()(
        head.conv_seg(levels[0]), sample.gt_sem_seg.sem_seg
    )
    assert_close(loss, expected)


def test_objects_are_one_class_unless_asked_for():
    head = build()
    levels, sample = features(), data_sample(HEAD_OBJECTS)
    seg_map = sample.gt_sem_seg.sem_seg
    assert set(seg_map.unique().tolist()) == {0, 1, 3}
    expected = BatchDiceCELoss()(
        head.conv_seg(levels[0]), (seg_map > 0).long()
    )
    assert_close(head.loss(levels, [sample])['loss_seg'], expected)
    # The sample's own map stays as it was.
    assert set(seg_map.unique().tolist()) == {0, 1, 3}


def test_a_coarser_finest_level_is_brought_to_the_maps_size():
    loss = build().loss(features(side=16), [data_sample(HEAD_OBJECTS)])
    assert loss['loss_seg'].isfinite()


@pytest.mark.parametrize('class_specific', [False, True])
def test_without_a_known_pixel_the_loss_is_zero_with_a_gradient(
    class_specific,
):
    head = build(class_specific=class_specific)
    unknown = sample_with(torch.full((1, 64, 64), 255, dtype=torch.uint8))
    loss = head.loss(features(), [unknown])['loss_seg']
    loss.backward()
    assert loss == 0
    assert all((weight.grad == 0).all() for weight in head.parameters())


def test_an_unknown_image_adds_nothing_to_the_batch():
    head = build()
    levels = features(batch=2)
    unknown = sample_with(torch.full((1, 64, 64), 255, dtype=torch.uint8))
    both = head.loss(levels, [data_sample(HEAD_OBJECTS), unknown])
    alone = head.loss(
        [level[:1] for level in levels], [data_sample(HEAD_OBJECTS)]
    )
    assert_close(both['loss_seg'], alone['loss_seg'])


def test_another_loss_is_one_line():
    """mmdet's, which ignores 255 where it is told to."""
    head = build(
        class_specific=True,
        loss_seg=dict(type='CrossEntropyLoss', ignore_index=255),
    )
    loss = head.loss(features(), [data_sample(HEAD_OBJECTS)])['loss_seg']
    assert loss.isfinite()


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss'),
        dict(type='BatchDiceCELoss', ignore_index=0),
    ],
)
def test_a_loss_that_counts_unknown_pixels_is_refused(loss):
    with pytest.raises(ValueError, match='ignore_index=255'):
        build(loss_seg=loss)


def test_no_map_names_the_transform():
    sample = data_sample(HEAD_OBJECTS)
    del sample.gt_sem_seg
    with pytest.raises(ValueError, match='PaintInstances'):
        build().loss(features(), [sample])


def test_a_map_that_is_not_padded_names_the_option():
    sample = sample_with(torch.zeros(1, 60, 64, dtype=torch.uint8))
    with pytest.raises(ValueError, match='pad_seg=True'):
        build().loss(features(), [sample])


def test_more_labels_than_classes_name_num_classes():
    sample = sample_with(torch.full((1, 64, 64), 4, dtype=torch.uint8))
    with pytest.raises(ValueError, match='num_classes'):
        build(class_specific=True).loss(features(), [sample])


def test_logits_are_resized_to_the_original_image():
    head = build()
    meta = dict(
        batch_input_shape=(64, 64), img_shape=(48, 64), ori_shape=(24, 32)
    )
    with torch.no_grad():
        nn.init.zeros_(head.conv_seg.weight)
        nn.init.constant_(head.conv_seg.bias, 2.0)
        (logits,) = head.predict(features(), [meta], rescale=True)
    assert logits.shape == (2, 24, 32)
    assert_close(logits, torch.full_like(logits, 2.0))


class Losses(nn.Module):
    """Sum of a detector's losses, for DistributedDataParallel."""

    def __init__(self, detector: BaseDetector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: torch.Tensor, samples: list) -> torch.Tensor:
        losses = self.detector.loss(images, samples)
        return self.detector.parse_losses(losses)[0]


def gradients_of_second_step(rank: int) -> list[torch.Tensor | None]:
    """With objects for rank 0; for rank 1 no pixel has a label.

    A parameter that the first step left out would stop the second.
    """
    torch.manual_seed(0)
    detector = build_detector(load('retinaunet_r18_fpn_shapes'))
    parallel = nn.parallel.DistributedDataParallel(Losses(detector))
    sample = data_sample(() if rank else OBJECTS)
    if rank:
        sample.gt_sem_seg.sem_seg.fill_(255)
    for _ in range(2):
        detector.zero_grad()
        parallel(torch.randn(1, 3, 64, 64), [sample]).backward()
    return [weight.grad for weight in detector.parameters()]


def test_processes_without_masks_train_along(tmp_path):
    gradients = in_two_processes(tmp_path, gradients_of_second_step)
    assert_close(*gradients)
    assert all(gradient is not None for gradient in gradients[0])
