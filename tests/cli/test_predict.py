"""Images of any size and state through the command, as users call it."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from mmdet.apis import inference_detector, init_detector
from mmdet.models import BaseDetector
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from torch import nn
from torch.testing import assert_close

from mmdet_retina_plus.cli.options import PATCH_WEIGHTS
from mmdet_retina_plus.cli.predict import main
from mmdet_retina_plus.fusion import WBC_PRESETS
from mmdet_retina_plus.inference.pictures import Pictures
from tests.helpers.builders import detector_config
from tests.helpers.mask_scenes import roi_head_config

CLASSES = ('red', 'green', 'blue')
POISON = 77
"""A grey that no model could bear."""


class SeeingDetector(BaseDetector):
    """Boxes around what is bright, scored by how bright it is."""

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        for image, sample in zip(
            batch_inputs, batch_data_samples, strict=True
        ):
            height, width = sample.img_shape
            sample.pred_instances = self.look(image[0, :height, :width])
            scale = torch.tensor(sample.scale_factor).repeat(2)
            sample.pred_instances.bboxes /= scale
        return batch_data_samples

    def look(self, pixels):
        if (pixels == POISON).any():
            raise RuntimeError('out of memory')
        bright = (pixels > 100).numpy().astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        corners = torch.from_numpy(stats[1:, :4]).float()
        corners[:, 2:] += corners[:, :2]
        scores = [
            float(pixels[y1:y2, x1:x2].mean() / 255)
            for x1, y1, x2, y2 in corners.long().tolist()
        ]
        return InstanceData(
            bboxes=corners,
            scores=torch.tensor(scores),
            labels=torch.ones(len(corners), dtype=torch.long),
        )

    def extract_feat(self, batch_inputs):
        raise NotImplementedError

    loss = _forward = extract_feat


@pytest.fixture
def seeing(tmp_path):
    """Config and checkpoint of a detector that reads boxes off images."""
    MODELS.register_module(module=SeeingDetector)
    config = write_config(tmp_path / 'seeing.py', dict(type='SeeingDetector'))
    checkpoint = tmp_path / 'seeing.pth'
    torch.save(dict(state_dict={}), checkpoint)
    yield [str(config), str(checkpoint)]
    MODELS.module_dict.pop('SeeingDetector')


def write_config(path: Path, model, scale=None) -> Path:
    """A config of a test set; `scale` is the width and height to fit into."""
    resize = (
        dict(type='Resize', scale=scale, keep_ratio=True)
        if scale
        else dict(type='Resize', scale_factor=1.0)
    )
    config = Config(
        dict(
            default_scope='mmdet',
            model=dict(
                model,
                data_preprocessor=dict(
                    type='DetDataPreprocessor', pad_size_divisor=32
                ),
            ),
            test_dataloader=dict(
                dataset=dict(
                    type='CocoDataset',
                    metainfo=dict(classes=CLASSES),
                    pipeline=[
                        dict(type='LoadImageFromFile'),
                        resize,
                        dict(type='LoadAnnotations', with_bbox=True),
                        dict(type='PackDetInputs'),
                    ],
                )
            ),
        )
    )
    config.dump(path)
    return path


def retinanet(folder: Path, seed=0, stock=False, classes=3) -> list[str]:
    """Config and checkpoint of a narrow one, ours or mmdet's."""
    torch.manual_seed(seed)
    model = detector_config()
    model.bbox_head.num_classes = classes
    if stock:
        model.type, model.bbox_head.type = 'RetinaNet', 'RetinaHead'
    detector = MODELS.build(model)
    detector.init_weights()
    nn.init.normal_(detector.bbox_head.retina_cls.weight, std=0.3)
    name = f'{"stock" if stock else "ours"}-{seed}-{classes}'
    config = write_config(folder / f'{name}.py', model, scale=(128, 128))
    torch.save(detector.state_dict(), folder / f'{name}.pth')
    return [str(config), str(folder / f'{name}.pth')]


def write_image(path: Path, *boxes, size=(90, 120), grey=255) -> str:
    """A black image of a height and width with bright boxes."""
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2 in boxes:
        image[y1:y2, x1:x2] = grey
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return str(path)


