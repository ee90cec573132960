"""What is found in images of any size, and how views become one."""

from pathlib import Path

import cv2
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmdet.registry import MODELS
from mmengine.config import Config
from torch.testing import assert_close

from mmdet_retina_plus.heads import MaskRoIHead
from mmdet_retina_plus.inference.run_lengths import decode
from tests.helpers.commands import predict, read
from tests.helpers.detector_files import retinanet
from tests.helpers.image_files import noise, write_image
from tests.helpers.models import roi_head_config
from tests.helpers.seeing_detector import SeeingDetector


@pytest.mark.parametrize('stock', [True, False])
def test_a_whole_image_gets_what_mmdet_finds(tmp_path, stock):
    config, checkpoint = retinanet(tmp_path, stock=stock)
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    predict(image, config, checkpoint, '--out', out)
    model = init_detector(config, checkpoint, device='cpu')
    expected = inference_detector(model, image).pred_instances
    found = read(out)
    assert len(found) == len(expected) > 5
    boxes = torch.tensor([item['bbox'] for item in found])
    boxes[:, 2:] += boxes[:, :2]
    assert_close(boxes, expected.bboxes)
    assert_close(torch.tensor([x['score'] for x in found]), expected.scores)
    labels = [item['category_id'] - 1 for item in found]
    assert labels == expected.labels.tolist()


@pytest.fixture
def masked(tmp_path):
    """Config and checkpoint of a detector with a mask branch."""
    config, checkpoint = retinanet(tmp_path)
    cfg = Config.fromfile(config)
    cfg.model.roi_head = roi_head_config(start_level=0)
    cfg.dump(config)
    head = MODELS.build(cfg.model.roi_head)
    weights = torch.load(checkpoint)
    weights |= {f'roi_head.{k}': v for k, v in head.state_dict().items()}
    torch.save(weights, checkpoint)
    return [config, checkpoint]


def test_the_mask_head_rests_where_the_config_says_so(
    tmp_path, masked, monkeypatch
):
    monkeypatch.setattr(MaskRoIHead, 'mask_logits', pytest.fail)
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    option = 'model.roi_head.test_cfg.with_mask=False'
    arguments = (image, *masked, '--out', out, '--tile', 64)
    predict(*arguments, '--cfg-options', option)
    assert len(read(out)) > 5
    assert 'segmentation' not in read(out)[0]


