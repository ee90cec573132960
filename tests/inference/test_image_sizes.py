"""Images whose size is not the one that the annotations give them."""

import json
import re

import pytest
from mmengine.config import Config
from PIL import Image

from mmdet_retina_plus.common.exif import ORIENTATION
from mmdet_retina_plus.inference.image_sizes import loader_key
from tests.helpers.commands import predict, read
from tests.helpers.image_files import annotations, write_image

KEY = 'test_dataloader.dataset.pipeline.0'
WIDTH, HEIGHT = 120, 90
"""Size of the stored image."""


@pytest.fixture
def run(tmp_path, seeing):
    """Predict in a JPEG with an EXIF orientation and a size in the JSON."""

    def run(size, orientation=1, options=(), code=0, stored=(WIDTH, HEIGHT)):
        images, out = tmp_path / 'images', tmp_path / 'out.json'
        source = write_image(
            tmp_path / 'a.png', (5, 5, 25, 20), size=stored[::-1]
        )
        images.mkdir()
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        Image.open(source).save(images / 'a.jpg', exif=exif, quality=100)
        ann_file = annotations(tmp_path / 'ann.json', (1, 'a.jpg'))
        coco = json.loads(ann_file.read_text())
        coco['images'][0] |= dict(width=size[0], height=size[1])
        ann_file.write_text(json.dumps(coco))
        arguments = (images, *seeing, '--ann-file', ann_file, '--out', out)
        options = [word for x in options for word in ('--cfg-options', x)]
        said = ' '.join(predict(*arguments, *options, code=code).split())
        assert bool(read(out)) == (not code)
        return said

    return run


@pytest.mark.parametrize(
    ('size', 'orientation', 'stored', 'reason'),
    [
        # Case 3: annotations of stored pixels under each rotation.
        *[
            (
                (WIDTH, HEIGHT),
                number,
                (WIDTH, HEIGHT),
                f'the loader applies its EXIF orientation {number}.*'
                f'{KEY}.color_type=color_ignore_orientation`',
            )
            for number in (5, 6)
        ],
        # Case 12: exchanged, in the file or also by an orientation.
        ((HEIGHT, WIDTH), 1, (WIDTH, HEIGHT), 'swap width and height'),
        ((HEIGHT, WIDTH), 3, (WIDTH, HEIGHT), 'swap width and height'),
        # Copies of another size.
        ((240, 180), 1, (WIDTH, HEIGHT), 'a copy at 0.5 times the size'),
        ((40, 30), 1, (WIDTH, HEIGHT), 'a copy at 3 times the size'),
        ((1000, 667), 1, (300, 200), 'a copy at 0.3 times the size'),
        # Others.
        ((WIDTH, HEIGHT + 2), 1, (WIDTH, HEIGHT), 'another image, or a part'),
        ((WIDTH - 20, HEIGHT), 1, (WIDTH, HEIGHT), 'another image, or a part'),
        ((640, 640), 1, (WIDTH, HEIGHT), 'another image, or a part'),
    ],
)
def test_another_size_is_refused_with_its_reason(
    run, size, orientation, stored, reason
):
    said = run(size, orientation, stored=stored, code=1)
    assert re.search(
        rf'a.jpg: loaded as \d+ x \d+ pixels, but the annotations '
        rf'say {size[0]} x {size[1]}; .*{reason}',
        said,
    )
    assert '1 of 1 images failed' in said


@pytest.mark.parametrize('orientation', [1, 3, 6])
@pytest.mark.parametrize('color_type', ['color', 'grayscale'])
def test_the_option_that_the_error_names_helps(run, orientation, color_type):
    option = f'{KEY}.color_type={color_type}_ignore_orientation'
    assert 'Note' not in run((WIDTH, HEIGHT), orientation, [option])


@pytest.mark.parametrize(
    'color_type',
    ['color_ignore_orientation', 'grayscale_ignore_orientation', 'unchanged'],
)
def test_annotations_of_turned_images_need_a_loader_that_turns(
    run, color_type
):
    option = f'{KEY}.color_type={color_type}'
    said = run((HEIGHT, WIDTH), 6, [option], code=1)
    better = 'grayscale' if 'grayscale' in color_type else 'color'
    assert 'the loader ignores its EXIF orientation 6' in said
    assert f'`--cfg-options {KEY}.color_type={better}`' in said


def test_annotations_of_turned_images_fit_a_loader_that_turns(run):
    assert 'Note' not in run((HEIGHT, WIDTH), 6)


@pytest.mark.parametrize(
    ('orientation', 'stored'),
    [(2, (WIDTH, HEIGHT)), (3, (WIDTH, HEIGHT)), (6, (90, 90))],
)
def test_a_turn_that_the_size_cannot_show_is_mentioned(
    run, orientation, stored
):
    said = run(stored, orientation, stored=stored)
    assert (
        'Note: 1 image turned or mirrored by EXIF orientation (a.jpg)' in said
    )


def test_without_annotations_there_is_no_size_to_compare(tmp_path, seeing):
    source = write_image(tmp_path / 'a.png', (5, 5, 25, 20))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    Image.open(source).save(tmp_path / 'a.jpg', exif=exif)
    out = tmp_path / 'out.json'
    said = predict(tmp_path / 'a.jpg', *seeing, '--out', out)
    assert 'Note' not in said
    assert len(read(out)) == 1


@pytest.mark.parametrize(
    ('dataset', 'key'),
    [
        (dict(pipeline=[]), ''),
        (dict(dataset=dict(pipeline=[])), '.dataset'),
        (
            dict(datasets=[dict(dataset=dict(pipeline=[]))]),
            '.datasets.0.dataset',
        ),
    ],
)
def test_the_loader_is_named_within_wrappers(dataset, key):
    cfg = Config(dict(test_dataloader=dict(dataset=dataset)))
    assert loader_key(cfg) == f'test_dataloader.dataset{key}.pipeline.0'