def run(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.output


def read(path: Path):
    return json.loads(path.read_text())


def noise(path: Path, seed: int) -> str:
    image = np.random.default_rng(seed).integers(0, 256, (90, 120, 3))
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), image.astype(np.uint8))
    return str(path)


@pytest.mark.parametrize('stock', [True, False])
def test_a_whole_image_gets_what_mmdet_finds(tmp_path, stock):
    config, checkpoint = retinanet(tmp_path, stock=stock)
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    run(image, config, checkpoint, '--out', out)
    model = init_detector(config, checkpoint, device='cpu')
    expected = inference_detector(model, image).pred_instances
    found = read(out)
    assert len(found) == len(expected) > 5
    boxes = torch.tensor([item['bbox'] for item in found])
    boxes[:, 2:] += boxes[:, :2]
    assert_close(boxes, expected.bboxes)
    assert_close(torch.tensor([x['score'] for x in found]), expected.scores)
    labels = [item['category_id'] - 1 for item in found]
    assert labels == expected.labels.tolist()


def test_the_mask_head_rests(tmp_path, monkeypatch):
    config, checkpoint = retinanet(tmp_path)
    cfg = Config.fromfile(config)
    cfg.model.roi_head = roi_head_config(start_level=0)
    cfg.dump(config)
    head = MODELS.build(cfg.model.roi_head)
    weights = torch.load(checkpoint)
    weights |= {f'roi_head.{k}': v for k, v in head.state_dict().items()}
    torch.save(weights, checkpoint)
    monkeypatch.setattr(type(head), 'mask_logits', pytest.fail)
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    run(image, config, checkpoint, '--out', out, '--tile', 64)
    assert len(read(out)) > 5


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
@pytest.mark.parametrize('batch_size', [1, 3])
def test_tiles_find_objects_where_they_are(tmp_path, seeing, fuse, batch_size):
    # Those wholly seen by all tiles that see them, with strides of 32.
    boxes = [(2, 4, 28, 27), (70, 36, 90, 60), (105, 100, 119, 120)]
    image = write_image(tmp_path / 'a.png', *boxes, size=(130, 160))
    out = tmp_path / 'out.json'
    run(
        *(image, *seeing, '--out', out, '--tile', 64, '--overlap', 0.5),
        *('--fuse', fuse, '--batch-size', batch_size),
    )
    found = read(out)
    assert sorted(item['bbox'] for item in found) == [
        [x1, y1, x2 - x1, y2 - y1] for x1, y1, x2, y2 in boxes
    ]
    assert {item['category_id'] for item in found} == {2}
    assert all(item['score'] == pytest.approx(1) for item in found)


def test_ids_are_numbers_in_the_order_of_names(tmp_path, seeing):
    names = ['b.png', 'a/c.png', 'a.png']
    for width, name in enumerate(names, 10):
        path = tmp_path / 'images' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, (5, 5, 5 + width, 20))
    (tmp_path / 'images' / 'notes.txt').write_text('no image')
    out = tmp_path / 'out.json'
    run(tmp_path / 'images', *seeing, '--out', out)
    coco = COCO(tmp_path / 'out.images.json')
    coco.createIndex()
    images = [coco.imgs[item['image_id']] for item in read(out)]
    assert [image['id'] for image in images] == [1, 2, 3]
    assert [image['file_name'] for image in images] == sorted(names)
    assert {(x['height'], x['width']) for x in images} == {(90, 120)}
    widths = [item['bbox'][2] for item in read(out)]
    assert widths == [12, 11, 10]
    assert [coco.cats[i]['name'] for i in (1, 2, 3)] == list(CLASSES)
    assert len(coco.loadRes(str(out)).anns) == 3


def test_images_may_be_a_pattern_or_have_a_pattern_for_a_name(
    tmp_path, seeing
):
    for name in ('a[1].png', 'a1.png', 'b.png'):
        write_image(tmp_path / 'images' / name)
    out = tmp_path / 'out.json'
    beside = tmp_path / 'out.images.json'
    for images, names in (
        ('a[1].png', ['a[1].png']),
        ('a*.png', ['a1.png', 'a[1].png']),
        ('**/b.*', ['b.png']),
    ):
        run(tmp_path / 'images' / images, *seeing, '--out', out)
        listed = [image['file_name'] for image in read(beside)['images']]
        assert listed == names


