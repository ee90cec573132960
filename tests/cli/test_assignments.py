"""`retina-plus assignments`: what it refuses, writes and says."""

import json
import shutil

import numpy as np
import pytest
import torch
from mmdet.models import RetinaHead
from mmengine.config import Config

from mmdet_retina_plus.analysis.assignments.compare import FILES
from mmdet_retina_plus.cli.assignments import main
from tests.helpers import commands
from tests.helpers.assigned_heads import SETTINGS
from tests.helpers.browser import browse, needs_browser
from tests.helpers.models import detector_config, head_config

FCOS = dict(
    _delete_=True,
    type='FCOSHead',
    num_classes=4,
    in_channels=8,
    feat_channels=8,
    stacked_convs=1,
    strides=[8, 16, 32, 64, 128],
    norm_cfg=None,
)


@pytest.fixture(scope='module')
def configs(folder):
    """RetinaNet, FCOS and RetinaNet with random steps, on the same images."""
    cfg = Config.fromfile(folder / 'config.py')
    cfg.model.bbox_head = FCOS | dict(loss_bbox=dict(type='IoULoss'))
    cfg.model.bbox_head.pop('_delete_')
    cfg.model.train_cfg = None
    cfg.dump(folder / 'points.py')
    cfg = Config.fromfile(folder / 'config.py')
    steps = cfg.train_dataloader.dataset.pipeline
    steps.insert(2, dict(type='Expand'))
    cfg.dump(folder / 'random_steps.py')
    return folder


def run(configs, names, *arguments, code=0) -> str:
    paths = [configs / f'{name}.py' for name in names]
    return commands.invoke(main, *paths, *arguments, code=code)


def read(out) -> dict:
    return commands.read(out / 'assignments.json')['strategies']


def test_numbers_are_those_of_the_assigner(configs, tmp_path, monkeypatch):
    """The head's own assigner, recorded while the command runs."""
    seen = []
    targets = RetinaHead._get_targets_single

    def recorded(self, *args, **kwargs):
        result = targets(self, *args, **kwargs)
        seen.append(result[-1])
        return result

    monkeypatch.setattr(RetinaHead, '_get_targets_single', recorded)
    run(configs, ['config', 'points'], '--out', tmp_path, '--images', 2)
    of_retinanet = read(tmp_path)['config']
    assert of_retinanet['images'] == len(seen) == 2
    positives = [
        np.bincount(result.pos_assigned_gt_inds, minlength=result.num_gts)
        for result in seen
    ]
    counts = [item['positives'] for item in of_retinanet['objects']]
    assert counts == np.concatenate(positives).tolist()
    assert of_retinanet['positives'] == sum(counts) > 0
    assert of_retinanet['negatives'] == sum(len(x.neg_inds) for x in seen)
    mean = of_retinanet['by_size']['all']['positives_per_object']
    assert mean == sum(counts) / len(counts)
    page = (tmp_path / 'index.html').read_text()
    assert f'<td class="number">{mean:.3g}</td>' in page
    by_level = [level['positives'] for level in of_retinanet['by_level']]
    assert sum(by_level) == sum(counts)


def test_random_steps_change_nothing(configs, tmp_path):
    run(configs, ['config', 'random_steps'], '--out', tmp_path)
    plain, random = read(tmp_path).values()
    assert plain == random
    page = (tmp_path / 'index.html').read_text()
    assert 'without Expand, RandomFlip' in page


def test_objects_without_positives_are_counted_and_marked(configs, tmp_path):
    big = 'model.bbox_head.regress_ranges=((0,1),(1,2),(2,3),(3,4),(4,5))'
    output = run(configs, ['points'], '--out', tmp_path, '--cfg-options', big)
    numbers = read(tmp_path)['points']
    objects = len(numbers['objects'])
    assert numbers['positives'] == 0
    assert numbers['by_size']['all']['without'] == objects > 0
    assert numbers['negatives_per_positive'] is None
    assert f'{objects}' in output
    assert f'>0 ({objects})<' in (tmp_path / 'index.html').read_text()


def test_a_checkpoint_shows_predictions_and_the_hardest_negatives(
    configs, tmp_path
):
    names = ['config', 'points']
    run(configs, names, '--out', tmp_path / 'a')
    assert '<h2>Soft quantities' not in (tmp_path / 'a/index.html').read_text()
    weights = configs / 'weights.pth'
    output = run(
        configs, ['config'], '--out', tmp_path / 'b', '--checkpoint', weights
    )
    page = (tmp_path / 'b/index.html').read_text()
    assert f'{weights}' in page
    assert 'untrained model' not in page
    assert 'without any' in output
    # Weights of RetinaNet are none of FCOS.
    mixed = ['--checkpoint', '-', '--checkpoint', weights]
    output = run(configs, names, '--out', tmp_path / 'c', *mixed, code=1)
    assert 'points: ' in output
    assert 'does not fit this config' in output
    assert not (tmp_path / 'c').exists()


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (['--checkpoint', '-', '--checkpoint', '-'], 'name one per', 1),
        (['--checkpoint', 'no.pth'], 'no.pth', 1),
        (['--images', '0'], 'range', 2),
        (['--cfg-options', 'modle.a=1'], 'the config has no modle', 1),
        (['--cfg-options', 'model.bbox_head.num_classes=1'], 'label', 1),
        (
            ['--cfg-options', 'train_dataloader.dataset.ann_file=no.json'],
            'no.json',
            1,
        ),
        (['--split', 'test'], 'test', 2),
        (['--out', __file__], 'Cannot create the folder', 1),
    ],
)
def test_mistakes_keep_what_is_there(
    configs, tmp_path, arguments, message, code
):
    for name in FILES:
        (tmp_path / name).write_text('old')
    arguments = ['--out', tmp_path, *arguments]
    output = run(configs, ['config'], *arguments, code=code)
    assert message in output
    assert 'Traceback' not in output
    for name in FILES:
        assert (tmp_path / name).read_text() == 'old'


