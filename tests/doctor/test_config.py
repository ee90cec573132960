"""Configs with generated data: valid, then with one fault each."""

import json
import warnings
from types import SimpleNamespace

import pytest

import mmdet_retina_plus
from mmdet_retina_plus.doctor import annotations, config
from mmdet_retina_plus.doctor.config import check_config
from mmdet_retina_plus.doctor.findings import Finding
from mmdet_retina_plus.synthetic.shapes import make_shapes

TRAIN = 'train_dataloader.dataset'
VAL = 'val_dataloader.dataset'


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(folder, num=8, num_val=4)
    return folder


@pytest.fixture
def check(shapes, tmp_path):
    """Findings for the shapes config with additional lines."""

    def run(
        lines: str = '', *options: str, name: str = 'retinanet_r18_fpn_shapes'
    ) -> list[Finding]:
        path = tmp_path / 'config.py'
        base = mmdet_retina_plus.config(name)
        path.write_text(
            f"""
_base_ = {base!r}
folder = {str(shapes)!r}
train_dataloader = dict(dataset=dict(data_root=folder))
val_dataloader = dict(dataset=dict(data_root=folder))
val_evaluator = dict(ann_file=folder + '/instances_val.json')
test_dataloader = val_dataloader
test_evaluator = val_evaluator
{lines}
"""
        )
        return check_config(path, options)

    return run


def problems(findings):
    return [finding for finding in findings if finding.level != 'ok']


def only_problem(findings):
    (finding,) = problems(findings)
    assert finding.fix
    return finding


def test_a_right_config_has_no_problem(check):
    findings = check()
    assert problems(findings) == []
    assert {x.subject for x in findings} >= {'train data', 'model', 'anchors'}


MASKED = 'retinamask_r18_fpn_shapes'
EXTRACTOR = 'model.roi_head.mask_roi_extractor'


@pytest.mark.parametrize(
    'options',
    [
        [],
        [  # masks on P2 to P5
            'model.neck.start_level=0',
            'model.neck.num_outs=6',
            'model.bbox_start_level=1',
            f'{EXTRACTOR}.featmap_strides=[4,8,16,32]',
        ],
        ['model.roi_head.train_cfg.mask_size=28,28'],
        [  # BatchNorm on a level with a single location
            'model.neck.num_outs=6',
            'model.neck.norm_cfg.type=BN',
            'model.bbox_head.anchor_generator.strides=[8,16,32,64,128,256]',
        ],
    ],
    ids=['P3', 'P2', 'size of two sides', 'BatchNorm'],
)
def test_a_right_config_with_masks_has_no_problem(check, options):
    assert problems(check('', *options, name=MASKED)) == []


@pytest.mark.parametrize(
    ('option', 'words'),
    [
        ('model.roi_head.train_cfg.mask_size=14', 'mask_size is 14'),
        ('model.roi_head.mask_head.in_channels=256', 'channels'),
        (f'{EXTRACTOR}.out_channels=256', 'out_channels=256'),
        (f'{EXTRACTOR}.featmap_strides=[4,8,16]', 'start_level'),
        ('model.bbox_head.num_classes=3', 'num_classes=3'),
        ('model.train_cfg=None', "has no attribute 'assigner'"),
    ],
)
def test_parts_of_the_mask_branch_that_do_not_fit(check, option, words):
    findings = problems(check('', option, name=MASKED))
    messages = [x.message for x in findings if x.level == 'error']
    assert any(words in message for message in messages)


def test_wrappers_are_looked_into(check, shapes):
    findings = check(
        """
dataset = dict(
    type='CocoDataset',
    data_root=folder,
    metainfo=dict(classes=('red', 'yellow', 'green', 'blue')),
    data_prefix=dict(img='images/'),
    pipeline={{_base_.train_pipeline}},
    ann_file='instances_train.json')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=2,
        dataset=dict(
            type='ConcatDataset',
            datasets=[dataset, dict(dataset, ann_file='instances_val.json')])))
"""
    )
    (finding,) = problems(findings)
    assert 'belong to the training data' in finding.message
    subjects = {y for x in findings for y in x.subject.split(', ')}
    assert subjects >= {'train 1 data', 'train 2 data', 'val data'}


def test_default_classes_are_those_of_coco(check):
    delete = "metainfo=dict(_delete_=True, note='')"
    findings = problems(
        check(
            f'train_dataloader["dataset"].update({delete})\n'
            f'val_dataloader["dataset"].update({delete})\n'
        )
    )
    (finding,) = findings
    assert 'so the 80 of the data set count' in finding.message


