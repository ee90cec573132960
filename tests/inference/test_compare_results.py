"""Result files that do not fit each other are refused, or noted."""

import json
import re

import pytest

from mmdet_retina_plus.cli.fuse import main
from tests.helpers.commands import invoke, read
from tests.helpers.detections import detection

BOXES = [(60, 50, 20, 30), (5, 70, 40, 10), (90, 8, 12, 12), (30, 30, 9, 44)]


@pytest.fixture
def run(tmp_path):
    """Fuse files a.json, b.json, ...; what is said, and the scores."""

    def run(*views, options=(), code=0, beside=()):
        files = []
        for letter, view in zip('abcdef', views, strict=False):
            files.append(tmp_path / f'{letter}.json')
            files[-1].write_text(json.dumps(view))
        for letter, listed in zip('abcdef', beside, strict=False):
            text = listed if isinstance(listed, str) else json.dumps(listed)
            (tmp_path / f'{letter}.images.json').write_text(text)
        out = tmp_path / 'fused.json'
        said = invoke(main, *files, '--out', out, *options, code=code)
        said = ' '.join(said.replace(f'{tmp_path}/', '').split())
        assert out.exists() == (not code)
        return said, [x['score'] for x in read(out)] if not code else None

    return run


def view(score=0.8, boxes=BOXES, **ids) -> list[dict]:
    return [detection(score, box=box, **ids) for box in boxes]


def corners(boxes=BOXES) -> list[tuple]:
    return [(x, y, x + width, y + height) for x, y, width, height in boxes]


def many(shift=(0, 0), scale=1, category=1) -> list[dict]:
    """Twelve boxes, moved or scaled, of two categories by turns."""
    return [
        detection(
            image=number,
            category=(number + category) % 2,
            box=[
                scale * side
                for side in (60 + number + shift[0], 40 + shift[1], 20, 30)
            ],
        )
        for number in range(12)
    ]


MIXED = 'is the number 1 in .* and the string .* write all as numbers'
REFUSED = {
    'image ids of other types': (
        [view(image='1'), view(image=1)],
        f'image_id {MIXED}',
    ),
    'image ids of both types in a file': (
        [view(image='1') + view(image=1)],
        f'image_id {MIXED}',
    ),
    'category ids of other types': (
        [view(category='cat'), view(category=1)],
        f'category_id {MIXED}',
    ),
    'other images': (
        [view(image=1), view(image=2)],
        r'a.json and b.json have no images in common \(ids 1; 2\)',
    ),
    'other images as texts': (
        [view(image='01'), view(image='1')],
        r'a.json and b.json have no images in common \(ids 01; 1\)',
    ),
    'two and two of other images': (
        [view(image=1), view(image=2), view(image=1), view(image=2)],
        'a.json and b.json have no images in common',
    ),
    'other categories': (
        [view(category=1), view(category=2)],
        'a.json and b.json have no categories in common .*--missing-weight 0',
    ),
    'percent': (
        [view(0.9), view(70)],
        'scores reach 0.9 in a.json and 70 in b.json: use one scale',
    ),
    'corners': (
        [view(), view(boxes=corners())],
        'boxes of b.json seem to be x1, y1, x2, y2: their IoU with '
        'those of a.json is 1.00',
    ),
    'corners first': (
        [view(boxes=corners()), view()],
        'boxes of a.json seem to be',
    ),
    'fractions': (
        [view(), view(boxes=[(0.5, 0.5, 0.1, 0.2)])],
        r'The boxes of b.json are fractions of the image \(none is above 1\), '
        'those of a.json are pixels',
    ),
    'exchanged categories': (
        [many(), many(category=2)],
        'boxes of a.json and b.json overlap, but have different categories',
    ),
    'texts': (
        [view(), view(boxes=[('1', '2', '3', '4')])],
        r"b.json\[0\] has bbox \['1', .*, not \[x, y, width, height\]",
    ),
    'a negative side': (
        [view(boxes=[(9, 9, -1, 5)])],
        'with no negative side',
    ),
    'NaN': ([view(boxes=[(9, 9, float('nan'), 5)])], r'a.json\[0\] has bbox'),
    'infinite scores': ([view(float('inf'))], 'score inf, not a number'),
}


@pytest.mark.parametrize('case', REFUSED)
def test_files_that_do_not_fit_are_refused(run, case):
    views, message = REFUSED[case]
    said, _ = run(*views, code=1)
    assert re.search(message, said), said


