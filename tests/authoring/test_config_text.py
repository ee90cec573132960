"""Written configs: they load, name the data, and train its classes."""

import json
import shutil
from pathlib import Path

import pytest
from mmdet.registry import DATASETS
from mmengine.config import Config

import mmdet_retina_plus
from mmdet_retina_plus.authoring.plan import make_plan, summary
from mmdet_retina_plus.authoring.write_config import write
from tests.helpers.case_files import coco_set, write_set
from tests.helpers.samples import OBJECTS
from tests.helpers.shipped_configs import build_detector, check_step

COMMAND = 'retina-plus init train.json images'


def plan_in(folder, *, train=None, val=True, **options):
    """A plan for six images of 96 x 80 pixels with a cat and a dog each."""
    if train is not None:
        (folder / 'train.json').write_text(json.dumps(train))
    return make_plan(
        folder / 'train.json',
        folder / 'images',
        folder / 'my_config.py',
        mmdet_retina_plus.config,
        val=folder / 'val.json' if val else None,
        **options,
    )


def written(plan) -> Config:
    write(plan, 'retina-plus', COMMAND)
    return Config.fromfile(plan.out)


@pytest.fixture(scope='module')
def small(tmp_path_factory):
    """Folder and config of the small RetinaMask on a divided file."""
    folder = write_set(tmp_path_factory.mktemp('small')).parent
    options = dict(model='retinamask_r18_fpn_shapes', batch_size=2)
    return folder, written(plan_in(folder, val=False, **options))


def test_it_builds_and_steps(small):
    _, config = small
    detector = build_detector(config)
    check_step(detector, [OBJECTS])
    assert detector.bbox_head.num_classes == 2
    assert detector.roi_head.mask_head.num_classes == 2


def test_its_data_sets_have_the_objects_of_the_file(small):
    _, config = small
    sets = [
        DATASETS.build(config[f'{name}_dataloader'].dataset)
        for name in ('train', 'val')
    ]
    assert [x.metainfo['classes'] for x in sets] == [('cat', 'dog')] * 2
    infos = [x.get_data_info(at) for x in sets for at in range(len(x))]
    assert len({info['img_path'] for info in infos}) == 6
    assert sum(len(info['instances']) for info in infos) == 12
    assert len(sets[1]) == 1
    sample = sets[0][0]['data_samples']
    assert sample.img_shape == (80, 96)
    assert len(sample.gt_instances.masks) == 2


def test_it_may_be_moved_with_its_data(small, tmp_path):
    folder, _ = small
    moved = tmp_path / 'moved'
    shutil.copytree(folder, moved)
    config = Config.fromfile(moved / 'my_config.py')
    dataset = DATASETS.build(config.val_dataloader.dataset)
    assert dataset.get_data_info(0)['img_path'].startswith(f'{moved}/')
    assert config.val_evaluator.ann_file == f'{moved}/my_config_val.json'


@pytest.mark.parametrize('name', ["it's", 'back\\slash'])
def test_it_loads_in_a_folder_whatever_its_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    plan = plan_in(write_set(folder).parent, model='retinanet_r18_fpn_shapes')
    config = written(plan)
    dataset = DATASETS.build(config.val_dataloader.dataset)
    assert dataset.get_data_info(0)['img_path'].startswith(f'{folder}/')
    assert config.val_evaluator.ann_file == f'{folder}/val.json'


def test_the_rate_belongs_to_the_batch(small):
    _, config = small
    assert config.train_dataloader.batch_size == 2
    assert config.auto_scale_lr.base_batch_size == 2
    # AdamW's, .002 for 8 images, goes by the root.
    assert config.optim_wrapper.optimizer.lr == 0.001


def test_its_lines_fit_a_page_but_for_the_command(small):
    folder, _ = small
    lines = (folder / 'my_config.py').read_text().splitlines()
    assert f'#   {COMMAND}' in lines
    assert max(map(len, lines)) <= 79


def test_large_models_on_few_images(tmp_path):
    folder = write_set(tmp_path).parent
    plan = plan_in(folder)
    assert plan.base.name == 'retinamask_r50_fpn'
    config = written(plan)
    # 24 epochs of 3 steps, so the warm-up of 500 is shortened.
    assert config.param_scheduler[0].end == 3
    assert config.param_scheduler[1].end == 24
    assert config.optim_wrapper.optimizer.lr == 0.00125
    assert config.train_pipeline[2].scales == [(77, 64), (96, 80), (120, 100)]
    assert config.test_dataloader.dataset.pipeline[1].scale == (96, 80)
    assert config.val_evaluator.metric == ['bbox', 'segm']
    assert config.train_dataloader.dataset.data_root == f'{folder}/'


@pytest.mark.parametrize('reverse', ['train', 'val'])
def test_labels_mean_the_same_class_in_both_files(tmp_path, reverse):
    folder = write_set(tmp_path).parent
    path = folder / f'{reverse}.json'
    coco = json.loads(path.read_text())
    coco['categories'].reverse()
    path.write_text(json.dumps(coco))
    plan = plan_in(folder, model='retinanet_r18_fpn_shapes')
    assert [x.path.name for x in plan.new] == ['my_config_val.json']
    config = written(plan)
    for name in ('train', 'val'):
        dataset = DATASETS.build(config[f'{name}_dataloader'].dataset)
        names = dataset.metainfo['classes']
        # The dog is the right one.
        assert {
            names[x['bbox_label']]: x['bbox'][0]
            for x in dataset.get_data_info(0)['instances']
        } == {'cat': 8, 'dog': 48}