def annotations(path: Path, *images, names=CLASSES) -> Path:
    """A COCO file of images and categories 10, 20, ..."""
    coco = dict(
        images=[
            dict(id=number, file_name=name, width=120, height=90)
            for number, name in images
        ],
        categories=[
            dict(id=10 * i, name=name) for i, name in enumerate(names, 1)
        ],
        annotations=[],
    )
    path.write_text(json.dumps(coco))
    return path


def test_an_annotation_file_gives_images_ids_and_categories(tmp_path, seeing):
    for name in ('a.png', 'b.png', 'unlisted.png'):
        write_image(tmp_path / 'images' / name, (5, 5, 25, 20))
    names = ('any', *CLASSES)
    ann_file = annotations(
        tmp_path / 'ann.json', (9, 'b.png'), (4, 'a.png'), names=names
    )
    out = tmp_path / 'out.json'
    images = tmp_path / 'images'
    run(images, *seeing, '--out', out, '--ann-file', ann_file)
    found = [(item['image_id'], item['category_id']) for item in read(out)]
    assert found == [(9, 30), (4, 30)]
    assert not (tmp_path / 'out.images.json').exists()


def test_one_bad_image_does_not_stop_the_others(tmp_path, seeing):
    images = tmp_path / 'images'
    write_image(images / 'a.png', (5, 5, 25, 20))
    whole = Path(write_image(images / 'truncated.jpg', (5, 5, 25, 20)))
    whole.write_bytes(whole.read_bytes()[:-200])
    write_image(images / 'poison.png', (5, 5, 6, 6), grey=POISON)
    (images / 'text.png').write_text('no image')
    (images / 'void.png').touch()
    write_image(images / 'z.png', (5, 5, 25, 20))
    ann_file = annotations(
        tmp_path / 'ann.json',
        *enumerate(
            ['a.png', 'truncated.jpg', 'absent.png', 'poison.png'], start=1
        ),
        *[(5, 'text.png'), (6, 'z.png'), (7, 'void.png')],
    )
    out = tmp_path / 'out.json'
    arguments = (images, *seeing, '--out', out, '--tile', 64)
    output = run(*arguments, '--ann-file', ann_file, code=1)
    assert [item['image_id'] for item in read(out)] == [1, 6]
    assert 'poison.png: RuntimeError: out of memory' in output
    assert 'void.png: OSError: The file is empty' in output
    for name in ('truncated.jpg', 'absent.png', 'text.png'):
        assert f'\n{name}: ' in output
    *_, failures = output.split('.json\n')
    assert len(failures.splitlines()) == 6
    assert '5 of 7 images failed' in output
    assert 'z.png' not in output
    run(*arguments, code=1)
    listed = read(tmp_path / 'out.images.json')['images']
    assert [(x['id'], x['file_name']) for x in listed] == [
        (1, 'a.png'),
        (6, 'z.png'),
    ]


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
def test_small_images_and_empty_tiles(tmp_path, seeing, fuse):
    images = tmp_path / 'images'
    write_image(images / 'empty.png', size=(90, 200))
    write_image(images / 'one.png', (5, 5, 25, 20), size=(90, 200))
    write_image(images / 'small.png', (5, 5, 25, 20), size=(30, 40))
    write_image(images / 'thin.png', (100, 1, 110, 3), size=(3, 200))
    out = tmp_path / 'out.json'
    run(images, *seeing, '--out', out, '--tile', 64, '--fuse', fuse)
    found = [(item['image_id'], item['bbox']) for item in read(out)]
    assert found == [
        (2, [5, 5, 20, 15]),
        (3, [5, 5, 20, 15]),
        (4, [100, 1, 10, 2]),
    ]


