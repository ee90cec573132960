"""`retina-plus anchor-fit`: its numbers, what it suggests and refuses."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmdet.registry import DATASETS, MODELS
from mmdet.structures.bbox import bbox_overlaps
from mmengine.config import Config

from mmdet_retina_plus.analysis import anchor_search
from mmdet_retina_plus.cli.anchor_fit import main
from tests.helpers import commands

SIDE = 256
GENERATOR = dict(
    type='AnchorGenerator',
    octave_base_scale=4,
    scales_per_octave=3,
    ratios=[0.5, 1.0, 2.0],
    strides=[8, 16, 32, 64, 128],
)
"""RetinaHead's default."""


def coco_of(boxes) -> dict:
    """One image with boxes (left, top, width, height)."""
    return dict(
        images=[dict(id=1, file_name='a.png', width=SIDE, height=SIDE)],
        annotations=[
            dict(
                id=number,
                image_id=1,
                category_id=1,
                bbox=list(map(float, box)),
                area=float(box[2] * box[3]),
                iscrowd=0,
            )
            for number, box in enumerate(boxes)
        ],
        categories=[dict(id=1, name='red')],
    )


def boxes_of(sides, ratios, number=60, seed=0) -> np.ndarray:
    """Boxes of random sides and ratios (height over width) in ranges."""
    rng = np.random.default_rng(seed)
    side = rng.uniform(*sides, number)
    ratio = rng.uniform(*ratios, number)
    edges = np.stack([side / ratio**0.5, side * ratio**0.5], axis=1)
    corners = rng.uniform(0, 1, (number, 2)) * (SIDE - edges)
    return np.concatenate([corners, edges], axis=1).round(2)


@pytest.fixture
def config(folder, tmp_path):
    """Writes a config with boxes, and returns its path."""

    def write(boxes, **changes):
        (tmp_path / 'images').mkdir(exist_ok=True)
        (tmp_path / 'boxes.json').write_text(json.dumps(coco_of(boxes)))
        cfg = Config.fromfile(folder / 'config.py')
        dataset = cfg.train_dataloader.dataset
        dataset.update(data_root=f'{tmp_path}/', ann_file='boxes.json')
        dataset.metainfo = dict(classes=('red',))
        for step in dataset.pipeline:
            if step.type == 'Resize':
                step.scale = (512, 512)
        cfg.merge_from_dict(changes)
        path = tmp_path / 'boxes.py'
        cfg.dump(path)
        return path

    return write