def test_a_class_that_validation_lacks_keeps_its_place(tmp_path):
    val = coco_set(first=6)
    val['categories'].pop(0)
    val['annotations'] = val['annotations'][1::2]
    plan = plan_in(write_set(tmp_path, val=val).parent)
    (aligned,) = plan.new
    assert aligned.categories == ['cat', 'dog']
    assert aligned.counts == {'cat': 0, 'dog': 6}


def test_classes_are_categories_with_objects(tmp_path):
    coco = coco_set()
    coco['categories'].insert(0, dict(id=0, name='animals'))
    plan = plan_in(write_set(tmp_path, train=coco).parent)
    assert plan.classes == ['cat', 'dog']
    assert any('animals' in line for line in summary(plan))
    assert plan.new == []


def test_images_that_the_base_leaves_out_train(tmp_path):
    coco = coco_set()
    coco['annotations'] = coco['annotations'][:-2]
    coco['images'][0].update(width=40, height=31)
    folder = write_set(tmp_path, train=coco).parent
    config = written(plan_in(folder, model='retinanet_r50_fpn_fl'))
    assert len(DATASETS.build(config.train_dataloader.dataset)) == 6


def test_the_model_follows_the_masks(tmp_path):
    coco = coco_set()
    for item in coco['annotations']:
        item['segmentation'] = []
    folder = write_set(tmp_path, train=coco).parent
    assert plan_in(folder).base.name == 'retinanet_r50_fpn_fl'
    small = '/train.json has .* --model retinanet_r18_fpn_pennfudan'
    with pytest.raises(ValueError, match=small):
        plan_in(folder, val=False, model='retinaunet_r18_fpn_shapes')


def test_empty_polygons_are_no_masks(tmp_path):
    """Some tools write them for objects without a mask."""
    coco = coco_set()
    blanks = ([[]], [[1, 2, 3, 4]]) * 6
    for item, blank in zip(coco['annotations'], blanks, strict=True):
        item['segmentation'] = blank
    plan = plan_in(write_set(tmp_path, train=coco).parent, val=False)
    assert plan.base.name == 'retinanet_r50_fpn_fl'
    # Doctor reports those that are not in COCO's format.
    for item in coco['annotations']:
        item['segmentation'] = [[[1, 1], [9, 1], [9, 9]]]
    assert plan_in(tmp_path, train=coco).base.name == 'retinamask_r50_fpn'


def test_a_smaller_batch_than_asked_for_and_a_class_without_ap_are_noted(
    tmp_path,
):
    val = coco_set(first=6)
    val['annotations'] = val['annotations'][::2]
    folder = write_set(tmp_path, val=val).parent
    batch, unseen = sorted(plan_in(folder, batch_size=8).notes)[::-1]
    assert batch == 'training has 6 images, so batch_size is 6, not 8'
    assert unseen == 'no validation object is of dog: no AP for it'


def test_masks_are_learnt_only_if_they_can_be_scored(tmp_path):
    val = coco_set(first=6)
    del val['annotations'][3]['segmentation']
    folder = write_set(tmp_path, val=val).parent
    config = written(plan_in(folder))
    assert config.val_evaluator.metric == 'bbox'
    with pytest.raises(ValueError, match='1 object has no segmentation'):
        plan_in(folder, model='retinamask_r18_fpn_shapes')
    assert plan_in(folder, model='retinaunet_r18_fpn_shapes')


def test_an_image_listed_twice_stays_on_one_side(tmp_path):
    coco = coco_set()
    for image in coco['images'][3:]:
        image['file_name'] = f'./{image["id"] - 4}.png'
    folder = write_set(tmp_path, train=coco).parent
    plan = plan_in(folder, val=False, val_fraction=0.4)
    train, val = (
        {Path(image['file_name']) for image in part.images}
        for part in (plan.train, plan.val)
    )
    assert len(train) == 2 and len(val) == 1 and not train & val


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(model='retinamask_r50'), 'did you mean .*retinamask_r50_fpn'),
        (dict(model='sweeps/depth'), 'is not a detector for COCO data'),
        (dict(model='retinamask_r18_fpn_shapes-demo'), 'fits its own data'),
    ],
)
def test_other_models_are_refused(tmp_path, options, said):
    folder = write_set(tmp_path).parent
    with pytest.raises(ValueError, match=said):
        plan_in(folder, **options)


def test_sets_without_a_common_class_are_refused(tmp_path):
    val = coco_set(first=6)
    for item in val['categories']:
        item['name'] += 's'
    folder = write_set(tmp_path, val=val).parent
    with pytest.raises(ValueError, match='objects of cats, dogs'):
        plan_in(folder)


def test_an_image_of_both_sets_is_noted(tmp_path):
    folder = write_set(tmp_path, val=coco_set()).parent
    (note,) = plan_in(folder).notes
    assert note.startswith('6 images are in both files')


REPORT = dict(
    fit=dict(all=dict(mean_iou=0.4, below_05=0.6)),
    suggestion=dict(
        model=dict(bbox_head=dict(anchor_generator=dict(ratios=[3.0]))),
        anchors=1.0,
        fit=dict(all=dict(mean_iou=0.7, below_05=0.1)),
    ),
)


@pytest.mark.parametrize(
    ('model', 'ratios'),
    [
        ('retinanet_r18_fpn_shapes', [3.0]),
        # Its assigner needs no IoU of .5.
        ('lab/assigner_atss', [0.5, 1.0, 2.0]),
    ],
)
def test_anchors_that_fit_better_are_written(tmp_path, model, ratios):
    plan = plan_in(write_set(tmp_path).parent, model=model)
    config = written(plan.with_anchors(REPORT))
    assert config.model.bbox_head.anchor_generator.ratios == ratios
    assert config.model.bbox_head.num_classes == 2
