"""Small versions of published failures: each gets the right answer."""

import json

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.helpers.case_files import (
    HEIGHT,
    WIDTH,
    Case,
    coco_set,
    picture,
)

TRAIN = 'train_dataloader.dataset'
VAL = 'val_dataloader.dataset'


@pytest.fixture
def case(tmp_path):
    return Case(tmp_path)


def words(finding):
    return f'{finding.subject}: {finding.message} {finding.fix}'


def of_level(findings, level='error'):
    return [finding for finding in findings if finding.level == level]


def test_a_right_set_has_no_problem(case):
    findings = case.findings()
    assert of_level(findings, 'ok') == findings
    text = ' '.join(map(words, findings))
    assert 'training keeps 12 of 12 objects in 6 of 6 images' in text
    assert 'loss_bbox' in text


def test_a_wrong_loop_does_not_hide_a_wrong_optimizer(case):
    case.add("train_cfg['max_epoch'] = 12\noptim_wrapper['optimzer'] = {}")
    fixes = ' '.join(x.fix for x in of_level(case.findings()))
    assert 'max_epochs=' in fixes
    assert 'optimizer=' in fixes


def test_it_writes_nothing(case):
    before = sorted(case.folder.rglob('*'))
    case.findings()
    assert sorted(case.folder.rglob('*')) == before


def test_pictures_of_samples(case, tmp_path):
    findings = case.findings(show=tmp_path / 'shown')
    assert f'6 samples drawn in {tmp_path / "shown"}' in [
        x.message for x in findings
    ]
    names = {path.name for path in (tmp_path / 'shown').iterdir()}
    assert {'train-0.png', 'val-0.png'} <= names


def test_objects_loaded_after_resizing_are_shown_on_their_pixels(
    case, tmp_path
):
    for number in range(6, 12):
        image = np.full((HEIGHT, WIDTH, 3), 99, np.uint8)
        cv2.imwrite(str(case.folder / f'images/{number}.png'), image)
    case.add("""
test_pipeline[1].update(scale=(192, 192))
test_pipeline[2]['with_mask'] = True
val_dataloader['dataset']['pipeline'] = test_pipeline
""")
    assert of_level(case.findings(show=tmp_path / 'shown')) == []
    drawn = cv2.imread(str(tmp_path / 'shown/val-0.png'))
    assert drawn.shape == (2 * HEIGHT, 2 * WIDTH, 3)
    rows, columns = np.nonzero((drawn != 99).any(axis=2))
    # The right and lower edges of the dog's box, of twice the size.
    assert abs(rows.max() - 2 * 70) <= 4
    assert abs(columns.max() - 2 * 84) <= 4


# Case 2.


@pytest.mark.parametrize('number', [1, 12])
def test_crowds_do_not_train(case, number):
    def crowds(coco):
        for annotation in coco['annotations'][:number]:
            annotation['iscrowd'] = 1

    case.change('train', crowds)
    finding = next(x for x in case.problems() if 'data' in x.subject)
    assert finding.level == ('error' if number == 12 else 'warning')
    assert f'keeps {12 - number} of 12 objects' in finding.message
    assert f'{number} marked "iscrowd"' in finding.message
    assert '"iscrowd": 0' in finding.fix


# Case 10.


def test_images_below_min_size_do_not_train(case):
    (finding,) = of_level(case.problems(f'{TRAIN}.filter_cfg.min_size=200'))
    assert 'keeps 0 of 12 objects' in finding.message
    assert 'in 0 of 6 images' in finding.message
    assert 'filter_cfg.min_size=' in finding.fix


def test_some_images_below_min_size(case):
    def one_large(coco):
        coco['images'][0].update(width=WIDTH * 4, height=HEIGHT * 4)

    image = picture(0, WIDTH * 4, HEIGHT * 4)
    cv2.imwrite(str(case.folder / 'images/0.png'), image)
    case.change('train', one_large)
    (finding,) = [
        x
        for x in case.problems(f'{TRAIN}.filter_cfg.min_size=200')
        if x.subject == 'train data'
    ]
    assert finding.level == 'warning'
    assert 'keeps 2 of 12 objects' in finding.message
    assert 'in 1 of 6 images' in finding.message


