"""What the figure, the curves and the table say."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmdet.models import RetinaHead
from mmengine.dataset import pseudo_collate
from torch import nn

from mmdet_retina_plus.analysis import loss_pictures
from mmdet_retina_plus.analysis.counted_anchors import seen_by_loss
from mmdet_retina_plus.analysis.loss_data import build_dataset
from mmdet_retina_plus.analysis.loss_distribution import LogHistogram
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.trained_detectors import load_detectors
from tests.helpers.loss_cdf_scene import (
    IMAGES,
    fail_to_draw,
    read,
    run,
    stop_at,
)

GAMMAS = [0, 0.5, 1, 2, 5]


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
    assert 'There are no positives: their curves are empty' in output
    table = read(tmp_path)
    assert table['positives'] == 0
    assert share(table, 'positives', 2, 0.2) is None
    assert share(table, 'negatives', 2, 0.1) > 0
    rows = [line for line in output.splitlines() if '│' in line]
    assert len(rows) == len(GAMMAS)
    assert all(row.rstrip('│ ').endswith('-') for row in rows)
    assert 'positives' not in (tmp_path / 'loss_cdf.csv').read_text()
    assert (tmp_path / 'loss_cdf.png').is_file()


def test_data_is_safe_where_the_picture_fails(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(loss_pictures, 'draw_cumulative', fail_to_draw)
    output = run(folder, '--out', tmp_path, code=1)
    assert 'Error: [Errno 28] No space left' in output
    found = sorted(file.name for file in tmp_path.iterdir())
    assert found == ['loss_cdf.csv', 'loss_cdf.json']


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