@pytest.mark.parametrize(
    ('option', 'subject', 'words'),
    [
        ('model.bbox_head.num_classes=3', 'bbox_head', '4 classes'),
        (f'{TRAIN}.metainfo.classes=red', 'train data', "('red',)"),
        (f'{TRAIN}.ann_file=none.json', 'train data', 'there is no file'),
        (f'{VAL}.data_prefix.img=none/', 'val data', 'data_root'),
        ('val_evaluator.ann_file=other.json', 'val_evaluator', 'other.json'),
        ('model.bbox_head.loss_cls.gama=2', 'model', 'gama'),
        ('model.neck.start_level=0', 'model', '[4, 8, 16, 32, 64]'),
        ('model.neck.num_outs=4', 'model', '[8, 16, 32, 64]'),
        ('model.bbox_head.loss_cls.use_sigmoid=False', 'loss_cls', 'True'),
        ('not an option', 'config', 'KEY=VALUE'),
    ],
)
def test_a_fault_is_found_with_its_fix(check, option, subject, words):
    findings = problems(check('', option))
    assert subject in {finding.subject for finding in findings}
    assert any(words in x.message + x.fix for x in findings)
    assert all(finding.fix for finding in findings)


DATASET = 'train_dataloader = dict(dataset=dict('
WRONG_VALUES = {
    'no type': ("val_dataloader['dataset'].pop('type')", 'val data'),
    'unknown type': (DATASET + "type='CoCoDataset'))", 'train_dataloader'),
    'type of a number': (DATASET + 'type=3))', 'train data'),
    'no file': (DATASET + 'ann_file=None))', 'train data'),
    'no folder': (DATASET + 'data_prefix=dict(img=None)))', 'train data'),
    'no prefix': (DATASET + 'data_prefix=None))', 'train data'),
    'no classes': (DATASET + 'metainfo=dict(classes=None)))', 'train data'),
    'a number as metainfo': (DATASET + 'metainfo=3))', 'train data'),
    'no dataset': ('train_dataloader = dict(dataset=None)', 'train data'),
    'a text as rate': ("auto_scale_lr = dict(base_batch_size='8')", 'learn'),
}


@pytest.mark.parametrize('case', WRONG_VALUES)
def test_a_wrong_value_is_an_error_and_no_traceback(check, case):
    line, subject = WRONG_VALUES[case]
    line = line.replace(
        "val_dataloader['dataset'].pop('type')",
        "val_dataloader['dataset']['type'] = None",
    )
    errors = [x for x in check(line) if x.level == 'error']
    assert any(subject in x.subject for x in errors)
    assert all(finding.fix for finding in errors)


@pytest.mark.parametrize(
    'line',
    [
        DATASET + 'filter_cfg=None, data_root=folder))',
    ],
)
def test_none_where_none_is_allowed_is_no_problem(check, line):
    assert problems(check(line)) == []


def paths_in(config, above=()):
    for key, value in config.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from paths_in(value, (*above, key))


@pytest.mark.parametrize('value', [None, 3, 'x', [1], {}, [None]])
def test_no_value_anywhere_gives_a_traceback(monkeypatch, shapes, value):
    """Values that are read; constructors may raise anything.

    Guarded checks may as well, which the next test has.
    """
    from mmdet_retina_plus.doctor import config as module

    loaders = [f'{name}_dataloader' for name in ('train', 'val', 'test')]
    cfg = module.load_config(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes'),
        [f'{loader}.dataset.data_root={shapes}' for loader in loaders],
    )
    settings = cfg.to_dict()
    loaded = SimpleNamespace(text='', filename='', to_dict=lambda: settings)
    monkeypatch.setattr(module, 'check_run', lambda *_: [])
    monkeypatch.setattr(module.images, 'look_at_images', lambda *_: {})
    monkeypatch.setattr(module, 'load_config', lambda *_: loaded)
    for has_guard in (module, annotations):
        monkeypatch.setattr(has_guard, 'guarded', lambda *_: [])
    for *parents, last in list(paths_in(settings)):
        inner = settings
        for key in parents:
            inner = inner[key]
        right = inner[last]
        inner[last] = value
        module.check_config('config.py')
        inner[last] = right


def test_a_check_that_raises_is_a_finding(check, monkeypatch):
    def check_nothing(*_):
        raise KeyError('key')

    monkeypatch.setattr(annotations, 'CHECKS', [check_nothing])
    finding = problems(check())[0]
    assert (finding.level, finding.subject) == ('error', 'nothing')
    assert finding.message == "KeyError: 'key'"
    assert 'check_nothing' in finding.fix


def test_the_data_for_the_test_is_read_too(check):
    path = 'test_dataloader.dataset.ann_file=none.json'
    findings = problems(check('', path))
    assert 'test data' in {finding.subject for finding in findings}