# Cases 15, 16, 17 and 21.


def test_a_category_name_twice(case):
    case.change(
        'train', lambda x: x['categories'].append({'id': 3, 'name': 'cat'})
    )
    (finding,) = of_level(case.problems())
    assert 'cat more than once (category ids 1, 3)' in finding.message
    assert 'classes=' not in finding.fix


def test_an_unused_root_category_is_nothing_to_do(case):
    for name in ('train', 'val'):
        case.change(
            name,
            lambda x: x['categories'].insert(0, {'id': 0, 'name': 'root'}),
        )
    findings = case.findings()
    assert of_level(findings, 'ok') == findings
    assert any('root is unused' in x.message for x in findings)


def test_category_ids_of_another_type(case):
    def texts(coco):
        for annotation in coco['annotations']:
            annotation['category_id'] = str(annotation['category_id'])

    case.change('train', texts)
    errors = of_level(case.problems())
    assert any("category_id '1'" in x.message for x in errors)
    assert any('"category_id": 1' in x.fix for x in errors)


@pytest.mark.parametrize('names', [('dog',), ('dog', 'cat')])
def test_training_files_of_other_classes_get_one_advice(case, names):
    other = coco_set(first=6)
    other['categories'] = [
        {'id': 1 if name == 'cat' else 2, 'name': name} for name in names
    ]
    if len(names) == 1:
        other['annotations'] = other['annotations'][1::2]
    (case.folder / 'other.json').write_text(json.dumps(other))
    case.change('val', lambda x: x['images'].clear())
    case.change('val', lambda x: x['annotations'].clear())
    case.add(
        "train_dataloader['dataset'] = dict(type='ConcatDataset', datasets=["
        "train_dataloader['dataset'], dict(train_dataloader['dataset'], "
        "ann_file='other.json')])"
    )
    errors = [
        x
        for x in of_level(case.problems())
        if 'categor' in x.message or 'label' in x.message
    ]
    (finding,) = errors
    assert "classes=('cat', 'dog',)" in finding.fix


# Case 14.


def test_polygons_that_scoring_stops_at(case):
    def thin(coco):
        coco['annotations'][3]['segmentation'] = [[5, 5, 25, 15]]

    case.change('val', thin)
    case.add("val_evaluator.update(metric=['bbox', 'segm'])")
    errors = of_level(case.problems())
    assert any(
        'ids 16' in x.message and 'corners' in x.message for x in errors
    )


@pytest.mark.parametrize('change', ['in fractions', 'one'])
def test_polygons_lie_in_their_boxes(case, change):
    def move(coco):
        for annotation in coco['annotations']:
            (polygon,) = annotation['segmentation']
            if change == 'in fractions':
                polygon[:] = [value / 100 for value in polygon]
            elif annotation['id'] == 3:
                polygon[:] = [value + 40 for value in polygon]

    case.change('train', move)
    case.add(
        "train_pipeline[1]['with_mask'] = True\n"
        "train_dataloader['dataset']['pipeline'] = train_pipeline"
    )
    finding = case.problem()
    words = {'one': 'do not lie in their boxes'}
    assert words.get(change, 'are fractions') in finding.message
    assert finding.level == ('warning' if change == 'one' else 'error')


# Cases 3, 12, 13, 4 and 20.


def as_jpeg(case, orientation=1):
    def rename(coco):
        for image in coco['images']:
            name = image['file_name'].replace('.png', '.jpg')
            image['file_name'] = name
            source = case.folder / 'images' / name.replace('.jpg', '.png')
            exif = Image.Exif()
            exif[274] = orientation
            Image.open(source).save(source.with_suffix('.jpg'), exif=exif)

    for name in ('train', 'val'):
        case.change(name, rename)


LOAD = "dict(type='LoadImageFromFile', color_type='color_ignore_orientation')"


