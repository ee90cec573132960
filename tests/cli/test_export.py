"""What `export` refuses before it writes, and that it says why."""

import re
from pathlib import Path

import pytest

from mmdet_retina_plus.cli.export import main
from tests.helpers.commands import invoke
from tests.helpers.detector_files import retinanet
from tests.helpers.image_files import noise

BAD_INPUT = {
    'missing config': (dict(config='confg.py'), 'did you mean config.py'),
    'missing checkpoint': (dict(checkpoint='absent.pth'), 'file absent.pth;'),
    'empty checkpoint': (dict(checkpoint='empty.pth'), 'empty.pth is empty'),
    'truncated checkpoint': (dict(checkpoint='cut.pth'), 'pth is truncated'),
    'image for a checkpoint': (
        dict(checkpoint='a.png'),
        '^Error: a.png is a PNG, not a checkpoint: name the .pth file that '
        'training wrote$',
    ),
    'swapped': (dict(checkpoint='config.py'), 'is a config, not a checkpoint'),
    'truncated image': (dict(images='cut.png'), r'cut\.png: .*truncated'),
    'empty image': (
        dict(images='empty.png'),
        r'empty\.png: The file is empty; .*--images',
    ),
    'text for an image': (
        dict(images='text.png'),
        'text.png: OpenCV cannot',
    ),
    'no model': (dict(config='empty.py'), 'has no model: name'),
    'no test data': (
        dict(extra=['--cfg-options', 'test_dataloader=None']),
        'has no test_dataloader.dataset',
    ),
    'no pipeline': (
        dict(extra=['--cfg-options', 'test_dataloader.dataset.pipeline=None']),
        'has no test_dataloader.dataset.pipeline',
    ),
    'no image': (dict(images='absent'), 'no file or folder absent'),
    'no test set': (dict(images=''), 'ann_file.*--images'),
    'no folder': (dict(out='absent/a.onnx'), 'no folder'),
    'other suffix': (dict(out='a.pth'), 'must end in .onnx'),
    'existing file': (dict(out='there.onnx'), 'there.onnx exists.*--overwr'),
    'existing example': (dict(out='b.onnx'), 'b_example.py exists'),
    'soft-NMS': (
        dict(extra=['--cfg-options', 'model.test_cfg.nms.type=soft_nms']),
        'Cannot export soft_nms.*--raw',
    ),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Config and checkpoint, whole and broken, and an image of each kind."""
    place = tmp_path_factory.mktemp('export')
    config, checkpoint = map(Path, retinanet(place))
    config.rename(place / 'config.py')
    weights = checkpoint.rename(place / 'weights.pth').read_bytes()
    (place / 'cut.pth').write_bytes(weights[: len(weights) // 2])
    image = Path(noise(place / 'a.png', 0)).read_bytes()
    (place / 'cut.png').write_bytes(image[: len(image) // 2])
    (place / 'text.png').write_text('no image')
    for name in (
        'empty.py',
        'empty.pth',
        'empty.png',
        'there.onnx',
        'b_example.py',
    ):
        (place / name).touch()
    return place


@pytest.mark.parametrize('case', BAD_INPUT)
def test_bad_input_is_refused_and_nothing_written(case, folder, monkeypatch):
    monkeypatch.chdir(folder)
    changes, message = BAD_INPUT[case]
    given = dict(
        config='config.py',
        checkpoint='weights.pth',
        images='a.png',
        out='a.onnx',
        extra=[],
    )
    given |= changes
    before = sorted(folder.iterdir())
    images = ['--images', given['images']] if given['images'] else []
    arguments = [given['config'], given['checkpoint'], *images]
    output = invoke(
        main, *arguments, '--out', given['out'], *given['extra'], code=1
    )
    assert re.search(message, ' '.join(output.split())), output
    assert sorted(folder.iterdir()) == before
    assert (folder / 'there.onnx').read_bytes() == b''