def test_equal_checkpoints_agree(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    image = noise(tmp_path / 'images' / 'a.png', seed=1)
    outs = tmp_path / 'one.json', tmp_path / 'three.json'
    run(image, config, checkpoint, '--out', outs[0])
    run(
        *(image, config, checkpoint, '--out', outs[1]),
        *('--ensemble', checkpoint, checkpoint),
    )
    # Rounding may swap boxes of nearly equal scores.
    one, three = (
        sorted(read(file), key=lambda item: item['bbox']) for file in outs
    )
    assert len(one) > 5
    for left, right in zip(one, three, strict=True):
        assert left['bbox'] == pytest.approx(right['bbox'], abs=1e-3)
        assert left['score'] == pytest.approx(right['score'], abs=1e-5)


def test_checkpoints_that_disagree_score_less(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    _, other = retinanet(tmp_path, seed=1)
    image = noise(tmp_path / 'images' / 'a.png', seed=1)
    alone, both = tmp_path / 'alone.json', tmp_path / 'both.json'
    run(image, config, checkpoint, '--out', alone)
    run(image, config, checkpoint, '--out', both, '--ensemble', other)
    assert max(x['score'] for x in read(both)) < max(
        x['score'] for x in read(alone)
    )


def test_a_score_threshold_is_for_what_was_fused(tmp_path, seeing):
    """A box that one of two tiles finds scores half."""
    image = write_image(tmp_path / 'a.png', (2, 4, 28, 27), (60, 4, 80, 27))
    boxes = {}
    for threshold in (0, 0.4, 0.6):
        out = tmp_path / f'{threshold}.json'
        run(
            *(image, *seeing, '--out', out, '--score-thr', threshold),
            *('--tile', 64, '--overlap', 0.2),
        )
        boxes[threshold] = len(read(out))
    assert boxes[0] > boxes[0.4] > boxes[0.6] > 0


def test_pictures_show_the_boxes(tmp_path, seeing):
    images, pictures = tmp_path / 'images', tmp_path / 'pictures'
    (images / 'inner').mkdir(parents=True)
    write_image(images / 'inner' / 'a.png', (20, 20, 60, 60))
    write_image(images / 'b.png')
    run(
        *(images, *seeing, '--out', tmp_path / 'out.json'),
        *('--show-dir', pictures),
    )
    for name, drawn in (('inner/a.png', True), ('b.png', False)):
        before = cv2.imread(str(images / name)).astype(int)
        after = cv2.imread(str(pictures / name)).astype(int)
        assert before.shape == after.shape
        assert (abs(before - after).max() > 50) == drawn


def test_the_presets_are_those_of_the_fusion():
    """Which commands name without importing torch."""
    assert set(PATCH_WEIGHTS) == set(WBC_PRESETS)


@pytest.mark.parametrize('preset', PATCH_WEIGHTS)
def test_every_preset_fuses(tmp_path, seeing, preset):
    image = write_image(tmp_path / 'a.png', (40, 30, 60, 50), size=(90, 96))
    out = tmp_path / 'out.json'
    run(
        *(image, *seeing, '--out', out, '--tile', 64, '--overlap', 0.5),
        *('--preset', preset),
    )
    assert read(out)[0]['bbox'] == [40, 30, 20, 20]


BAD_OPTIONS = {
    'no image': (dict(images='nothing'), 'no images'),
    'no checkpoint': (dict(checkpoint='absent.pth'), 'absent.pth'),
    'no ensemble': (dict(extra=['--ensemble', 'absent.pth']), 'absent.pth'),
    'no config': (dict(config='absent.py'), 'absent.py'),
    'no folder': (dict(out='absent/out.json'), 'no folder'),
    'tile': (dict(extra=['--tile', '0']), '--tile'),
    'overlap': (dict(extra=['--overlap', '1']), '--overlap'),
    'threshold': (dict(extra=['--iou-thr', '1.5']), '--iou-thr'),
    'batch': (dict(extra=['--batch-size', '0']), '--batch-size'),
    'preset': (
        dict(extra=['--flip', '--fuse', 'nms', '--preset', 'mdt']),
        '--fuse wbc',
    ),
    'key': (dict(extra=['--cfg-options', 'modle.a=1']), 'no modle, but model'),
    'pair': (dict(extra=['--cfg-options', 'model']), 'KEY=VALUE'),
    'value': (dict(extra=['--cfg-options', 'model.a=1']), "keyword.*'a'"),
    'device': (dict(extra=['--device', 'abacus']), 'abacus'),
    'overwriting': (dict(extra=['--show-dir', '.']), 'overwrite'),
    'no number': (dict(extra=['--score-thr', 'nan']), 'not a finite'),
    'infinity': (dict(extra=['--score-thr', 'inf']), 'not in the range'),
    'not shown': (dict(extra=['--show-score-thr', 'nan']), 'not a finite'),
    'swapped': (
        dict(config='seeing.pth', checkpoint='seeing.py'),
        'seeing.pth is no config.*CONFIG first',
    ),
    'two configs': (dict(checkpoint='seeing.py'), 'is a config, not a check'),
}


@pytest.mark.parametrize(
    ('given', 'needed'),
    [
        (('--overlap', 0.5), '--tile'),
        (('--batch-size', 2), '--tile'),
        (('--show-score-thr', 0.5), '--show-dir'),
        (('--fuse', 'nms'), '--tile or --flip or --ensemble'),
        (('--preset', 'mdt'), '--tile or --flip or --ensemble'),
        (('--iou-thr', 0.5), '--tile or --flip or --ensemble'),
    ],
)
def test_options_that_do_nothing_are_named(tmp_path, seeing, given, needed):
    write_image(tmp_path / 'a.png', (5, 5, 25, 20))
    arguments = (tmp_path / 'a.png', *seeing, '--out', tmp_path / 'out.json')
    line = f'Note: {given[0]} does nothing without {needed}\n'
    assert line in run(*arguments, *given)
    assert 'Note' not in run(*arguments)


@pytest.mark.parametrize('case', BAD_OPTIONS)
def test_bad_options_are_refused_before_any_work(
    tmp_path, seeing, monkeypatch, case
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SeeingDetector, 'predict', pytest.fail)
    write_image(Path('a.png'))
    changes, message = BAD_OPTIONS[case]
    config, checkpoint = seeing
    given = dict(
        images='a.png', config=config, checkpoint=checkpoint, out='out.json'
    )
    given |= changes
    result = CliRunner().invoke(
        main,
        [
            *(given['images'], given['config'], given['checkpoint']),
            *('--out', given['out'], *given.get('extra', ())),
        ],
    )
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit)
    words = ' '.join(result.output.split())
    assert re.search(message, words), result.output
    assert not Path('out.json').exists()


def test_a_checkpoint_of_other_classes_is_refused(tmp_path):
    """mmengine would load the rest and leave the classifier random."""
    config, checkpoint = retinanet(tmp_path)
    _, other = retinanet(tmp_path, classes=5)
    image = noise(tmp_path / 'a.png', seed=0)
    arguments = (image, config, checkpoint, '--out', tmp_path / 'out.json')
    output = run(*arguments, '--ensemble', other, code=1)
    assert 'ours-0-5.pth is not of this config' in output
    assert 'retina_cls' in output


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    weights = torch.load(checkpoint)
    del weights['bbox_head.retina_reg.bias']
    torch.save(weights, checkpoint)
    image = noise(tmp_path / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    output = run(image, config, checkpoint, '--out', out, code=1)
    assert 'has no bbox_head.retina_reg.bias' in output


def test_checkpoints_must_agree_about_the_classes(tmp_path, seeing):
    image = write_image(tmp_path / 'a.png')
    other = tmp_path / 'other.pth'
    meta = dict(dataset_meta=dict(classes=('red', 'blue', 'green')))
    torch.save(dict(state_dict={}, meta=meta), other)
    arguments = (image, *seeing, '--out', tmp_path / 'out.json')
    output = run(*arguments, '--ensemble', other, code=1)
    assert 'red, blue, green' in output
    assert 'red, green, blue' in output


def test_classes_without_names_are_refused(tmp_path):
    config, checkpoint = retinanet(tmp_path, classes=5)
    image = noise(tmp_path / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    output = run(image, config, checkpoint, '--out', out, code=1)
    assert '5 classes, but there are 3 names' in output


BAD_ANNOTATIONS = {
    'no json': ('[', 'Cannot read'),
    'a list': ('[]', 'not in COCO format'),
    'no category': (dict(names=('red', 'green')), 'no category blue'),
    'no image there': (dict(name='absent.png'), 'No image'),
    'a name that leads out': (dict(name='../a.png'), 'leads out'),
}


@pytest.mark.parametrize('case', BAD_ANNOTATIONS)
def test_bad_annotation_files_are_refused(tmp_path, seeing, case):
    images = tmp_path / 'images'
    write_image(images / 'a.png')
    write_image(tmp_path / 'a.png')
    content, message = BAD_ANNOTATIONS[case]
    ann_file = tmp_path / 'ann.json'
    if isinstance(content, str):
        ann_file.write_text(content)
    else:
        image = (1, content.get('name', 'a.png'))
        names = content.get('names', CLASSES)
        annotations(ann_file, image, names=names)
    out = tmp_path / 'out.json'
    output = run(
        *(images, *seeing, '--out', out, '--ann-file', ann_file),
        *('--show-dir', tmp_path / 'pictures'),
        code=1,
    )
    assert message in output
    assert not out.exists()


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
    assert 'overwrite' in run(*arguments, code=1)
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
    assert 'overwrite' in run(*arguments, code=1)
    assert config.read_bytes() == before


def test_pictures_do_not_overwrite_other_images(tmp_path, seeing):
    images = tmp_path / 'images'
    write_image(images / 'a.png')
    write_image(images / 'inner' / 'a.png')
    arguments = (images, *seeing, '--out', tmp_path / 'out.json')
    output = run(*arguments, '--show-dir', images / 'inner', code=1)
    assert 'overwrite' in output


def test_a_picture_that_fails_is_not_an_image_that_fails(
    tmp_path, seeing, monkeypatch
):
    images = tmp_path / 'images'
    for name in ('a.png', 'b.png'):
        write_image(images / name, (5, 5, 25, 20))
    save = Pictures.save

    def fail_once(self, source, found, target):
        if source.name == 'a.png':
            raise OSError('disk full')
        save(self, source, found, target)

    monkeypatch.setattr(Pictures, 'save', fail_once)
    out, pictures = tmp_path / 'out.json', tmp_path / 'pictures'
    arguments = (images, *seeing, '--out', out, '--show-dir', pictures)
    output = run(*arguments, code=1)
    assert 'a.png: no picture: OSError: disk full' in output
    assert '1 of 2 have no picture' in output
    assert 'failed' not in output
    assert [item['image_id'] for item in read(out)] == [1, 2]
    assert [path.name for path in pictures.iterdir()] == ['b.png']


def interrupt(monkeypatch, done: int) -> None:
    """Ctrl-C at every image but the first ones."""
    look, seen = SeeingDetector.look, []

    def interrupted(self, pixels):
        if len(seen) == done:
            raise KeyboardInterrupt
        seen.append(pixels)
        return look(self, pixels)

    monkeypatch.setattr(SeeingDetector, 'look', interrupted)


@pytest.fixture
def three_images(tmp_path) -> Path:
    images = tmp_path / 'images'
    for name in ('a.png', 'b.png', 'c.png'):
        write_image(images / name, (5, 5, 25, 20))
    return images


def test_an_interruption_keeps_what_is_done(
    three_images, tmp_path, seeing, monkeypatch
):
    interrupt(monkeypatch, done=2)
    out = tmp_path / 'out.json'
    output = run(three_images, *seeing, '--out', out, code=130)
    assert 'Interrupted, 2 of 3 images are done' in output
    assert [item['image_id'] for item in read(out)] == [1, 2]
    listed = read(tmp_path / 'out.images.json')['images']
    assert [image['file_name'] for image in listed] == ['a.png', 'b.png']


def test_ctrl_c_leaves_an_earlier_result_as_it_is(
    three_images, tmp_path, seeing, monkeypatch
):
    out = tmp_path / 'out.json'
    run(three_images, *seeing, '--out', out)
    earlier = out.read_text()
    interrupt(monkeypatch, done=1)
    output = run(three_images, *seeing, '--out', out, code=130)
    assert 'Interrupted, 1 of 3 images are done' in output
    assert out.read_text() == earlier
    partial = tmp_path / 'out.partial.json'
    assert {item['image_id'] for item in read(partial)} == {1}
    partial.unlink()
    # No image is done now.
    run(three_images, *seeing, '--out', out, code=130)
    assert not partial.exists()
    assert out.read_text() == earlier


def in_order(file: Path) -> list[list[float]]:
    """Boxes and scores of an image, by score."""
    return sorted([item['score'], *item['bbox']] for item in read(file))


@pytest.mark.parametrize(
    'options',
    [
        ('--fuse', 'nms'),
        ('--fuse', 'wbc'),
        # Not with nms, which takes any of equal scores of two tiles.
        ('--fuse', 'wbc', '--tile', 72, '--overlap', 0.34),
    ],
)
def test_a_mirrored_image_has_mirrored_results(tmp_path, options):
    """For its views are those of the image, in another order."""
    config, checkpoint = retinanet(tmp_path)
    # Scores of 1 would be equal, and the first of them lead.
    weights = torch.load(checkpoint)
    weights['bbox_head.retina_cls.weight'] /= 30
    weights['bbox_head.retina_cls.bias'][:] = -1
    torch.save(weights, checkpoint)
    image = noise(tmp_path / 'images' / 'a.png', seed=0)
    pixels = cv2.imread(image)[:, ::-1]
    cv2.imwrite(str(tmp_path / 'mirrored.png'), pixels)
    plain, mirrored = tmp_path / 'plain.json', tmp_path / 'mirrored.json'
    for source, out in (
        (image, plain),
        (tmp_path / 'mirrored.png', mirrored),
    ):
        arguments = (source, config, checkpoint, '--out', out, '--flip')
        run(*arguments, *options)
    expected = [
        [score, pixels.shape[1] - x - width, y, width, height]
        for score, x, y, width, height in in_order(plain)
    ]
    assert len(expected) > 5
    assert_close(
        torch.tensor(in_order(mirrored)),
        torch.tensor(expected),
        rtol=1e-3,
        atol=1e-2,
    )


@pytest.mark.parametrize('fuse', ['wbc', 'nms'])
def test_mirroring_adds_nothing_to_a_detector_that_does_not_mind(
    tmp_path, seeing, fuse
):
    boxes = (2, 4, 28, 27), (70, 36, 90, 60), (105, 100, 119, 120)
    image = write_image(tmp_path / 'a.png', *boxes, size=(130, 160))
    once, twice = tmp_path / 'once.json', tmp_path / 'twice.json'
    tiling = ('--tile', 64, '--overlap', 0.5, '--fuse', fuse)
    run(image, *seeing, '--out', once, *tiling)
    run(image, *seeing, '--out', twice, *tiling, '--flip')
    assert len(in_order(once)) == 3
    for left, right in zip(in_order(once), in_order(twice), strict=True):
        assert left == pytest.approx(right)


@pytest.mark.parametrize('tiling', [(), ('--tile', 60, '--overlap', 0)])
def test_what_one_mirror_of_two_finds_scores_half(
    tmp_path, seeing, monkeypatch, tiling
):
    look = SeeingDetector.look

    def look_left(self, pixels):
        found = look(self, pixels)
        return found[found.bboxes[:, 2] < pixels.shape[1] / 2]

    monkeypatch.setattr(SeeingDetector, 'look', look_left)
    image = write_image(tmp_path / 'a.png', (5, 5, 25, 20), size=(60, 120))
    out = tmp_path / 'out.json'
    run(image, *seeing, '--out', out, '--flip', *tiling)
    (item,) = read(out)
    assert item['bbox'] == [5, 5, 20, 15]
    assert item['score'] == pytest.approx(0.5)


def test_a_checkpoint_that_does_not_fit_is_told_in_a_line(tmp_path):
    config, checkpoint = retinanet(tmp_path)
    weights = {
        key: value.new_zeros(7)
        for key, value in torch.load(checkpoint).items()
    }
    torch.save(weights, checkpoint)
    image = noise(tmp_path / 'a.png', seed=0)
    out = tmp_path / 'out.json'
    output = run(image, config, checkpoint, '--out', out, code=1)
    assert re.search(r' and \d+ more\n$', output)
    assert output.count('size mismatch') == 3
    assert len(output.splitlines()) == 1