def test_orientation_that_the_boxes_do_not_know(case):
    as_jpeg(case, 6)
    for fast in (False, True):
        errors = of_level(case.problems(fast=fast))
        finding = next(x for x in errors if 'EXIF' in x.message)
        assert '80 x 96 loaded, 96 x 80 in the file' in finding.message
        assert "color_type='color_ignore_orientation'" in finding.fix
    case.add(f'train_pipeline[0] = test_pipeline[0] = {LOAD}')
    assert case.problems() == []


def test_orientation_of_squares_is_not_seen_in_their_size(case):
    as_jpeg(case, 6)

    def square(coco):
        for image in coco['images']:
            path = case.folder / 'images' / image['file_name']
            with Image.open(path) as opened:
                whole, exif = opened.resize((HEIGHT, HEIGHT)), opened.getexif()
            whole.save(path, exif=exif)
            image.update(width=HEIGHT, height=HEIGHT)
        for annotation in coco['annotations']:
            annotation['bbox'] = [8, 16, 40, 30]

    for name in ('train', 'val'):
        case.change(name, square)
    found = [x for x in case.problems() if 'EXIF' in x.message]
    assert [x.level for x in found] == ['warning'] * len(found) != []
    assert all('does not change the size' in x.message for x in found)
    case.add(f'train_pipeline[0] = test_pipeline[0] = {LOAD}')
    assert not any('EXIF' in x.message for x in case.problems())


def test_orientation_that_the_file_knows(case):
    as_jpeg(case, 6)

    def turn(coco):
        for image in coco['images']:
            image.update(width=HEIGHT, height=WIDTH)
        for annotation in coco['annotations']:
            box = annotation['bbox']
            annotation['bbox'] = [box[1], box[0], box[3], box[2]]

    for name in ('train', 'val'):
        case.change(name, turn)
    assert case.problems() == []
    case.add(f'train_pipeline[0] = test_pipeline[0] = {LOAD}')
    errors = of_level(case.problems())
    assert any('which the loader ignores' in x.message for x in errors)


def test_width_and_height_exchanged(case):
    def exchange(coco):
        for image in coco['images']:
            image.update(width=image['height'], height=image['width'])

    case.change('train', exchange)
    errors = of_level(case.problems())
    assert any(
        '6 images' in x.message and 'exchanged' in x.message for x in errors
    )


@pytest.mark.parametrize('extension', ['.png', '.webp'])
def test_the_content_says_the_format(case, extension):
    def rename(coco):
        for image in coco['images']:
            name = image['file_name'].replace('.png', '.jpg')
            source = case.folder / 'images' / image['file_name']
            encoded = cv2.imencode(extension, cv2.imread(str(source)))[1]
            source.with_suffix('.jpg').write_bytes(encoded.tobytes())
            image['file_name'] = name

    case.change('train', rename)
    assert case.problems() == []


def test_trailing_bytes_are_no_problem(case):
    as_jpeg(case)
    for path in (case.folder / 'images').glob('*.jpg'):
        path.write_bytes(path.read_bytes() + bytes(500))
    assert case.problems() == []


@pytest.mark.parametrize('extension', ['jpg', 'png', 'webp', 'bmp', 'tiff'])
def test_half_an_image_cannot_be_decoded(case, extension):
    encoded = cv2.imencode(f'.{extension}', picture(0))[1].tobytes()
    name = f'half.{extension}'
    (case.folder / 'images' / name).write_bytes(encoded[: len(encoded) // 2])
    case.change('train', lambda x: x['images'][2].update(file_name=name))
    (finding,) = case.problems()
    assert finding.level == 'error'
    assert '1 of 6 image files cannot be decoded' in finding.message
    assert name in finding.message


def test_one_channel_of_16_bits_trains(case):
    rng = np.random.default_rng(0)
    for path in (case.folder / 'images').glob('*.png'):
        image = rng.integers(4096, size=(HEIGHT, WIDTH), dtype=np.uint16)
        cv2.imwrite(str(path), image)
    (finding,) = case.problems()
    assert finding.level == 'warning'
    assert "color_type='unchanged'" in finding.fix
    load = "dict(type='LoadImageFromFile', color_type='unchanged', "
    case.add(f'train_pipeline[0] = test_pipeline[0] = {load}to_float32=True)')
    finding = of_level(case.problems())[0]
    assert 'in_channels=1' in finding.fix
    case.add(
        "model['backbone']['in_channels'] = 1\n"
        "model['data_preprocessor'].update(mean=[1024.0], std=[400.0])"
    )
    assert case.problems() == []


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('images\\\\0.png', '0.png'),
        ('images/0.png', '0.png'),
        ('0.PNG', '0.png'),
        ('0.jpg', '0.png'),
        ('a%20b.png', 'a b.png'),
        (' 0.png', '0.png'),
    ],
)
def test_a_near_match_of_a_missing_file_is_named(case, name, meant):
    image = case.folder / 'images/a b.png'
    image.write_bytes((case.folder / 'images/0.png').read_bytes())
    case.change('train', lambda x: x['images'][0].update(file_name=name))
    (finding,) = case.problems()
    assert finding.level == 'error'
    assert f'{meant} is there' in finding.message
    assert f'"file_name": "{meant}"' in finding.fix


