"""Semantic maps are drawn as they mean it, through mmdet's own tools."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.engine.hooks import DetVisualizationHook
from mmdet.evaluation import CocoMetric, DumpDetResults
from mmdet.registry import VISUALIZERS
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmengine.fileio import load
from mmengine.structures import InstanceData, PixelData

from mmdet_retina_plus.synthetic.donuts import make_donuts
from mmdet_retina_plus.visualization.sem_seg_local_visualizer import (
    OBJECT_COLOUR,
    SemSegLocalVisualizer,
)

GREY = 90
CLASSES = ('disc', 'donut')
PALETTE = [(220, 20, 60), (20, 220, 60)]
REGIONS = {1: np.s_[20:50, 20:50], 2: np.s_[60:95, 60:90]}


def seg_map(**values) -> torch.Tensor:
    """A map (1, 100, 120) with an area for each label, and an unknown one."""
    pixels = torch.zeros(1, 100, 120, dtype=torch.long)
    for value, region in REGIONS.items():
        pixels[0][region] = value
    pixels[0, :10] = 255
    return pixels


def sample(pixels: torch.Tensor, **metainfo) -> DetDataSample:
    result = DetDataSample(metainfo=dict(img_path='image.png', img_id=1))
    result.pred_instances = InstanceData(
        bboxes=torch.zeros(0, 4),
        labels=torch.zeros(0).long(),
        scores=torch.zeros(0),
    )
    result.pred_sem_seg = PixelData(metainfo=metainfo, sem_seg=pixels)
    return result


def draw_both(result: DetDataSample, path, meta=None, **options) -> np.ndarray:
    """RGB picture of a result on grey ground, beside that of the truth."""
    visualizer = SemSegLocalVisualizer(**options)
    visualizer.dataset_meta = (
        dict(classes=CLASSES, palette=PALETTE) if meta is None else meta
    )
    image = np.full((100, 120, 3), GREY, np.uint8)
    visualizer.add_datasample('', image, result, out_file=str(path))
    return cv2.imread(str(path))[..., ::-1].astype(float)


def draw(*args, **options) -> np.ndarray:
    return np.split(draw_both(*args, **options), 2, axis=1)[1]


def tint(colour, alpha=0.35) -> np.ndarray:
    return (1 - alpha) * GREY + alpha * np.array(colour)


def middle(picture: np.ndarray, value: int) -> np.ndarray:
    return picture[REGIONS[value]].mean(axis=(0, 1))


def test_classes_have_the_colours_of_their_boxes(tmp_path):
    picture = draw(sample(seg_map()), tmp_path / 'a.png')
    for value in REGIONS:
        expected = tint(PALETTE[value - 1])
        np.testing.assert_allclose(middle(picture, value), expected, atol=1)


def test_background_and_unknown_pixels_stay_as_they_are(tmp_path):
    picture = draw(sample(seg_map()), tmp_path / 'a.png')
    rest = np.ones(picture.shape[:2], bool)
    for region in REGIONS.values():
        rest[region] = False
    assert (picture[rest] == GREY).all()


def test_another_ignore_index_is_respected(tmp_path):
    picture = draw(
        sample(seg_map(), ignore_index=2),
        tmp_path / 'a.png',
        dict(classes=CLASSES, palette=PALETTE * 128),
    )
    np.testing.assert_array_equal(middle(picture, 2), GREY)


def test_a_map_of_all_objects_has_no_classs_colour(tmp_path):
    pixels = (seg_map() == 1).long()
    result = sample(pixels, label_names=('background', 'object'))
    picture = draw(result, tmp_path / 'a.png')
    np.testing.assert_allclose(middle(picture, 1), tint(OBJECT_COLOUR), atol=1)


def test_options_of_mmdet_choose_the_colours(tmp_path):
    picture = draw(
        sample(seg_map()),
        tmp_path / 'a.png',
        mask_color=(0, 0, 255),
        seg_alpha=1.0,
    )
    for value in REGIONS:
        np.testing.assert_allclose(middle(picture, value), (0, 0, 255))


def test_a_data_set_without_palette_is_drawn(tmp_path):
    picture = draw(sample(seg_map()), tmp_path / 'a.png', {})
    assert (middle(picture, 1) != GREY).any()
    assert (middle(picture, 1) != middle(picture, 2)).any()


def test_an_empty_map_leaves_the_image(tmp_path):
    picture = draw(sample(seg_map() * 0), tmp_path / 'a.png')
    assert (picture == GREY).all()


def test_ground_truth_of_eight_bits_is_drawn_beside(tmp_path):
    result = sample(seg_map())
    result.gt_sem_seg = PixelData(
        metainfo=dict(ignore_index=255), sem_seg=seg_map().to(torch.uint8)
    )
    picture = draw_both(result, tmp_path / 'a.png')
    truth, prediction = np.split(picture, 2, axis=1)
    np.testing.assert_array_equal(truth, prediction)


def test_boxes_and_their_names_stay_readable(tmp_path):
    result = sample(seg_map())
    result.pred_instances = InstanceData(
        bboxes=torch.tensor([[20.0, 20, 50, 50]]),
        labels=torch.tensor([0]),
        scores=torch.tensor([0.9]),
    )
    with_map = draw(result, tmp_path / 'a.png')
    del result.pred_sem_seg
    without = draw(result, tmp_path / 'b.png')
    inside = np.s_[25:35, 25:45]
    assert with_map[inside].std() > 0.5 * without[inside].std() > 0


def test_mmdets_own_visualizer_paints_the_background(tmp_path):
    """Why there is one of ours; if this fails, it may be needless."""
    visualizer = DetLocalVisualizer()
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    image = np.full((100, 120, 3), GREY, np.uint8)
    result = sample((seg_map() == 1).long())
    path = tmp_path / 'a.png'
    visualizer.add_datasample('', image, result, out_file=str(path))
    assert cv2.imread(str(path))[99, -1, 2] > 150
    with pytest.raises(IndexError):
        visualizer.add_datasample('', image, sample(seg_map()))


def test_results_with_maps_pass_mmdets_hook_and_metrics(tmp_path):
    make_donuts(tmp_path / 'set', num=1, num_val=1)
    result = sample(torch.zeros(1, 320, 320).long())
    result.pred_sem_seg.sem_seg[0, 40:80, 40:80] = 2
    result.set_metainfo(
        dict(
            img_path=str(tmp_path / 'set/images/val_000001.png'),
            ori_shape=(320, 320),
        )
    )
    visualizer = VISUALIZERS.build(
        dict(type='SemSegLocalVisualizer', name='pictures')
    )
    visualizer.dataset_meta = dict(classes=CLASSES, palette=PALETTE)
    hook = DetVisualizationHook(draw=True, test_out_dir=str(tmp_path / 'out'))

    class Run:
        work_dir, timestamp = str(tmp_path), 'now'

    hook.after_test_iter(Run, 0, {}, [result])
    picture = cv2.imread(str(tmp_path / 'out/val_000001.png')).astype(int)
    truth, picture = np.split(picture, 2, axis=1)
    area = picture[40:80, 40:80].mean(axis=(0, 1))
    assert area[1] - area[0] == pytest.approx(0.35 * (220 - 60), abs=3)
    assert (truth == cv2.imread(result.img_path)).all()
    assert (picture[100:] == truth[100:]).all()

    coco = CocoMetric(ann_file=str(tmp_path / 'set/instances_val.json'))
    coco.dataset_meta = dict(classes=CLASSES)
    dump = DumpDetResults(out_file_path=str(tmp_path / 'results.pkl'))
    for metric in (coco, dump):
        metric.process({}, [result.to_dict()])
        metric.evaluate(size=1)
    (dumped,) = load(tmp_path / 'results.pkl')
    assert (dumped['pred_sem_seg']['sem_seg'] == 2).sum() == 1600
