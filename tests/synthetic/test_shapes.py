"""Generated sets: what is drawn is what is annotated."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as rle_tools
from pycocotools.coco import COCO

from mmdet_retina_plus.synthetic.presets import COLOUR_WHEEL, PRESETS
from mmdet_retina_plus.synthetic.shapes import (
    draw_image,
    make_shapes,
    place_shape,
)


@pytest.fixture(params=list(PRESETS))
def preset(request):
    return request.param


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file()
    }


def hue_and_saturation(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hue in degrees and saturation in [0, 1] of an RGB image."""
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    return hsv[..., 0], hsv[..., 1]


def test_same_seed_same_bytes(tmp_path, preset):
    for name in 'ab':
        make_shapes(tmp_path / name, num=4, num_val=2, seed=7, preset=preset)
    assert contents(tmp_path / 'a') == contents(tmp_path / 'b')
    assert len(contents(tmp_path / 'a')) == 4 + 2 + 2


def test_another_seed_gives_other_images(tmp_path):
    for seed in (0, 1):
        make_shapes(tmp_path / str(seed), num=4, seed=seed)
    first, second = (contents(tmp_path / str(seed)) for seed in (0, 1))
    assert not set(first.values()) & set(second.values())


def test_splits_share_no_image(tmp_path):
    make_shapes(tmp_path / 'set', num=8, num_val=8)
    images = contents(tmp_path / 'set' / 'images')
    assert len(images) == len(set(images.values())) == 16


def test_a_larger_set_begins_with_the_smaller(tmp_path):
    for num in (2, 5):
        make_shapes(tmp_path / str(num), num=num, num_val=1)
    small, large = (contents(tmp_path / str(num) / 'images') for num in (2, 5))
    assert small.items() <= large.items()


def test_annotations_are_valid_coco(tmp_path, preset):
    make_shapes(tmp_path / 'set', num=6, num_val=3, preset=preset)
    for split, num in (('train', 6), ('val', 3)):
        coco = COCO(str(tmp_path / 'set' / f'instances_{split}.json'))
        assert len(coco.imgs) == num
        names = [x['name'] for x in coco.loadCats(coco.getCatIds())]
        assert tuple(names) == PRESETS[preset].classes
        assert len(coco.anns) == len(coco.dataset['annotations'])
        for image in coco.imgs.values():
            path = tmp_path / 'set' / 'images' / image['file_name']
            pixels = cv2.imread(str(path))
            assert pixels.shape == (image['height'], image['width'], 3)
        for annotation in coco.anns.values():
            mask = coco.annToMask(annotation)
            ys, xs = np.nonzero(mask)
            box = [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            assert annotation['bbox'] == box
            assert annotation['area'] == mask.sum()
            assert annotation['iscrowd'] == 0
            assert annotation['image_id'] in coco.imgs


def test_masks_hold_exactly_the_pixels_of_their_colour(tmp_path, preset):
    """Only objects are saturated, so the image itself knows the masks."""
    make_shapes(tmp_path / 'set', num=5, num_val=1, preset=preset)
    coco = json.loads((tmp_path / 'set/instances_train.json').read_text())
    names = {x['id']: x['name'] for x in coco['categories']}
    for image in coco['images']:
        path = tmp_path / 'set' / 'images' / image['file_name']
        pixels = cv2.imread(str(path))[..., ::-1]
        hue, saturation = hue_and_saturation(pixels)
        taken = np.zeros(hue.shape, int)
        for annotation in coco['annotations']:
            if annotation['image_id'] != image['id']:
                continue
            mask = rle_tools.decode(annotation['segmentation']).astype(bool)
            taken += mask
            meant = COLOUR_WHEEL[names[annotation['category_id']]]
            distance = np.abs((hue[mask] - meant + 180) % 360 - 180)
            assert distance.max() < 15
        np.testing.assert_array_equal(taken, saturation > 0.45)


@given(
    side=st.integers(4, 64),
    margin=st.integers(0, 30),
    seed=st.integers(0, 2**32),
)
def test_a_shape_is_as_long_as_asked_for(side, margin, seed):
    mask = place_shape(np.random.default_rng(seed), side, side + margin)
    assert mask.shape == (side + margin, side + margin)
    ys, xs = np.nonzero(mask)
    assert max(np.ptp(xs), np.ptp(ys)) + 1 == side


def test_objects_are_within_the_ranges_of_the_preset(preset):
    style = PRESETS[preset]
    counts, sides = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        _, masks, labels = draw_image(rng, style)
        assert len(masks) == len(labels)
        assert masks.any(axis=(1, 2)).all()
        counts.append(len(labels))
        for mask in masks:
            ys, xs = np.nonzero(mask)
            sides.append(max(np.ptp(xs), np.ptp(ys)) + 1)
    fewest, most = style.objects
    assert all(fewest <= count <= most for count in counts if count)
    assert max(sides) <= style.sides[1]
    # Only a hidden part makes an object shorter than the range allows.
    assert np.median(sides) >= style.sides[0]


@pytest.mark.parametrize('preset', ['easy', 'imbalanced', 'empty'])
def test_the_share_of_empty_images_is_that_of_the_preset(preset):
    style = PRESETS[preset]
    rngs = (np.random.default_rng([3, seed]) for seed in range(60))
    empty = np.mean([len(draw_image(rng, style)[2]) == 0 for rng in rngs])
    assert abs(empty - style.empty) <= 0.12
    assert (empty > 0) == (style.empty > 0)


def test_size_is_free(tmp_path):
    make_shapes(tmp_path / 'set', num=1, size=100)
    image = cv2.imread(str(tmp_path / 'set/images/train_000001.png'))
    assert image.shape == (100, 100, 3)


def test_refuses_to_overwrite(tmp_path):
    make_shapes(tmp_path / 'set', num=1)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match='delete it or name another'):
        make_shapes(tmp_path / 'set', num=1, seed=1)
    with pytest.raises(FileExistsError):
        make_shapes(tmp_path / 'set/instances_val.json', num=1)
    assert contents(tmp_path) == before


def test_fills_an_empty_folder(tmp_path):
    make_shapes(tmp_path, num=1)
    assert (tmp_path / 'instances_train.json').is_file()


def test_fills_the_empty_folder_that_a_link_leads_to(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'disk')
    make_shapes(tmp_path / 'link', num=1)
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'disk' / 'instances_train.json').is_file()


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(indices, split):
        yield indices[0]
        if split == 'val':
            raise KeyboardInterrupt
        yield from indices[1:]

    with pytest.raises(KeyboardInterrupt):
        make_shapes(tmp_path / 'set', num=3, progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        ({'preset': 'simple'}, 'easy'),
        ({'num': 0}, 'at least one'),
        ({'num_val': -1}, 'at least one'),
        ({'seed': -1}, 'seed of at least 0'),
        ({'size': 40}, 'at least that size'),
    ],
)
def test_bad_input_is_refused(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_shapes(tmp_path / 'set', **options)
    assert not list(tmp_path.iterdir())