def test_a_folder_too_many(case):
    finding = case.problem(f'{TRAIN}.data_prefix.img=images/train')
    assert 'is there' in finding.message
    assert finding.fix.endswith(f"img='{case.folder / 'images'}')")


# Cases 6, 7, 25, 18 and 8, 9.


JOINED = """
second = dict(val_dataloader['dataset'], ann_file='val2.json')
val_dataloader['dataset'] = dict(
    type='ConcatDataset', datasets=[val_dataloader['dataset'], second])
metrics = [dict(type='CocoMetric', ann_file=folder + '/val.json'),
           dict(type='CocoMetric', ann_file=folder + '/val2.json')]
val_evaluator = metrics
test_evaluator = metrics
"""


def test_metrics_of_joined_sets(case):
    second = coco_set(first=10, number=2)
    (case.folder / 'val2.json').write_text(json.dumps(second))
    case.change('val', lambda x: x.update(coco_set(first=6, number=4)))
    case.add(JOINED)
    finding = case.problem()
    assert finding.level == 'error'
    assert 'concatenates 2' in finding.message
    assert "type='MultiDatasetsEvaluator'" in finding.fix
    case.add(finding.fix)
    case.add('test_evaluator = val_evaluator')
    assert case.problems() == []


PACK = "train_pipeline[-1] = dict(type='DefaultFormatBundle')"
RESIZE = "train_pipeline[2] = dict(type='Resize', img_scale=(96, 80))"
SPELT = {
    'format bundle': (PACK, "type='PackDetInputs'"),
    'img_scale': (RESIZE, 'scale='),
    'flip_ratio': (
        "train_pipeline.insert(3, dict(type='RandomFlip', flip_ratio=0.5))",
        'prob=0.5',
    ),
    'transform': ("train_pipeline[2]['type'] = 'Resise'", "type='Resize'"),
    'optimizer': (
        "optim_wrapper['optimizer']['type'] = 'SDG'",
        "type='SGD'",
    ),
    'metric': ("val_evaluator['type'] = 'CocoMetrik'", "type='CocoMetric'"),
    'no boxes': (
        "train_pipeline[1]['with_bbox'] = False",
        'with_bbox=True',
    ),
    'classes': (
        "train_dataloader['dataset'].pop('metainfo')\n"
        "train_dataloader['dataset']['classes'] = ('cat', 'dog')",
        'metainfo=dict(classes=',
    ),
    'workers': (
        "train_dataloader['persistent_workers'] = True",
        'persistent_workers=False',
    ),
    'hook': (
        "custom_hooks = [dict(type='CheckInvalidLosHook')]",
        "type='CheckInvalidLossHook'",
    ),
    'schedule': (
        "param_scheduler[0]['type'] = 'MultiStepLr'",
        "type='MultiStepLR'",
    ),
    'schedule argument': (
        "param_scheduler[0]['milestone'] = [8]",
        'milestones=',
    ),
    'sampler': (
        "train_dataloader['sampler']['type'] = 'DefaultSamplr'",
        "type='DefaultSampler'",
    ),
    'loop': ("train_cfg['max_epoch'] = 12", 'max_epochs='),
    'loss': (
        "model['bbox_head']['loss_cls']['type'] = 'FocalLos'",
        "type='FocalLoss'",
    ),
    'no packing': ('del train_pipeline[-1]', "type='PackDetInputs'"),
    'save_best': (
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook', "
        "save_best='coco/bbox_map'))",
        "save_best='coco/bbox_mAP'",
    ),
    'top level': (
        'optim_wraper = optim_wrapper\ndel optim_wrapper',
        'optim_wrapper=',
    ),
    'runner': (
        "runner = dict(type='EpochBasedRunner', max_epochs=12)\ndel train_cfg",
        'train_cfg=dict(',
    ),
}