@pytest.mark.parametrize('options', [(), ('--tile', 90, '--flip')])
def test_masks_lie_in_the_image_whatever_the_views(tmp_path, masked, options):
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    out, pictures = tmp_path / 'out.json', tmp_path / 'pictures'
    predict(
        *(image, *masked, '--out', out, '--show-dir', pictures),
        *('--show-score-thr', 0, *options),
        *('--cfg-options', 'model.test_cfg.max_per_img=5'),
    )
    results = read(out)
    masks = [decode(result['segmentation']) for result in results]
    assert {mask.shape for mask in masks} == {(90, 120)}
    assert (pictures / 'a.png').is_file()
    drawn = 0
    for mask, result in zip(masks, results, strict=True):
        y, x = mask.nonzero()
        if not len(x):
            continue
        drawn += 1
        left, top, width, height = result['bbox']
        # The mean of some boxes may be smaller than the best one.
        assert left - 32 <= x.min() <= x.max() <= left + width + 32
        assert top - 32 <= y.min() <= y.max() <= top + height + 32
    assert drawn >= 3


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
@pytest.mark.parametrize('batch_size', [1, 3])
def test_tiles_find_objects_where_they_are(tmp_path, seeing, fuse, batch_size):
    # Those wholly seen by all tiles that see them, with strides of 32.
    boxes = [(2, 4, 28, 27), (70, 36, 90, 60), (105, 100, 119, 120)]
    image = write_image(tmp_path / 'a.png', *boxes, size=(130, 160))
    out = tmp_path / 'out.json'
    predict(
        *(image, *seeing, '--out', out, '--tile', 64, '--overlap', 0.5),
        *('--fuse', fuse, '--batch-size', batch_size),
    )
    found = read(out)
    assert sorted(item['bbox'] for item in found) == [
        [x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes
    ]
    assert {item['category_id'] for item in found} == {2}
    assert all(item['score'] == pytest.approx(1) for item in found)


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
def test_small_images_and_empty_tiles(tmp_path, seeing, fuse):
    images = tmp_path / 'images'
    write_image(images / 'empty.png', size=(90, 200))
    write_image(images / 'one.png', (5, 5, 25, 20), size=(90, 200))
    write_image(images / 'small.png', (5, 5, 25, 20), size=(30, 40))
    write_image(images / 'thin.png', (100, 1, 110, 3), size=(3, 200))
    out = tmp_path / 'out.json'
    predict(images, *seeing, '--out', out, '--tile', 64, '--fuse', fuse)
    found = [(item['image_id'], item['bbox']) for item in read(out)]
    assert found == [
        (2, [5, 5, 20, 15]),
        (3, [5, 5, 20, 15]),
        (4, [100, 1, 10, 2]),
    ]


def test_equal_checkpoints_agree(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    image = noise(tmp_path / 'images' / 'a.png', seed=1)
    outs = tmp_path / 'one.json', tmp_path / 'three.json'
    predict(image, config, checkpoint, '--out', outs[0])
    predict(
        *(image, config, checkpoint, '--out', outs[1]),
        *('--ensemble', checkpoint, checkpoint),
    )
    # Rounding may swap boxes of nearly equal scores.
    one, three = (
        sorted(read(file), key=lambda item: item['bbox']) for file in outs
    )
    assert len(one) > 5
    for left, right in zip(one, three, strict=True):
        assert left['bbox'] == pytest.approx(right['bbox'], abs=1e-3)
        assert left['score'] == pytest.approx(right['score'], abs=1e-5)


def test_checkpoints_that_disagree_score_less(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    _, other = retinanet(tmp_path, seed=1)
    image = noise(tmp_path / 'images' / 'a.png', seed=1)
    alone, both = tmp_path / 'alone.json', tmp_path / 'both.json'
    predict(image, config, checkpoint, '--out', alone)
    predict(image, config, checkpoint, '--out', both, '--ensemble', other)
    assert max(x['score'] for x in read(both)) < max(
        x['score'] for x in read(alone)
    )


def in_order(file: Path) -> list[list[float]]:
    """Boxes and scores of an image, by score."""
    return sorted([item['score'], *item['bbox']] for item in read(file))


@pytest.mark.parametrize(
    'options',
    [
        ('--fuse', 'nms'),
        ('--fuse', 'wbc'),
        # Not with nms, which takes any of equal scores of two tiles.
        ('--fuse', 'wbc', '--tile', 72, '--overlap', 0.34),
    ],
)
def test_a_mirrored_image_has_mirrored_results(tmp_path, options):
    """For its views are those of the image, in another order."""
    config, checkpoint = retinanet(tmp_path)
    # Scores of 1 would be equal, and the first of them lead.
    weights = torch.load(checkpoint)
    weights['bbox_head.retina_cls.weight'] /= 30
    weights['bbox_head.retina_cls.bias'][:] = -1
    torch.save(weights, checkpoint)
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    pixels = cv2.imread(image)[:, ::-1]
    cv2.imwrite(str(tmp_path / 'mirrored.png'), pixels)
    plain, mirrored = tmp_path / 'plain.json', tmp_path / 'mirrored.json'
    for source, out in (
        (image, plain),
        (tmp_path / 'mirrored.png', mirrored),
    ):
        arguments = (source, config, checkpoint, '--out', out, '--flip')
        predict(*arguments, *options)
    expected = [
        [score, pixels.shape[1] - x - width, y, width, height]
        for score, x, y, width, height in in_order(plain)
    ]
    assert len(expected) > 5
    assert_close(
        torch.tensor(in_order(mirrored)),
        torch.tensor(expected),
        rtol=1e-3,
        atol=1e-2,
    )


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
def test_mirroring_adds_nothing_to_a_detector_that_does_not_mind(
    tmp_path, seeing, fuse
):
    boxes = (2, 4, 28, 27), (70, 36, 90, 60), (105, 100, 119, 120)
    image = write_image(tmp_path / 'a.png', *boxes, size=(130, 160))
    once, twice = tmp_path / 'once.json', tmp_path / 'twice.json'
    tiling = ('--tile', 64, '--overlap', 0.5, '--fuse', fuse)
    predict(image, *seeing, '--out', once, *tiling)
    predict(image, *seeing, '--out', twice, *tiling, '--flip')
    assert len(in_order(once)) == 3
    for left, right in zip(in_order(once), in_order(twice), strict=True):
        assert left == pytest.approx(right)


@pytest.mark.parametrize('tiling', [(), ('--tile', 60, '--overlap', 0)])
def test_what_one_mirror_of_two_finds_scores_half(
    tmp_path, seeing, monkeypatch, tiling
):
    look = SeeingDetector.look

    def look_left(self, pixels):
        found = look(self, pixels)
        return found[found.bboxes[:, 2] < pixels.shape[1] / 2]

    monkeypatch.setattr(SeeingDetector, 'look', look_left)
    image = write_image(tmp_path / 'a.png', (5, 5, 25, 20), size=(60, 120))
    out = tmp_path / 'out.json'
    predict(image, *seeing, '--out', out, '--flip', *tiling)
    (item,) = read(out)
    assert item['bbox'] == [5, 5, 20, 15]
    assert item['score'] == pytest.approx(0.5)
