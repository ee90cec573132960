"""`retina-plus evaluate`: what it reads, writes, says and refuses."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.registry import METRICS, MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from mmengine.structures import InstanceData

from mmdet_retina_plus.analysis.evaluation import evaluate as module
from mmdet_retina_plus.cli.evaluate import main
from mmdet_retina_plus.common.config_file import load_config
from mmdet_retina_plus.common.numbers import show_threshold
from tests.helpers import commands
from tests.helpers.browser import browse, needs_browser
from tests.helpers.coco_scenes import scene
from tests.helpers.detector_files import CLASSES
from tests.helpers.evaluations import coco_of, detections_of, records_of
from tests.helpers.image_files import write_image
from tests.helpers.seeing_detector import SeeingDetector

FILES = {
    *('index.html', 'evaluation.json', 'classes.csv', 'curves.csv'),
    *('confusion-boxes.csv', 'confusion-masks.csv'),
    *('worst-boxes.jpg', 'worst-masks.jpg'),
}
OBJECTS = [(1, 0, 10, 10, 40, 30), (2, 1, 50, 60, 30, 30)]
"""Image, class, x, y, width, height."""
RIGHT = [(*item, 0.9) for item in OBJECTS]


def write(path: Path, content) -> Path:
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def undrawn(monkeypatch):
    """Nothing is drawn, which takes most of the time."""
    monkeypatch.setattr(module, 'draw_sheet', lambda *_: b'')
    monkeypatch.setattr(module, 'page_html', lambda *_: '')


@pytest.fixture
def files(tmp_path, undrawn):
    """A result file and its annotations."""
    return {
        '--results': write(tmp_path / 'r.json', detections_of(RIGHT)),
        '--ann-file': write(tmp_path / 'a.json', coco_of(OBJECTS, images=2)),
        '--out': tmp_path / 'out',
    }


def run(files, *arguments, code=0) -> str:
    options = [part for item in files.items() for part in item]
    return commands.invoke(main, *options, *arguments, code=code)


def test_the_worst_image_is_so_by_what_the_sheet_shows(files, monkeypatch):
    """Not by the many weak detections that it leaves out."""
    weak = [(1, 0, 80, 9 * n, 8, 8, 0.3) for n in range(9)]
    write(files['--results'], detections_of([RIGHT[0], *weak]))
    orders = {}
    monkeypatch.setattr(
        module,
        'draw_sheet',
        lambda _truth, metric, _columns, worst, least: (
            orders.update({(metric, least): [item.image_id for item in worst]})
            or b''
        ),
    )
    run(files, '--score-thr', '0.5')
    run(files, '--score-thr', '0.2')
    assert orders == {('bbox', 0.5): [2, 1], ('bbox', 0.2): [1, 2]}


def numbers(out: Path) -> dict:
    return commands.read(out / 'evaluation.json')


@pytest.fixture(scope='module')
def evaluated(tmp_path_factory) -> Path:
    """The folder of an evaluation of boxes and masks, with one image."""
    folder = tmp_path_factory.mktemp('scene')
    path, results = scene(1, folder)
    coco = json.loads(path.read_text())
    names = ['a<b>&c', '$x$', 'class 2']
    for category, name in zip(coco['categories'], names, strict=True):
        category['name'] = name
    for image in coco['images']:
        image['file_name'] = f'{image["id"]}<i>.png'
    write_image(folder / 'images/1<i>.png', (20, 30, 60, 70), size=(128, 128))
    files = {
        '--results': write(folder / 'r.json', records_of(results)),
        '--ann-file': write(path, coco),
        '--images': folder / 'images',
        '--out': folder / 'new/out',
    }
    output = run(files)
    assert all(name in output for name in FILES)
    return files['--out']


def test_all_files_are_written_and_agree(evaluated):
    assert {file.name for file in evaluated.iterdir()} == FILES
    found = numbers(evaluated)
    with (evaluated / 'classes.csv').open() as file:
        rows = list(csv.DictReader(file))
    assert [row['class'] for row in rows] == found['classes'] * 2
    by_class = found['metrics']['bbox']['by_class']
    assert float(rows[0]['AP']) == by_class[0]['AP'] > 0
    assert rows[2]['AP'] == ''
    with (evaluated / 'curves.csv').open() as file:
        curve = [
            float(row['precision_mean'])
            for row in csv.DictReader(file)
            if row['class'] == 'all' and row['metric'] == 'segm'
        ]
    total = found['metrics']['segm']['summary']['AP']
    assert np.mean(curve) == pytest.approx(total, abs=1e-12)
    with (evaluated / 'confusion-boxes.csv').open() as file:
        head, *lines = csv.reader(file)
    assert head == ['object', *found['classes'], 'background']
    matrix = found['metrics']['bbox']['confusion']
    assert [list(map(int, line[1:])) for line in lines] == matrix
    page = (evaluated / 'index.html').read_text()
    assert f'{total:.3f}' in page


def test_names_from_outside_stay_text(evaluated):
    page = (evaluated / 'index.html').read_text()
    assert '<b>&c' not in page
    assert 'a&lt;b&gt;&amp;c' in page


@needs_browser
def test_a_browser_draws_every_figure_without_a_complaint(evaluated, tmp_path):
    script = """<script>addEventListener('load', () => {
      const plots = [...document.querySelectorAll('.js-plotly-plot')];
      const drawn = plots.filter(x => x.querySelector('.main-svg'));
      const sheets = [...document.images].filter(x => x.naturalWidth > 100);
      document.title = `${plots.length} ${drawn.length} ${sheets.length}`;
    });</script>"""
    page = (evaluated / 'index.html').read_text()
    dom, console = browse(
        page.replace('</body>', f'{script}</body>'), tmp_path
    )
    assert console == []
    assert '<title>14 14 2</title>' in dom


def test_right_detections_have_ap_1_and_cost_nothing(files):
    output = run(files)
    assert '1.000' in output
    found = numbers(files['--out'])['metrics']['bbox']
    assert found['summary']['AP'] == pytest.approx(1)
    assert {item['count'] for item in found['errors'].values()} == {0}
    assert found['best']['F1'] == 1
    best = show_threshold(found['best']['score'])
    assert f'Best score threshold: {best} for boxes\n' in output


def test_a_second_evaluation_replaces_the_first(files, evaluated):
    for name in FILES:
        files['--out'].mkdir(exist_ok=True)
        (files['--out'] / name).write_bytes((evaluated / name).read_bytes())
    (files['--out'] / 'mine.txt').write_text('kept')
    run(files)
    left = {file.name for file in files['--out'].iterdir()}
    masks = {'confusion-masks.csv', 'worst-masks.jpg'}
    assert left == FILES - masks | {'mine.txt'}


BROKEN = [
    ('--results', '', 'r.json is empty'),
    ('--results', '[{"image_id": 1, "cat', 'not JSON, or is truncated'),
    ('--results', [], 'has no detections'),
    ('--results', {'images': []}, 'holds no list of detections'),
    ('--results', [5], '[0] is 5'),
    ('--results', [{'image_id': 1, 'score': 1}], 'has no category_id'),
    ('--results', detections_of([(7, 0, 1, 1, 5, 5, 1)]), 'image_id 7'),
    ('--results', detections_of([('1', 0, 1, 1, 5, 5, 1)]), "image_id '1'"),
    ('--results', detections_of([(1, 9, 1, 1, 5, 5, 1)]), 'category_id 9'),
    ('--results', detections_of([(1, 0, 1, 1, 5, 1)]), 'has bbox'),
    ('--results', detections_of([(1, 0, 1, 1, -5, 5, 1)]), 'has bbox'),
    (
        '--results',
        [dict(image_id=1, category_id=0, score=1)],
        'neither bbox nor segmentation',
    ),
    (
        '--results',
        [
            dict(item, **({'segmentation': [[1, 1, 5, 1, 5, 5]]} if n else {}))
            for n, item in enumerate(detections_of(RIGHT))
        ],
        '[0] has no segmentation, but others do',
    ),
    ('--ann-file', '{"images"', 'not JSON, or is truncated'),
    ('--ann-file', detections_of(RIGHT), 'results of a detector: name the'),
    ('--ann-file', coco_of([]), 'has no objects'),
    ('--ann-file', coco_of(OBJECTS, images=0), 'lists no images'),
    ('--ann-file', coco_of(OBJECTS, classes=0), 'lists no categories'),
    (
        '--ann-file',
        coco_of([(1, 0, 10, 10, -40, 30)]),
        'no object has an area between 0 and 1e+10',
    ),
    (
        '--ann-file',
        coco_of(OBJECTS)
        | dict(
            annotations=[
                dict(id=3, image_id=1, category_id=0, area=1, iscrowd=0)
            ]
        ),
        'the annotation 3 has no bbox',
    ),
]


@pytest.mark.parametrize(('option', 'content', 'message'), BROKEN)
def test_bad_files_are_refused_in_a_line_and_nothing_is_written(
    files, option, content, message
):
    text = content if isinstance(content, str) else json.dumps(content)
    files[option].write_text(text)
    files['--out'].mkdir()
    (files['--out'] / 'index.html').write_text('earlier')
    output = run(files, code=1)
    (line,) = [x for x in output.splitlines() if x.startswith('Error: ')]
    assert message in line
    assert [x.name for x in files['--out'].iterdir()] == ['index.html']


def test_broken_masks_are_refused_by_their_place(files):
    records = detections_of(RIGHT)
    for record in records:
        mask = dict(size=[200, 200], counts=[39990, 10])
        record['segmentation'] = mask
    records[1]['segmentation'] = dict(size=[200, 200], counts=[39990])
    coco = coco_of(OBJECTS, images=2)
    for item in coco['annotations']:
        item['segmentation'] = [[10, 10, 50, 10, 50, 40]]
    write(files['--results'], records)
    write(files['--ann-file'], coco)
    assert 'r.json[1] has a mask' in run(files, code=1)
    del coco['annotations'][0]['segmentation']
    write(files['--ann-file'], coco)
    output = run(files)
    assert 'only boxes are evaluated' in output
    assert list(numbers(files['--out'])['metrics']) == ['bbox']


@pytest.mark.parametrize(
    'arguments',
    [
        ['--out', 'out'],
        ['--out', 'out', '--results', 'r.json'],
        ['c.py', '--out', 'out'],
        ['c.py', 'c.pth', '--out', 'out', '--results', 'r.json'],
        ['c.py', 'c.pth', '--out', 'out', '--ann-file', 'r.json'],
        ['--results', 'r.json', '--ann-file', 'r.json'],
        [
            *('--results', 'r.json', '--ann-file', 'r.json', '--out', 'out'),
            *('--split', 'val'),
        ],
    ],
)
def test_usage_that_cannot_be_meant_is_refused(arguments):
    for name in ('c.py', 'r.json'):
        Path(name).write_text('')
    assert 'Error: ' in commands.invoke(main, *arguments, code=2)


def test_results_that_predict_numbered_are_matched_by_name(files):
    """Its images and classes are listed beside them."""
    swapped = {1: 2, 2: 1}
    coco = coco_of(OBJECTS, images=2)
    listed = dict(
        images=[
            dict(image, id=swapped[image['id']]) for image in coco['images']
        ],
        categories=[dict(id=n, name=f'class {n % 3}') for n in (1, 2, 3)],
    )
    records = [
        dict(
            record,
            image_id=swapped[record['image_id']],
            category_id=record['category_id'] or 3,
        )
        for record in detections_of(RIGHT)
    ]
    write(files['--results'], records)
    beside = write(files['--results'].with_suffix('.images.json'), listed)
    run(files)
    found = numbers(files['--out'])['metrics']['bbox']
    assert found['summary']['AP'] == pytest.approx(1)
    listed['categories'][2]['name'] = 'clas 0'
    write(beside, listed)
    output = run(files, code=1)
    assert 'did you mean class 0?' in output


def test_masks_that_are_asked_for_must_be_there(files, evaluated):
    output = run(files, '--metric', 'segm', code=1)
    assert 'a.json has objects without a segmentation' in output
    coco = coco_of(OBJECTS, images=2)
    for item in coco['annotations']:
        item['segmentation'] = [[10, 10, 50, 10, 50, 40]]
    write(files['--ann-file'], coco)
    output = run(files, '--metric', 'segm', '--metric', 'bbox', code=1)
    assert 'the detections have no masks' in output
    folder = evaluated.parent.parent
    files['--results'] = folder / 'r.json'
    files['--ann-file'] = folder / 'annotations.json'
    run(files, '--metric', 'segm')
    found = numbers(files['--out'])['metrics']
    assert found == {'segm': numbers(evaluated)['metrics']['segm']}


def test_detections_beyond_the_most_are_named(files):
    write(files['--results'], detections_of(RIGHT * 3))
    assert '4 detections left out' in run(files, '--max-dets', 1)
    found = numbers(files['--out'])['metrics']['bbox']
    assert found['detections'] == 2


def test_images_without_detections_and_files_without_images(files):
    write(files['--results'], detections_of(RIGHT[:1]))
    run(files)
    found = numbers(files['--out'])['metrics']['bbox']
    assert found['errors']['missed']['count'] == 1
    assert found['summary']['AP'] == pytest.approx(0.5)


class MaskingDetector(SeeingDetector):
    """Its boxes are masks, too, and some are shifted."""

    def predict(self, batch_inputs, batch_data_samples, rescale=True):
        samples = super().predict(batch_inputs, batch_data_samples)
        for sample in samples:
            found = sample.pred_instances
            height, width = sample.ori_shape
            masks = torch.zeros(len(found), height, width, dtype=torch.bool)
            for mask, box in zip(masks, found.bboxes.long(), strict=True):
                x1, y1, x2, y2 = box.tolist()
                mask[y1:y2, x1 + 2 : x2] = True
            sample.pred_instances = InstanceData(**found, masks=masks)
        return samples


@pytest.fixture
def trained(tmp_path, seeing, undrawn):
    """A config with data, whose categories are in another order."""
    MODELS.register_module(module=MaskingDetector, force=True)
    images = tmp_path / 'images'
    boxes = {1: [(10, 10, 50, 40)], 2: [(5, 5, 25, 30), (60, 40, 100, 80)]}
    boxes[3] = []
    annotations = []
    for number, of_image in boxes.items():
        write_image(images / f'{number}.png', *of_image, grey=180 + number)
        for x1, y1, x2, y2 in of_image:
            label = len(annotations) % 2
            box = [x1 + 3 * label, y1, x2 - x1, y2 - y1]
            x, y, w, h = box
            corners = [[x, y, x + w, y, x + w, y + h, x, y + h]]
            annotations.append(
                dict(
                    id=len(annotations) + 1,
                    image_id=number,
                    category_id=20,
                    bbox=box,
                    area=w * h,
                    iscrowd=0,
                    segmentation=corners,
                )
            )
    coco = dict(
        images=[
            dict(id=n, file_name=f'{n}.png', width=120, height=90)
            for n in boxes
        ],
        annotations=annotations,
        categories=[
            dict(id=10 * n, name=name)
            for n, name in zip((1, 2, 3), CLASSES, strict=True)
        ],
    )
    cfg = Config.fromfile(seeing[0])
    cfg.model.type = 'MaskingDetector'
    dataset = cfg.test_dataloader.dataset
    dataset.update(
        ann_file=str(write(tmp_path / 'val.json', coco)),
        data_prefix=dict(img=f'{images}/'),
        test_mode=True,
    )
    dataset.pipeline = [x for x in dataset.pipeline if 'Ann' not in x.type]
    loader = dict(
        batch_size=2,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
        dataset=dataset,
    )
    cfg.test_dataloader = cfg.val_dataloader = loader
    cfg.train_dataloader = dict(
        batch_size=1,
        dataset=dict(type='RepeatDataset', times=3, dataset=dict(dataset)),
    )
    del cfg.train_dataloader.dataset.dataset['test_mode']
    cfg.dump(seeing[0])
    yield seeing, coco
    MODELS.module_dict.pop('MaskingDetector')


def by_coco_metric(config: str, ann_file: Path) -> dict[str, float]:
    """What mmdet logs for the same detector and data."""
    cfg = load_config(config)
    model = MODELS.build(cfg.model)
    metric = METRICS.build(
        dict(
            type='mmdet.CocoMetric',
            ann_file=str(ann_file),
            metric=['bbox', 'segm'],
        )
    )
    metric.dataset_meta = dict(classes=CLASSES)
    loader = Runner.build_dataloader(cfg.val_dataloader)
    for batch in loader:
        samples = model.test_step(batch)
        metric.process(batch, [sample.to_dict() for sample in samples])
    return metric.compute_metrics(metric.results)


def test_a_checkpoint_has_the_totals_of_coco_metric(trained, tmp_path):
    files, _ = trained
    out = tmp_path / 'out'
    logged = by_coco_metric(files[0], tmp_path / 'val.json')
    for split in ('val', 'test', 'train'):
        commands.invoke(main, *files, '--out', out, '--split', split)
        for metric in ('bbox', 'segm'):
            found = numbers(out)['metrics'][metric]['summary']
            assert 0.1 < found['AP'] < 0.9
            for ours, theirs in (('AP', 'mAP'), ('AP75', 'mAP_75')):
                value = logged[f'{metric}_{theirs}']
                assert round(found[ours], 3) == value
    assert numbers(out)['classes'] == list(CLASSES)


def test_categories_are_matched_by_name(trained, tmp_path):
    files, coco = trained
    before = tmp_path / 'before'
    commands.invoke(main, *files, '--out', before)
    coco['categories'] = [
        dict(id=n, name=name) for n, name in zip((7, 20, 5), CLASSES, strict=1)
    ][::-1]
    write(tmp_path / 'val.json', coco)
    config = Config.fromfile(files[0])
    config.pop('train_dataloader')
    config.dump(files[0])
    commands.invoke(main, *files, '--out', tmp_path / 'out')
    first, second = (numbers(x)['metrics'] for x in (before, tmp_path / 'out'))
    assert first['bbox']['summary'] == second['bbox']['summary']
    coco['categories'][1]['name'] = 'grin'
    write(tmp_path / 'val.json', coco)
    output = commands.invoke(main, *files, '--out', before, code=1)
    assert 'did you mean grin?' in output


def test_what_may_be_wrong_is_noted(trained, tmp_path):
    """Names of a config that is not the checkpoint's, and turned images."""
    files, coco = trained
    before = tmp_path / 'before'
    commands.invoke(main, *files, '--out', before)
    other = dict(coco, categories=coco['categories'][::-1])
    config = Config.fromfile(files[0])
    config.train_dataloader = dict(
        dataset=dict(
            type='CocoDataset',
            ann_file=str(write(tmp_path / 'other.json', other)),
        )
    )
    dataset = config.test_dataloader.dataset
    dataset.metainfo = dict(classes=CLASSES[::-1])
    config.dump(files[0])
    write_image(tmp_path / 'images/3.png', size=(120, 90))
    output = commands.invoke(main, *files, '--out', tmp_path / 'out')
    assert 'the checkpoint (red, green, blue), which are used' in output
    assert '1 image has another size than in' in output
    first, second = (numbers(x)['metrics'] for x in (before, tmp_path / 'out'))
    assert first['bbox']['summary'] == second['bbox']['summary']


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--cfg-options', 'val_dataloader.dataset.ann_file=no'], 'no'),
        (['--cfg-options', 'vl_dataloader.a=1'], 'the config has no vl'),
        (['--out', __file__], 'Cannot create the folder'),
    ],
)
def test_mistakes_are_found_before_any_work(
    trained, tmp_path, monkeypatch, options, message
):
    monkeypatch.setattr(module, 'evaluate', lambda *_: pytest.fail())
    arguments = ['--out', tmp_path / 'out', *options]
    output = commands.invoke(main, *trained[0], *arguments, code=1)
    assert message in output
    assert not (tmp_path / 'out').exists()


def test_an_image_that_is_missing_stops_it_by_name(trained, tmp_path):
    os.remove(tmp_path / 'images/2.png')
    out = tmp_path / 'out'
    output = commands.invoke(main, *trained[0], '--out', out, code=1)
    assert '2.png' in output.split('Error: ')[1]
    assert not out.exists()


def test_ctrl_c_writes_nothing(trained, tmp_path, monkeypatch):
    def stopped(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(MaskingDetector, 'predict', stopped)
    out = tmp_path / 'out'
    output = commands.invoke(main, *trained[0], '--out', out, code=130)
    assert 'Interrupted' in output
    assert not out.exists()


def test_a_detector_that_finds_nothing_is_named(trained, tmp_path):
    for number in (1, 2):
        write_image(tmp_path / f'images/{number}.png')
    out = tmp_path / 'out'
    output = commands.invoke(main, *trained[0], '--out', out, code=1)
    assert 'nothing was detected in 3 images: train longer, or' in output