@pytest.mark.parametrize('name', SPELT)
def test_what_the_builders_refuse_gets_its_fix(case, name):
    lines, fix = SPELT[name]
    case.add(lines)
    errors = of_level(case.problems())
    assert any(fix in x.fix for x in errors), errors
    # The annotations are checked all the same.
    found = ' '.join(map(words, case.findings()))
    assert '12 of 12 objects' in found or name == 'classes'


@pytest.mark.parametrize(
    ('step', 'package'), [('Albu', 'albumentations'), ('LVISMetric', 'lvis')]
)
def test_a_missing_package_is_named(case, step, package):
    if step == 'Albu':
        case.add("train_pipeline.insert(3, dict(type='Albu', transforms=[]))")
    else:
        case.add("val_evaluator['type'] = 'LVISMetric'")
    errors = of_level(case.problems())
    assert any(
        x.fix.startswith('pip install') and package in x.fix for x in errors
    )


COPY_PASTE = """
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True)]
train_dataloader['dataset'] = dict(
    type='MultiImageMixDataset', dataset=train_dataloader['dataset'],
    pipeline=[
        dict(type='CopyPaste', max_num_pasted=2),
        dict(type='Resize', scale=(48, 40), keep_ratio=True),
        dict(type='PackDetInputs')])
"""


def test_resize_after_copy_paste(case):
    case.add(COPY_PASTE)
    finding = case.problem()
    assert finding.level == 'error'
    assert 'put Resize before CopyPaste' in finding.fix


def test_weights_that_are_not_there(case):
    finding = case.problem('load_from=none.pth')
    assert finding.level == 'error'
    assert 'none.pth' in finding.message


@pytest.mark.parametrize('share', [0, 1])
def test_weights_of_this_model_and_of_another(case, tmp_path, share):
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config

    model = MODELS.build(Config.fromfile(case.config).model)
    weights = {
        name if share else f'other.{name}': value
        for name, value in model.state_dict().items()
    }
    path = tmp_path / 'weights.pth'
    torch.save({'state_dict': weights}, path)
    (finding,) = [
        x
        for x in case.findings(f'load_from={path}')
        if x.subject == 'load_from'
    ]
    assert finding.level == ('ok' if share else 'error')
    assert ('100%' if share else '0%') in finding.message


@pytest.mark.parametrize('decoded', [True, False])
def test_iou_losses_need_decoded_boxes(case, decoded):
    head = "model['bbox_head']"
    case.add(f"{head}['loss_bbox'] = dict(type='GIoULoss')")
    case.add(f"{head}['reg_decoded_bbox'] = {decoded}")
    errors = of_level(case.problems())
    fixes = [x.fix for x in errors]
    assert fixes == (
        [] if decoded else ['model.bbox_head.reg_decoded_bbox=True']
    )


def test_anchors_are_distinct(case):
    anchors = "model['bbox_head']['anchor_generator']"
    case.add(f"{anchors}['ratios'] = [[0.5, 1, 2]] * 5")
    # Our loss refuses them when it is built.
    case.add("model['bbox_head']['type'] = 'RetinaHead'")
    finding = of_level(case.problems())[0]
    assert 'only' in finding.message and 'distinct' in finding.message


# Case 19.


def test_an_option_below_an_unknown_key(case):
    errors = of_level(case.problems('modle.neck.num_outs=3'))
    assert any('did you mean model?' in x.message for x in errors)
    errors = of_level(case.problems('something.x=3'))
    assert any('no something' in x.message for x in errors)