def test_a_truncated_checkpoint_is_named(configs, tmp_path):
    file = tmp_path / 'cut.pth'
    file.write_bytes((configs / 'weights.pth').read_bytes()[:500])
    output = run(configs, ['config'], '--checkpoint', file, code=1)
    assert 'cut.pth is truncated' in output


def copy_of(configs, tmp_path, edit) -> list:
    """Options for a copy of the data whose annotations are edited."""
    root = tmp_path / 'set'
    shutil.copytree(configs / 'set', root)
    file = root / 'instances_train.json'
    coco = json.loads(file.read_text())
    edit(coco)
    file.write_text(json.dumps(coco))
    return ['--cfg-options', f'train_dataloader.dataset.data_root={root}/']


def test_data_without_objects_is_refused(configs, tmp_path):
    options = copy_of(configs, tmp_path, lambda x: x['annotations'].clear())
    output = run(configs, ['config'], *options, code=1)
    assert 'no image with objects' in output


def test_an_image_that_cannot_be_read_is_left_out_and_named(configs, tmp_path):
    options = copy_of(configs, tmp_path, lambda x: None)
    first, *_ = sorted((tmp_path / 'set/images').glob('train*'))
    first.write_bytes(first.read_bytes()[:40])
    out = tmp_path / 'out'
    names = ['config', 'points']
    output = run(configs, names, '--out', out, *options, code=1)
    assert first.name in output.split('Left out:')[1]
    assert [item['images'] for item in read(out).values()] == [1, 1]
    assert first.name in (out / 'index.html').read_text()
    for file in (tmp_path / 'set/images').glob('train*'):
        file.write_bytes(b'')
    output = run(configs, names, '--out', tmp_path / 'no', *options, code=1)
    assert not (tmp_path / 'no').exists()
    assert 'Error: ' in output


def test_a_head_that_chooses_otherwise_is_refused_by_name(configs, tmp_path):
    cfg = Config.fromfile(configs / 'config.py')
    cfg.model = detector_config()
    cfg.model.bbox_head.type = 'PISARetinaHead'
    cfg.dump(tmp_path / 'pisa.py')
    output = commands.invoke(main, tmp_path / 'pisa.py', code=1)
    assert 'pisa: The assignment of PISARetinaHead' in output
    assert 'RetinaPlusHead, SAPDHead' in output


def test_the_table_of_80_columns_breaks_names_behind_their_parts(
    configs, tmp_path, monkeypatch
):
    monkeypatch.setenv('COLUMNS', '80')
    names = [
        'assigner_point-range-radius',
        'a_name-of_many-parts_that-needs_two-lines',
    ]
    for name in names:
        shutil.copy(configs / 'config.py', tmp_path / f'{name}.py')
    output = run(tmp_path, names, '--out', tmp_path)
    assert f' {names[0]} ' in output
    assert ' a_name-of_many-parts_that- ' in output
    assert ' needs_two-lines ' in output
    for word in ('medium', 'without'):
        assert f' {word} ' in output


def test_warnings_of_mmdet_are_not_shown(configs, tmp_path, recwarn):
    cfg = Config.fromfile(configs / 'config.py')
    # mmdet's head reads a deprecated name of its own.
    head = head_config(
        type='GARetinaHead', **SETTINGS['GARetinaHead'], num_classes=4
    )
    cfg.model.train_cfg = head.pop('train_cfg')
    cfg.model.bbox_head = head
    cfg.dump(tmp_path / 'guided.py')
    run(tmp_path, ['guided'], '--out', tmp_path)
    assert not [x for x in recwarn if 'Deprecat' in f'{x.message}']


def test_names_from_outside_stay_text(configs, tmp_path):
    name = 'a<b>&c'
    shutil.copy(configs / 'config.py', tmp_path / f'{name}.py')
    commands.invoke(main, tmp_path / f'{name}.py', '--out', tmp_path)
    page = (tmp_path / 'index.html').read_text()
    assert '<b>&c' not in page
    assert 'a&lt;b&gt;&amp;c' in page


@needs_browser
def test_a_browser_shows_the_page_without_a_complaint(configs, tmp_path):
    run(configs, ['config', 'points'], '--out', tmp_path)
    script = """<script>addEventListener('load', () => {
      const widths = [...document.images].map(x => x.naturalWidth > 100);
      document.title = `${widths.length} ${widths.every(x => x)}`;
    });</script>"""
    page = (tmp_path / 'index.html').read_text()
    dom, console = browse(
        page.replace('</body>', f'{script}</body>'), tmp_path
    )
    assert console == []
    assert '<title>3 true</title>' in dom


def test_the_same_seed_gives_the_same_numbers(configs, tmp_path):
    options = ['--cfg-options', 'model.bbox_head.mining={"type": "DenseOHEM"}']
    found = []
    for name in 'ab':
        torch.manual_seed(ord(name))
        run(configs, ['config'], '--out', tmp_path / name, *options)
        found.append(read(tmp_path / name))
    assert found[0] == found[1]
