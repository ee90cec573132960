"""The call behind `predict`, with the defaults of its arguments."""

import os

import pytest

from mmdet_retina_plus.inference.detect_images import (
    UnwrittenError,
    detect_images,
)
from tests.helpers.commands import predict, read
from tests.helpers.image_files import annotations, write_image


def test_images_a_config_and_a_checkpoint_are_enough(tmp_path, seeing):
    images, out = tmp_path / 'images', tmp_path / 'out.json'
    write_image(images / 'a.png', (5, 5, 25, 20))
    (images / 'text.png').write_text('no image')
    outcome = detect_images(str(images), *seeing, out)
    assert (outcome.total, outcome.interrupted) == (2, False)
    assert outcome.files == [out, tmp_path / 'out.images.json']
    assert len(read(out)) == outcome.num_boxes == 1
    assert [box['bbox'] for box in read(out)] == [[5, 5, 20, 15]]
    (failure,) = outcome.results.failures
    assert failure.startswith('text.png: ')


def test_an_annotation_file_makes_a_second_file_needless(tmp_path, seeing):
    out = tmp_path / 'out.json'
    write_image(tmp_path / 'a.png', (5, 5, 25, 20))
    ann_file = annotations(tmp_path / 'ann.json', (9, 'a.png'))
    outcome = detect_images(str(tmp_path), *seeing, out, ann_file=ann_file)
    assert outcome.files == [out]
    assert [box['image_id'] for box in read(out)] == [9]


def test_results_outlive_a_file_that_cannot_be_written(
    tmp_path, seeing, monkeypatch
):
    write_image(tmp_path / 'a.png', (5, 5, 25, 20))

    def full(part, file):
        raise OSError('disk full')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(UnwrittenError, match='disk full') as caught:
        detect_images(str(tmp_path / '*.png'), *seeing, tmp_path / 'out.json')
    assert caught.value.outcome.files == []
    assert caught.value.outcome.results.boxes.count == 1


def test_a_pipeline_that_cannot_be_built_is_refused(tmp_path, seeing):
    image = write_image(tmp_path / 'a.png', (5, 5, 25, 20))
    option = 'test_dataloader.dataset.pipeline.1.colour=5'
    arguments = (image, *seeing, '--cfg-options', option)
    said = predict(*arguments, '--out', tmp_path / 'out.json', code=1)
    assert 'Cannot build the detector: TypeError' in said


def test_a_score_threshold_is_for_what_was_fused(tmp_path, seeing):
    """A box that one of two tiles finds scores half."""
    image = write_image(tmp_path / 'a.png', (2, 4, 28, 27), (60, 4, 80, 27))
    boxes = {}
    for threshold in (0, 0.4, 0.6):
        out = tmp_path / f'{threshold}.json'
        predict(
            *(image, *seeing, '--out', out, '--score-thr', threshold),
            *('--tile', 64, '--overlap', 0.2),
        )
        boxes[threshold] = len(read(out))
    assert boxes[0] > boxes[0.4] > boxes[0.6] > 0