# Other parts that training reads.


def test_class_weights_of_another_length(case):
    case.add(
        "model['bbox_head']['loss_cls'] = dict(type='FusedFocalLoss', "
        'use_sigmoid=True, alpha=[0.25] * 3)'
    )
    errors = of_level(case.problems())
    assert any('alpha has 3 values' in x.message for x in errors)


@pytest.mark.parametrize('rate', [10.0, 1e-9, 0, "'0.01'"])
def test_learning_rates_that_cannot_be_meant(case, rate):
    case.add(f"optim_wrapper['optimizer']['lr'] = {rate}")
    assert any('optimizer.lr=0.01' in x.fix for x in case.problems())


def test_milestones_after_the_end(case):
    case.add("param_scheduler[0]['milestones'] = [80, 110]")
    finding = case.problem()
    assert 'the learning rate never falls' in finding.message
    assert finding.fix == 'param_scheduler.0.milestones=[8, 11]'


@pytest.mark.parametrize('how', ['path', 'content'])
def test_images_of_training_in_validation(case, how):
    images = case.folder / 'images'
    if how == 'content':
        (images / '6.png').write_bytes((images / '0.png').read_bytes())
    else:
        case.change('val', lambda x: x['images'][0].update(file_name='0.png'))
    finding = case.problem()
    assert '1 of 6 images belongs to the training data' in finding.message


def test_a_file_under_several_ids(case):
    case.change('train', lambda x: x['images'][1].update(file_name='0.png'))
    finding = case.problem()
    assert 'under several ids, 0.png under 1, 2' in finding.message


def test_a_class_without_objects(case):
    def only_cats(coco):
        coco['annotations'] = coco['annotations'][::2]

    case.change('train', only_cats)
    finding = case.problem()
    assert 'no object of the class dog' in finding.message
    assert "classes=('cat',)" in finding.fix


def test_boxes_in_fractions_of_the_image(case):
    def fractions(coco):
        for annotation in coco['annotations']:
            annotation['bbox'] = [0.1, 0.1, 0.3, 0.4]

    case.change('train', fractions)
    finding = of_level(case.problems())[0]
    assert 'fractions of the image' in finding.message
    assert 'h * height' in finding.fix


def test_the_order_of_classes(case):
    case.add(
        "train_dataloader['dataset'] = dict(train_dataloader['dataset'], "
        "metainfo=dict(classes=('dog', 'cat')))"
    )
    errors = of_level(case.problems())
    assert any("classes=('cat', 'dog',)" in x.fix for x in errors)


def test_objects_without_an_anchor(case):
    anchors = "model['bbox_head']['anchor_generator']"
    case.add(
        f"{anchors}['octave_base_scale'] = 400\n"
        "model['train_cfg']['assigner']['match_low_quality'] = False"
    )
    finding = next(x for x in case.problems() if x.subject == 'anchors')
    assert finding.level == 'error'
    assert '12 get no anchor' in finding.message