def test_a_test_without_annotations_is_no_problem(check, shapes, tmp_path):
    coco = json.loads((shapes / 'instances_val.json').read_text())
    del coco['annotations']
    path = tmp_path / 'image_info.json'
    path.write_text(json.dumps(coco))
    findings = check('', *[
        f'test_dataloader.dataset.ann_file={path}',
        f'test_evaluator.ann_file={path}',
    ])  # fmt: skip
    assert problems(findings) == []
    assert any(
        '0 of 0 objects in 4 of 4 images' in x.message for x in findings
    )


def test_one_evaluator_of_several_scores_the_data(check):
    evaluators = """
val_evaluator = [
    dict(type='CocoMetric', ann_file=folder + '/instances_val.json'),
    dict(type='CocoMetric', metric='proposal', prefix='boxes',
        ann_file=folder + '/instances_val.json')]
"""
    assert problems(check(evaluators)) == []


def test_small_anchors_are_reported(check):
    finding = only_problem(
        check('', 'model.bbox_head.anchor_generator.octave_base_scale=32')
    )
    assert finding.subject == 'anchors'
    assert 'small' in finding.message


def test_what_is_no_json_is_named(check, tmp_path):
    (tmp_path / 'text.json').write_text('{"images": [')
    finding = only_problem(
        check('', f'{TRAIN}.ann_file={tmp_path / "text.json"}')
    )
    assert 'text.json' in finding.message


def test_other_formats_are_built_and_stepped(check, shapes, tmp_path):
    image = json.loads((shapes / 'instances_train.json').read_text())['images']
    content = {
        'metainfo': {'classes': ['red', 'yellow', 'green', 'blue']},
        'data_list': [
            {
                'img_id': 1,
                'img_path': image[0]['file_name'],
                'height': image[0]['height'],
                'width': image[0]['width'],
                'instances': [
                    {
                        'bbox': [3, 5, 60, 70],
                        'bbox_label': label,
                        'ignore_flag': 0,
                    }
                    for label in range(4)
                ],
            }
        ],
    }
    path = tmp_path / 'openmmlab.json'
    path.write_text(json.dumps(content))
    findings = check(
        "train_dataloader['dataset'] = dict(_delete_=True, "
        f"type='BaseDetDataset', ann_file={str(path)!r}, data_root=folder, "
        "data_prefix=dict(img_path='images'), "
        'pipeline={{_base_.train_pipeline}})'
    )
    assert problems(findings) == []
    assert 'not in COCO format' in str(findings)
    assert 'loss_bbox' in str(findings)


def test_labels_must_agree_between_the_files(check, shapes, tmp_path):
    coco = json.loads((shapes / 'instances_val.json').read_text())
    coco['categories'].reverse()
    path = tmp_path / 'reversed.json'
    path.write_text(json.dumps(coco))
    findings = check(f"val_evaluator = dict(ann_file='{path}')\n", *[
        f'{VAL}.ann_file={path}',
        f'test_dataloader.dataset.ann_file={path}',
        f'test_evaluator.ann_file={path}',
    ])  # fmt: skip
    errors = [x for x in findings if x.level == 'error']
    assert [x.subject for x in errors] == ['data']
    assert 'another class in each' in errors[0].message


def test_own_custom_imports_replace_ours(check):
    lines = "custom_imports = dict(imports=['json'])"
    finding = only_problem(check(lines))
    assert finding.level == 'warning'
    assert finding.subject == 'custom_imports'
    assert "['mmdet_retina_plus', 'yours']" in finding.fix


def test_a_base_by_import_registers_by_itself(check, shapes, tmp_path):
    path = tmp_path / 'imports.py'
    path.write_text(
        "_base_ = __import__('mmdet_retina_plus')"
        ".config('retinanet_r18_fpn_shapes')\n"
        "custom_imports = dict(imports=['json'])\n"
    )
    subjects = [finding.subject for finding in check_config(path)]
    assert 'custom_imports' not in subjects


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        (None, 'retina-plus config NAME'),
        ('model = dict(', 'was never closed'),
        ("_base_ = './none.py'", 'none.py'),
        ("custom_imports = dict(imports=['no_module'])", 'no_module'),
    ],
)
def test_a_config_that_does_not_load(tmp_path, text, words):
    path = tmp_path / 'broken.py'
    if text is not None:
        path.write_text(text)
    finding = only_problem(check_config(path))
    assert finding.level == 'error'
    assert words in finding.message + finding.fix


def test_warnings_of_packages_stay_out_of_the_output(check, monkeypatch):
    def deprecated(cfg):
        warnings.warn('use another', FutureWarning, stacklevel=1)
        return []

    monkeypatch.setattr(config, 'SETTING_CHECKS', (deprecated,))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter('always')
        check()
    assert [str(x.message) for x in told if x.category is FutureWarning] == []