NOTED = {
    'some images': (
        [view(image=1) + view(image=2), view(image=1)],
        'Note: images: 2 in a.json, 1 in b.json; 1 in all files, but not 2;',
    ),
    'images that meet by a third file': (
        [view(image=1), view(image=2), view(image=1) + view(image=2)],
        'Note: images: 1 in a.json, 1 in b.json, 2 in c.json; 0 in all',
    ),
    'some categories': (
        [view(category=1) + view(category=2), view(category=1)],
        'Note: categories: 2 in a.json, 1 in b.json; 1 in all files',
    ),
    'categories from 0 and from 1': (
        [view(category=0) + view(category=1), view(category=1)],
        'Note: categories: 2 in a.json, 1 in b.json; 1 in all files, but '
        'not 0;',
    ),
    'one detector twice': (
        [view(), view(0.7), view()],
        'Note: a.json and c.json have the same detections',
    ),
    'centres': (
        [many(), many(shift=(10, 15))],
        'Note: hardly any box of a.json overlaps one of b.json',
    ),
    'resized images': (
        [many(), many(scale=2)],
        'Note: hardly any box of a.json overlaps one of b.json',
    ),
    'weak scores': (
        [view(0.9), view(0.01)],
        'Note: scores reach 0.01 in b.json and 0.9 in a.json: the larger',
    ),
    'percent in all': (
        [view(90), view(70)],
        'Note: scores reach 90 in a.json: not probabilities',
    ),
    'boxes without area': (
        [view() + view(boxes=[(5, 5, 0, 3), (5, 5, 3, 0)])],
        'Note: 2 of 6 boxes in a.json have no area',
    ),
    'corners in all': (
        [view(boxes=corners() * 3)],
        'Note: the boxes of a.json could be x1, y1, x2, y2',
    ),
    'fractions in all': (
        [view(boxes=[(0.5, 0.5, 0.1, 0.2)])],
        'Note: the boxes are fractions of the image',
    ),
}


@pytest.mark.parametrize('case', NOTED)
def test_what_may_not_be_meant_is_noted(run, case):
    views, message = NOTED[case]
    assert message in run(*views)[0]


@pytest.mark.parametrize(
    'views',
    [
        [view(), view(0.7)],
        [view(), view(0.6), view(0.7, image=1.0)],
        [many(), many(shift=(1, 1))],
        # As corners they would not overlap more.
        [view(boxes=[(0, 0, 50, 60)] * 3), view(boxes=[(0, 0, 50, 60)])],
        [view(boxes=[(1, 2, 50, 60)] * 4), view(boxes=[(0, 0, 9, 9)] * 4)],
    ],
)
def test_files_that_fit_are_fused_without_a_word(run, views):
    assert 'Note' not in run(*views)[0]


@pytest.mark.parametrize('key', ['image', 'category'])
def test_other_images_or_categories_may_be_joined_on_purpose(run, key):
    views = view(0.8, **{key: 1}), view(0.6, **{key: 2})
    said, scores = run(*views, options=('--missing-weight', '0'))
    assert scores == pytest.approx([0.8] * 4 + [0.6] * 4)
    assert '1 in a.json, 1 in b.json; 0 in all files' in said


def test_detections_in_other_categories_may_be_meant(run):
    said, _ = run(many(), many(category=2), options=('--missing-weight', '0'))
    assert 'Note: the boxes of a.json and b.json overlap, but have' in said


def listed(images, categories=('cat',)):
    """What `predict` writes beside results."""
    return dict(
        images=[
            dict(id=number, file_name=name)
            for number, name in enumerate(images, 1)
        ],
        annotations=[],
        categories=[
            dict(id=number, name=name)
            for number, name in enumerate(categories, 1)
        ],
    )


@pytest.mark.parametrize(
    ('beside', 'message'),
    [
        (
            [listed(['a.png', 'c.png']), listed(['a.png', 'b.png', 'c.png'])],
            'Number 2 of the images is c.png in a.json and b.png in b.json',
        ),
        (
            [listed(['a.png'], ['cat', 'dog']), listed(['a.png'], ['dog'])],
            'Number 1 of the categories is cat in a.json and dog in b.json',
        ),
        ([listed([])], 'a.json has image_id 1, which a.images.json does not'),
        ([listed(['a'], [])], 'a.json has category_id 1, which a.images.json'),
        (['['], 'a.images.json is not JSON'),
        (['{}'], "Cannot read a.images.json.*KeyError('images')"),
    ],
)
def test_numbers_that_predict_gave_to_other_names_are_refused(
    run, beside, message
):
    said, _ = run(view(), view(), code=1, beside=beside)
    assert re.search(re.escape(message).replace(r'\.\*', '.*'), said), said


def test_names_of_images_may_begin_with_their_folder(run):
    beside = [listed(['set/a.png']), listed(['a.png'])]
    assert 'Note' not in run(view(), view(0.7), beside=beside)[0]


def test_numbers_without_names_are_noted_beside_those_with_names(run):
    """One file may have the ids of an annotation file."""
    said, _ = run(view(), view(0.7), beside=[listed(['cat.png'])])
    assert 'Note: b.json has no *.images.json next to it' in said
    assert 'its image_id 1 is cat.png, as in a.json' in said


def test_images_that_were_seen_are_known_without_detections(run):
    """Detectors that found nothing in common have seen the same images."""
    beside = [listed(['a.png', 'b.png'])] * 2
    said, scores = run(view(image=1), view(image=2), beside=beside)
    assert 'Note' not in said
    assert scores == pytest.approx([0.4] * 8)


def test_a_file_counts_once(tmp_path):
    file = tmp_path / 'a.json'
    file.write_text(json.dumps(view()))
    (tmp_path / 'link.json').symlink_to(file)
    for other in (file, tmp_path / 'link.json'):
        out = tmp_path / 'fused.json'
        said = invoke(main, file, other, '--out', out, code=1)
        assert f'{other.name} is given twice' in ' '.join(said.split())


def test_a_file_without_detections_is_noted(run):
    said, _ = run(view(), [])
    assert 'b.json has no detections: leave it out' in said
    said, _ = run([], [])
    assert 'no detections: leave' not in said