SILENT = {
    'Resize before the boxes': (
        'train_pipeline[1], train_pipeline[2] = train_pipeline[2:0:-1]',
        'comes before LoadAnnotations',
    ),
    'chance in validation': (
        "test_pipeline.insert(3, dict(type='RandomFlip', prob=0.5))",
        'at random',
    ),
    'normalised twice': (
        "train_pipeline.insert(3, dict(type='Normalize', mean=[128.0] * 3, "
        'std=[64.0] * 3))',
        'normalised twice',
    ),
    'a filter that nothing reads': (
        "train_dataloader['dataset']['filter_cfg'] = dict(filter_empty=True)",
        'did you mean filter_empty_gt?',
    ),
    'no shuffling': (
        "train_dataloader['sampler']['shuffle'] = False",
        'order of the file',
    ),
    'scores dropped': (
        "model['test_cfg']['score_thr'] = 0.5",
        'AP is too low',
    ),
    'no validation': ("train_cfg['val_interval'] = 20", 'first validation'),
    'no training': (
        "train_cfg['max_epochs'] = 0\nparam_scheduler = None",
        'training lasts 0',
    ),
    'means of images from 0 to 1': (
        "model['data_preprocessor'].update(mean=[0.485] * 3, std=[0.225] * 3)",
        'for values from 0 to 1',
    ),
    'no id of the image': (
        "test_pipeline[3]['meta_keys'] = ('ori_shape', 'img_shape', "
        "'scale_factor')",
        'no img_id',
    ),
    'validation filtered': (
        "val_dataloader['dataset'].update(test_mode=False, "
        'filter_cfg=dict(min_size=200))',
        'in 0 of 6 images',
    ),
    'another file scored': (
        "val_evaluator['ann_file'] = folder + '/train.json'",
        'scores against',
    ),
    'a warm-up without end': (
        "param_scheduler.insert(0, dict(type='LinearLR', start_factor=0.1, "
        'by_epoch=False, begin=0, end=5000))',
        'which has 36',
    ),
    'thresholds exchanged': (
        "model['train_cfg']['assigner'].update("
        'pos_iou_thr=0.3, neg_iou_thr=0.6)',
        'is below neg_iou_thr=0.6',
    ),
    'a sampler without end': (
        "train_dataloader['sampler'] = dict(type='InfiniteSampler')",
        'the first epoch never ends',
    ),
    'a validation without end': (
        "val_dataloader['sampler'] = dict(type='InfiniteSampler')",
        'the loop never ends',
    ),
    'a warm-up in epochs': (
        "param_scheduler.insert(0, dict(type='LinearLR', start_factor=0.1, "
        'begin=0, end=500))',
        'warm-up of 500 epochs is longer than training, which has 12',
    ),
    'a single schedule': (
        "param_scheduler = dict(type='LinearLR', start_factor=0.1, "
        'by_epoch=False, begin=0, end=5000)',
        'which has 36',
    ),
    'validation normalised twice': (
        "test_pipeline.insert(2, dict(type='Normalize', mean=[128.0] * 3, "
        'std=[64.0] * 3))',
        'normalised twice',
    ),
    'NMS at no overlap': (
        "model['test_cfg']['nms']['iou_threshold'] = 50",
        'is not in (0, 1]',
    ),
    'gradients clipped to nothing': (
        "optim_wrapper['clip_grad'] = dict(max_norm=0)",
        'leaves no gradient',
    ),
    'parameters that are not there': (
        "optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict("
        'bakbone=dict(lr_mult=0.1)))',
        'did you mean backbone?',
    ),
    'parameters named as in another package': (
        "optim_wrapper['paramwise_cfg'] = dict(custom_keys=dict("
        'img_backbone=dict(lr_mult=0.1)))',
        'did you mean backbone?',
    ),
    "the end of a metric's name": (
        "default_hooks = dict(checkpoint=dict(type='CheckpointHook', "
        "save_best='bbox_mAP'))",
        'no metric is called bbox_mAP',
    ),
    'an error without a message': (
        "train_pipeline.insert(3, dict(type='RandomFlip', prob=0.5, "
        "direction='horizonal'))",
        'direction',
    ),
    'no batch': (
        'train_dataloader.update(batch_size=50, drop_last=True)',
        'leaves no batch of 6 images',
    ),
    'a step that is a text': (
        "train_pipeline[2] = 'Resize'",
        "'Resize' is not a dict",
    ),
    'no annotation file': (
        "val_dataloader['dataset']['ann_file'] = 'none.json'\n"
        "val_evaluator['ann_file'] = folder + '/none.json'",
        'none.json',
    ),
}


@pytest.mark.parametrize('name', SILENT)
def test_one_fault_is_one_problem(case, name):
    lines, message = SILENT[name]
    case.add(lines)
    assert message in case.problem().message


def corners(coco):
    for annotation in coco['annotations']:
        left, top, width, height = annotation['bbox']
        annotation['bbox'] = [left, top, left + width, top + height]


def test_boxes_of_corners(case):
    case.change('train', corners)
    errors = of_level(case.problems())
    assert any('[left, top, right, bottom]' in x.message for x in errors)
