"""Which anchors the loss comes from, through the command as users call it."""

import errno
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmdet.models import RetinaHead
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from torch import nn

from mmdet_retina_plus import config
from mmdet_retina_plus.analysis import loss_pictures
from mmdet_retina_plus.analysis.loss_data import build_dataset
from mmdet_retina_plus.analysis.loss_distribution import LogHistogram
from mmdet_retina_plus.cli.loss_cdf import main, seed_of
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.loss_calls import seen_by_loss
from mmdet_retina_plus.common.trained_detectors import load_detectors
from mmdet_retina_plus.synthetic.shapes import make_shapes
from tests.helpers.builders import build_detector, detector_config

IMAGES = 3
GAMMAS = [0, 0.5, 1, 2, 5]


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Three small images, a config and an untrained checkpoint."""
    root = tmp_path_factory.mktemp('cdf')
    make_shapes(root / 'set', num=2, num_val=IMAGES, size=96)
    cfg = load_config(config('retinanet_r18_fpn_shapes'))
    cfg.model = detector_config(
        data_preprocessor=dict(type='DetDataPreprocessor', pad_size_divisor=32)
    )
    cfg.model.bbox_head.num_classes = 4
    for split in ('train', 'val', 'test'):
        dataset = cfg[f'{split}_dataloader'].dataset
        dataset.data_root = f'{root / "set"}/'
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (96, 96)
    cfg.dump(root / 'config.py')
    torch.manual_seed(0)
    model = build_detector(cfg)
    nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.3)
    torch.save(model.state_dict(), root / 'weights.pth')
    return root


def run(folder: Path, *arguments, code=0, checkpoint='weights.pth') -> str:
    files = [folder / 'config.py', folder / checkpoint]
    result = CliRunner().invoke(
        main, [str(word) for word in (*files, *arguments)]
    )
    assert result.exit_code == code, result.output
    return result.output


def read(out: Path, name='loss_cdf') -> dict:
    return json.loads((out / f'{name}.json').read_text())


def share(table: dict, group: str, gamma: float, fraction: float) -> float:
    (row,) = (
        row
        for row in table['hardest'][group]
        if (row['gamma'], row['fraction']) == (gamma, fraction)
    )
    return row['share']


def sorted_losses(folder: Path, gamma: float) -> dict[str, torch.Tensor]:
    """Losses of all anchors by the formula, hardest first."""
    cfg = load_config(folder / 'config.py')
    (model,) = load_detectors(cfg, [str(folder / 'weights.pth')], 'cpu')
    dataset = build_dataset(cfg, 'val')
    found: dict[str, list] = dict(positives=[], negatives=[])
    with torch.no_grad():
        for number in range(IMAGES):
            batch = model.data_preprocessor(pseudo_collate([dataset[number]]))
            calls = seen_by_loss(model, batch['inputs'], batch['data_samples'])
            for logits, labels in calls:
                x = logits.double()
                positive = labels < 4
                own = x[positive, labels[positive]]
                found['positives'].append(
                    (-own).sigmoid() ** gamma * nn.functional.softplus(-own)
                )
                x = x[~positive]
                terms = x.sigmoid() ** gamma * nn.functional.softplus(x)
                found['negatives'].append(terms.sum(dim=1))
    return {
        name: torch.cat(losses).sort(descending=True)[0]
        for name, losses in found.items()
    }


def test_table_curves_and_picture_are_those_of_all_anchors(folder, tmp_path):
    output = run(folder, '--out', tmp_path / 'new' / 'out')
    out = tmp_path / 'new' / 'out'
    table = read(out)
    assert table['images'] == IMAGES
    assert cv2.imread(str(out / 'loss_cdf.png')).std() > 0
    lines = (out / 'loss_cdf.csv').read_text().splitlines()
    assert lines[0] == 'group,gamma,fraction,cumulative_loss'
    curves = {
        tuple(line.split(',')[:3]): float(line.split(',')[3])
        for line in lines[1:]
    }
    for gamma in GAMMAS:
        losses = sorted_losses(folder, gamma)
        for group, fractions in (
            ('positives', [0.2]),
            ('negatives', [0.001, 0.01, 0.1]),
        ):
            values = losses[group].numpy()
            assert table[group] == len(values)
            carried = np.r_[0, values.cumsum()] / values.sum()
            for fraction in fractions:
                expected = np.interp(
                    fraction * len(values), range(len(carried)), carried
                )
                found = share(table, group, gamma, fraction)
                assert found == pytest.approx(expected, abs=LogHistogram.ERROR)
                assert f'{100 * found:.1f}' in output
                if fraction > 0.01:
                    key = (group, f'{gamma:g}', f'{1 - fraction:.7f}')
                    assert curves[key] == pytest.approx(1 - found, abs=1e-6)


def test_the_gammas_that_are_asked_for(folder, tmp_path):
    run(folder, '--out', tmp_path, '--gamma', '3,0', '--gamma', '1.5')
    rows = read(tmp_path)['hardest']['positives']
    assert [row['gamma'] for row in rows] == [0, 1.5, 3]


def test_the_first_images_only(folder, tmp_path):
    run(folder, '--out', tmp_path, '--max-images', 1)
    assert read(tmp_path)['images'] == 1
    run(folder, '--out', tmp_path, '--max-images', 99)
    assert read(tmp_path)['images'] == IMAGES


def test_a_training_split_comes_out_alike_each_time(folder, tmp_path):
    tables = []
    for name in ('a', 'b'):
        run(folder, '--out', tmp_path / name, '--split', 'train')
        tables.append(read(tmp_path / name))
    assert tables[0] == tables[1]
    assert tables[0]['images'] == 2


def test_without_objects_there_is_nothing_to_draw_for_positives(
    folder, tmp_path
):
    coco = json.loads((folder / 'set' / 'instances_val.json').read_text())
    coco['annotations'] = []
    (folder / 'set' / 'empty.json').write_text(json.dumps(coco))
    option = 'val_dataloader.dataset.ann_file=empty.json'
    output = run(folder, '--out', tmp_path, '--cfg-options', option)
    assert 'There are no positives: nothing to draw' in output
    table = read(tmp_path)
    assert table['positives'] == 0
    assert share(table, 'positives', 2, 0.2) is None
    assert share(table, 'negatives', 2, 0.1) > 0
    rows = [line for line in output.splitlines() if '│' in line]
    assert len(rows) == len(GAMMAS)
    assert all(row.rstrip('│ ').endswith('-') for row in rows)
    assert 'positives' not in (tmp_path / 'loss_cdf.csv').read_text()
    assert (tmp_path / 'loss_cdf.png').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message', 'code'),
    [
        (['--gamma', '-1'], 'at least 0', 1),
        (['--gamma', 'nan'], 'at least 0', 1),
        (['--gamma', 'two'], 'not numbers', 2),
        (['--cfg-options', 'modle.a=1'], 'The config has no modle', 1),
        (['--cfg-options', 'val_dataloader.dataset.ann_file=no'], 'no', 1),
        (['--out', __file__], 'Cannot make the folder', 1),
    ],
)
def test_mistakes_are_found_before_any_work(
    folder, tmp_path, monkeypatch, arguments, message, code
):
    monkeypatch.setattr(RetinaHead, 'loss', lambda *args: pytest.fail())
    output = run(folder, '--out', tmp_path / 'out', *arguments, code=code)
    assert message in output
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('name', ['loss_cdf.png', 'loss_cdf.partial.csv'])
def test_a_folder_in_the_place_of_a_file_is_found_before_any_work(
    folder, tmp_path, monkeypatch, name
):
    monkeypatch.setattr(RetinaHead, 'loss', lambda *args: pytest.fail())
    (tmp_path / name).mkdir()
    output = run(folder, '--out', tmp_path, code=1)
    assert f'{name} is a folder' in output
    assert len(list(tmp_path.iterdir())) == 1


def test_a_seed_may_be_none():
    for randomness in (None, {}, dict(seed=None)):
        assert seed_of(Config(dict(randomness=randomness))) == 0
    assert seed_of(Config(dict(randomness=dict(seed=3)))) == 3
    assert seed_of(Config({})) == 0


def test_one_image_is_singular(folder, tmp_path, monkeypatch):
    titles = []

    def titled(positives, negatives, title):
        titles.append(title)
        return b''

    monkeypatch.setattr(loss_pictures, 'draw_cumulative', titled)
    output = run(folder, '--out', tmp_path, '--max-images', 1)
    assert '1 image,' in output
    run(folder, '--out', tmp_path, '--max-images', 2)
    assert [title.split(':')[0] for title in titles] == [
        '1 val image',
        '2 val images',
    ]


def fail_to_draw(*args) -> bytes:
    raise OSError(errno.ENOSPC, 'No space left')


def test_data_is_safe_where_the_picture_fails(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loss_pictures, 'draw_cumulative', fail_to_draw)
    output = run(folder, '--out', tmp_path, code=1)
    assert 'Error: [Errno 28] No space left' in output
    found = sorted(file.name for file in tmp_path.iterdir())
    assert found == ['loss_cdf.csv', 'loss_cdf.json']


def test_what_stopped_it_is_told_where_nothing_can_be_written(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(loss_pictures, 'draw_cumulative', fail_to_draw)
    stop_at(monkeypatch, 1, KeyboardInterrupt())
    output = run(folder, '--out', tmp_path, code=130)
    assert 'No space left' in output
    assert f'Interrupted, 1 of {IMAGES} images' in output


@pytest.mark.parametrize('name', ['no.pth', 'config.py'])
def test_a_checkpoint_that_is_none_is_named_and_makes_no_folder(
    folder, tmp_path, name
):
    output = run(folder, '--out', tmp_path / 'a/b', checkpoint=name, code=1)
    assert name in output
    assert not list(tmp_path.iterdir())


def break_weights(folder: Path, name: str) -> str:
    """A checkpoint whose logits are NaN."""
    weights = torch.load(folder / 'weights.pth')
    weights['bbox_head.retina_cls.bias'][0] = torch.nan
    torch.save(weights, folder / name)
    return name


def test_logits_that_are_not_finite_name_the_image(folder, tmp_path):
    name = break_weights(folder, 'nan.pth')
    output = run(folder, '--out', tmp_path, checkpoint=name, code=1)
    assert 'not finite' in output
    coco = json.loads((folder / 'set' / 'instances_val.json').read_text())
    assert coco['images'][0]['file_name'] in output
    assert not list(tmp_path.iterdir())


def stop_at(monkeypatch, done: int, error: BaseException) -> None:
    """Stop at every image but the first ones."""
    loss, seen = RetinaHead.loss, []

    def stopped(self, *args):
        if len(seen) == done:
            raise error
        seen.append(args)
        return loss(self, *args)

    monkeypatch.setattr(RetinaHead, 'loss', stopped)


def test_ctrl_c_keeps_what_is_done(folder, tmp_path, monkeypatch):
    stop_at(monkeypatch, 2, KeyboardInterrupt())
    output = run(folder, '--out', tmp_path, code=130)
    assert f'Interrupted, 2 of {IMAGES} images are done' in output
    partial = read(tmp_path, 'loss_cdf.partial')
    assert partial['images'] == 2
    assert not (tmp_path / 'loss_cdf.json').exists()
    monkeypatch.undo()
    run(folder, '--out', tmp_path, '--max-images', 2)
    assert read(tmp_path) == partial


@pytest.mark.parametrize('method', ['add', '__add__'])
@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError])
def test_no_image_is_counted_by_half(
    folder, tmp_path, monkeypatch, method, error
):
    """Stopped between gammas, as the second image is counted."""
    loss, add = RetinaHead.loss, getattr(LogHistogram, method)
    images, calls = [], []

    def noted(self, *args):
        images.append(args)
        return loss(self, *args)

    def stopped(self, other):
        calls.append(len(images))
        if calls.count(2) == 4:
            raise error
        return add(self, other)

    monkeypatch.setattr(RetinaHead, 'loss', noted)
    monkeypatch.setattr(LogHistogram, method, stopped)
    code = 130 if error is KeyboardInterrupt else 1
    output = run(folder, '--out', tmp_path, code=code)
    assert f'1 of {IMAGES} images' in output
    partial = read(tmp_path, 'loss_cdf.partial')
    monkeypatch.undo()
    run(folder, '--out', tmp_path, '--max-images', 1)
    assert read(tmp_path) == partial


def test_a_run_to_the_end_removes_what_an_earlier_one_left(
    folder, tmp_path, monkeypatch
):
    stop_at(monkeypatch, 2, KeyboardInterrupt())
    run(folder, '--out', tmp_path, code=130)
    assert len(list(tmp_path.glob('loss_cdf.partial.*'))) == 3
    monkeypatch.undo()
    (tmp_path / 'loss_cdf.partial.txt').write_text('mine')
    run(folder, '--out', tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        'loss_cdf.csv',
        'loss_cdf.json',
        'loss_cdf.partial.txt',
        'loss_cdf.png',
    ]


def test_an_image_that_fails_is_named_and_those_before_are_kept(
    folder, tmp_path, monkeypatch
):
    stop_at(monkeypatch, 1, RuntimeError('out of memory'))
    output = run(folder, '--out', tmp_path, code=1)
    assert 'out of memory' in output
    assert f'1 of {IMAGES} images were done before' in output
    coco = json.loads((folder / 'set' / 'instances_val.json').read_text())
    assert coco['images'][1]['file_name'] in output
    assert read(tmp_path, 'loss_cdf.partial')['images'] == 1


def test_an_image_that_is_not_there_is_named(folder, tmp_path):
    options = ['--cfg-options', 'val_dataloader.dataset.data_prefix.img=no/']
    output = run(folder, '--out', tmp_path, *options, code=1)
    coco = json.loads((folder / 'set' / 'instances_val.json').read_text())
    path = f'no/{coco["images"][0]["file_name"]}'
    # Once by us, once by the system.
    assert output.replace('\n', '').count(path) == 2


def test_stopped_at_the_first_image_nothing_is_written(
    folder, tmp_path, monkeypatch
):
    stop_at(monkeypatch, 0, KeyboardInterrupt())
    run(folder, '--out', tmp_path, code=130)
    assert not list(tmp_path.iterdir())
