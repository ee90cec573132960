"""Files that are read are not overwritten, nor are images by pictures."""

from pathlib import Path

import pytest
import torch

from tests.helpers.commands import predict
from tests.helpers.image_files import annotations, write_image


@pytest.mark.parametrize(
    'name', ['a.png', 'ann.json', 'seeing.py', 'seeing.pth', 'other.pth']
)
def test_what_is_read_is_not_overwritten(tmp_path, seeing, name):
    write_image(tmp_path / 'a.png')
    ann_file = annotations(tmp_path / 'ann.json', (1, 'a.png'))
    other = tmp_path / 'other.pth'
    torch.save(dict(state_dict={}), other)
    before = (tmp_path / name).read_bytes()
    arguments = (tmp_path, *seeing, '--ann-file', ann_file)
    arguments += ('--ensemble', other, '--out', tmp_path / name)
    assert 'overwrite' in predict(*arguments, code=1)
    assert (tmp_path / name).read_bytes() == before


def test_the_file_beside_the_results_overwrites_nothing_that_is_read(
    tmp_path, seeing
):
    """Images are listed beside them, unless an --ann-file lists them."""
    image = write_image(tmp_path / 'a.png')
    config, checkpoint = (Path(file) for file in seeing)
    config = config.rename(tmp_path / 'out.images.json')
    before = config.read_bytes()
    arguments = (image, config, checkpoint, '--out', tmp_path / 'out.json')
    assert 'overwrite' in predict(*arguments, code=1)
    assert config.read_bytes() == before


def test_pictures_do_not_overwrite_other_images(tmp_path, seeing):
    images = tmp_path / 'images'
    write_image(images / 'a.png')
    write_image(images / 'inner' / 'a.png')
    arguments = (images, *seeing, '--out', tmp_path / 'out.json')
    output = predict(*arguments, '--show-dir', images / 'inner', code=1)
    assert 'overwrite' in output


def test_pictures_are_not_the_images_of_the_next_run(tmp_path, seeing):
    images = tmp_path / 'images'
    write_image(images / 'a.png')
    arguments = (images, *seeing, '--out', tmp_path / 'out.json')
    output = predict(*arguments, '--show-dir', images / 'new', code=1)
    assert 'take its pictures for images: name a folder elsewhere' in output
    ann_file = annotations(tmp_path / 'ann.json', (1, 'a.png'))
    predict(*arguments, '--show-dir', images / 'new', '--ann-file', ann_file)