def fit(path, *arguments) -> dict:
    arguments = list(map(str, (path, '--json', *arguments)))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_numbers_are_those_of_all_anchors_laid_out(config):
    path = config(boxes_of((6, 90), (0.2, 5)))
    report = fit(path)
    cfg = Config.fromfile(path)
    cv2.imwrite(f'{path.parent}/images/a.png', np.zeros((SIDE, SIDE, 3)))
    sample = DATASETS.build(cfg.train_dataloader.dataset)[0]['data_samples']
    boxes = sample.gt_instances.bboxes.tensor
    assert sample.img_shape == (512, 512)
    generator = MODELS.build(cfg.model).bbox_head.prior_generator
    grids = [(512 // stride, 512 // stride) for stride, _ in generator.strides]
    anchors = torch.cat(generator.grid_priors(grids, device='cpu'))
    ious = bbox_overlaps(boxes, anchors).amax(dim=1)
    found = report['fit']['all']
    assert found['objects'] == report['objects'] == len(boxes) == 60
    assert found['mean_iou'] == pytest.approx(float(ious.mean()), abs=1e-5)
    assert found['below_05'] == float((ious < 0.5).double().mean()) > 0.1
    assert found['below_04'] == float((ious < 0.4).double().mean())
    groups = report['fit']['by_ratio']
    edges = boxes[:, 2:] - boxes[:, :2]
    wide = edges[:, 0] > 3 * edges[:, 1]
    assert groups['over 3:1']['objects'] == int(wide.sum()) > 0
    assert sum(group['objects'] for group in groups.values()) == 60
    sizes = report['fit']['by_size']
    small = (edges / 2).prod(dim=1) < 32**2
    assert sizes['small']['objects'] == int(small.sum())


@pytest.mark.parametrize('written', [False, True])
@pytest.mark.parametrize(
    ('sides', 'ratios', 'changed'),
    [
        ((6, 11), (0.8, 1.25), 'octave_base_scale'),
        ((40, 60), (3.5, 5), 'ratios'),
        ((3, 5), (0.8, 1.25), 'strides'),
    ],
)
def test_what_is_suggested_gains_what_it_says(
    config, sides, ratios, changed, written
):
    changes = {'model.bbox_head.anchor_generator': GENERATOR}
    path = config(boxes_of(sides, ratios), **(changes if written else {}))
    report = fit(path)
    suggestion = report['suggestion']
    assert changed in suggestion['changes']
    before, after = report['fit']['all'], suggestion['fit']['all']
    assert after['below_05'] < before['below_05']
    cfg = paste(suggestion, path)
    model = MODELS.build(cfg.model)
    features = model.extract_feat(torch.zeros(1, 3, 128, 128))
    strides = [(128 // level.shape[-1],) * 2 for level in features]
    assert strides == model.bbox_head.prior_generator.strides


def test_anchors_that_fit_are_left_alone(config):
    path = config(boxes_of((20, 100), (0.5, 2)))
    assert fit(path)['suggestion'] is None
    output = commands.invoke(main, path)
    assert 'No scale, ratio or level' in output


def test_no_finer_level_is_suggested_beside_other_heads(config):
    boxes = boxes_of((3, 5), (0.8, 1.25))
    assert 'strides' in fit(config(boxes))['suggestion']['changes']
    changes = {'model.bbox_start_level': 1, 'model.neck.num_outs': 6}
    path = config(boxes, **changes)
    assert 'strides' not in fit(path)['suggestion']['changes']


def point_ranges(radius=None) -> dict:
    return {
        'model.train_cfg.assigner': dict(
            _delete_=True,
            type='PointRangeAssigner',
            center_sample_radius=radius,
        )
    }


@pytest.mark.parametrize('radius', [None, 1.5])
def test_no_finer_level_is_suggested_to_an_assigner_of_levels(config, radius):
    path = config(boxes_of((3, 5), (0.8, 1.25)), **point_ranges(radius))
    assert 'strides' not in fit(path)['suggestion']['changes']


def paste(suggestion: dict, path: Path) -> Config:
    """Config with a suggestion, which has the fit that it states."""
    pasted: dict = {}
    exec(suggestion['paste'], pasted)
    cfg = Config.fromfile(path)
    cfg.merge_from_dict(dict(model=pasted['model']))
    cfg.dump(path)
    assert fit(path)['fit'] == suggestion['fit']
    return cfg


def scales_of(*scales) -> dict:
    generator = dict(
        type='AnchorGenerator',
        scales=list(scales),
        ratios=[0.5, 1.0, 2.0],
        strides=[8, 16, 32, 64, 128],
    )
    return {'model.bbox_head.anchor_generator': generator}


def test_one_scale_is_searched_and_pasted_as_a_scale(config):
    changes = scales_of(8) | point_ranges()
    path = config(boxes_of((14, 18), (0.8, 1.25)), **changes)
    suggestion = fit(path)['suggestion']
    assert 'scales' in suggestion['changes']
    assert 'octave_base_scale' not in suggestion['changes']
    paste(suggestion, path)


@pytest.mark.parametrize('sample', [4000, 50])
@pytest.mark.parametrize('seed', [0, 1, 2])
def test_no_suggestion_makes_anything_worse(config, monkeypatch, seed, sample):
    """Most objects gain by tall anchors, at the cost of a few small ones."""
    monkeypatch.setattr(anchor_search, 'MOST', sample)
    most = boxes_of((40, 72), (3.5, 5), number=200, seed=seed)
    few = boxes_of((8, 12), (0.8, 1.2), number=15, seed=seed)
    report = fit(config(np.concatenate([most, few])))
    before, after = report['fit']['all'], report['suggestion']['fit']['all']
    assert after['mean_iou'] >= before['mean_iou']
    assert after['below_05'] < before['below_05']
    gain = before['below_05'] - after['below_05']
    assert after['below_04'] - before['below_04'] <= gain


def test_the_best_of_those_without_a_loss_is_suggested(config):
    """Here better ratios fit nearly all objects, a scale alone few more."""
    most = boxes_of((40, 72), (3.5, 5), number=200, seed=5)
    few = boxes_of((8, 12), (0.8, 1.2), number=7, seed=5)
    path = config(np.concatenate([most, few]), **point_ranges())
    suggestion = fit(path)['suggestion']
    assert set(suggestion['changes']) == {'octave_base_scale', 'ratios'}
    assert suggestion['fit']['all']['below_05'] < 0.1


def test_generators_that_list_sizes_are_measured_only(config):
    path = config(boxes_of((6, 11), (0.8, 1.25)), **scales_of(8, 16))
    report = fit(path)
    assert not report['searched']
    assert report['suggestion'] is None
    assert 'or one of scales, is searched' in commands.invoke(main, path)


def test_the_file_holds_what_is_printed(config, tmp_path):
    path = config(boxes_of((6, 11), (0.8, 1.25)))
    out = tmp_path / 'fit.json'
    assert fit(path, '--out', out) == commands.read(out)
    output = commands.invoke(main, path)
    assert 'octave_base_scale=' in output
    suggested = fit(path)['suggestion']['fit']['all']
    for key, name in (('below_04', 'below .4'), ('below_05', 'below .5')):
        assert f'{name} {suggested[key]:.1%}, not ' in output
        assert output.count(f' {suggested[key]:.1%} ') >= 1


def test_json_has_the_standard_output_for_itself(config):
    path = config(boxes_of((6, 90), (0.5, 2)))
    report = fit(path)
    path.write_text(f"print('a config is a program')\n{path.read_text()}")
    assert fit(path) == report


def test_objects_that_training_leaves_out_do_not_count(config, tmp_path):
    path = config(boxes_of((6, 90), (0.5, 2), number=5))
    file = tmp_path / 'boxes.json'
    coco = json.loads(file.read_text())
    coco['annotations'][0]['iscrowd'] = 1
    coco['annotations'][1]['bbox'][2] = 0.2
    file.write_text(json.dumps(coco))
    assert fit(path)['objects'] == 3


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'train_dataloader.dataset.ann_file': 'no.json'}, 'no.json'),
        ({'model.bbox_head.type': 'NoHead'}, 'NoHead'),
        (
            {
                'model.bbox_head': dict(
                    _delete_=True,
                    type='FCOSHead',
                    num_classes=1,
                    in_channels=8,
                ),
                'model.train_cfg': None,
            },
            'FCOSHead has no anchors of fixed shapes',
        ),
    ],
)
def test_mistakes_are_named_and_keep_the_file(
    config, tmp_path, changes, message
):
    path = config(boxes_of((6, 90), (0.5, 2)), **changes)
    out = tmp_path / 'fit.json'
    out.write_text('old')
    output = commands.invoke(main, path, '--out', out, code=1)
    assert message in output
    assert out.read_text() == 'old'


@pytest.mark.parametrize('content', ['', '{"images": [', '{}'])
def test_annotations_that_are_broken_are_named(config, tmp_path, content):
    path = config(boxes_of((6, 90), (0.5, 2)))
    (tmp_path / 'boxes.json').write_text(content)
    output = commands.invoke(main, path, code=1)
    assert 'Error: The train data' in output


def test_data_without_objects_is_refused(config):
    assert 'no objects' in commands.invoke(main, config([]), code=1)


def test_the_config_is_not_overwritten(config):
    path = config(boxes_of((6, 90), (0.5, 2)))
    output = commands.invoke(main, path, '--out', path, code=1)
    assert 'would overwrite' in output
