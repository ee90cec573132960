"""The configs of docs/medical-images.md load their files and train."""

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from mmdet.models import ResNet
from mmdet.registry import DATASETS, HOOKS, MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import HorizontalBoxes
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from mmengine.runner import load_checkpoint

from mmdet_retina_plus.synthetic.donuts import make_donuts

PAGE = Path(__file__).parents[1] / 'docs' / 'medical-images.md'
BLOCKS = dict(
    re.findall(r'```python\n# (\S+)\n(.*?)```', PAGE.read_text(), re.DOTALL)
)
RECIPES = [name for name, block in BLOCKS.items() if '_base_' in block]


@pytest.fixture(scope='module')
def scans(tmp_path_factory) -> Path:
    """Donuts of 12 bits in files of 16, and as TIFF of five channels."""
    folder = tmp_path_factory.mktemp('scans') / 'set'
    make_donuts(folder, num=3, num_val=2, size=64, preset='donuts-2x')
    for path in (folder / 'images').iterdir():
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        last_bits = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 16
        cv2.imwrite(str(path), image.astype(np.uint16) * 16 + last_bits)
    return folder


def read_recipe(name: str, scans: Path, tmp_path: Path) -> Config:
    """A block of the page, on the scans."""
    file = tmp_path / 'recipe.py'
    file.write_text(BLOCKS[name])
    config = Config.fromfile(file)
    for split in ('train', 'val'):
        data = config[f'{split}_dataloader'].dataset
        data.data_root = str(scans)
        data.metainfo = dict(classes=('disc', 'donut'))
    config.model.bbox_head.num_classes = 2
    config.model.semantic_head.num_classes = 2
    return config


def to_tiff(config: Config, scans: Path, tmp_path: Path) -> None:
    """Let the config read its images as TIFF of five channels."""
    images = tmp_path / 'images'
    images.mkdir()
    for path in (scans / 'images').iterdir():
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        # mmdet's annotations name a PNG; the bytes tell the reader.
        tifffile.imwrite(
            images / path.name,
            np.stack([image + 10 * channel for channel in range(5)], axis=-1),
            photometric='minisblack',
            planarconfig='contig',
        )
    for split in ('train', 'val'):
        data = config[f'{split}_dataloader'].dataset
        data.data_prefix.img = f'{images}/'


@pytest.fixture(params=RECIPES)
def recipe(request, scans, tmp_path) -> Iterator[Config]:
    config = read_recipe(request.param, scans, tmp_path)
    if 'tifffile' in BLOCKS[request.param]:
        to_tiff(config, scans, tmp_path)
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield config


def test_the_page_has_the_recipes_that_are_tested():
    assert len(RECIPES) == 4
    assert PAGE.read_text().count('```python') == len(BLOCKS) == 5


def test_a_recipe_takes_a_training_step(recipe):
    dataset = DATASETS.build(recipe.train_dataloader.dataset)
    detector = MODELS.build(recipe.model).train()
    batch = detector.data_preprocessor(
        pseudo_collate([dataset[0], dataset[1]]), training=True
    )
    channels = recipe.model.backbone.get('in_channels', 3)
    assert batch['inputs'].shape[1] == channels
    # Normalised, and not by the statistics of another range.
    assert 0.1 < batch['inputs'].std() < 10
    losses = detector(**batch, mode='loss')
    total, _ = detector.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    assert all(x.grad.isfinite().all() for x in detector.parameters())


def test_a_recipe_reads_more_than_256_values(recipe):
    dataset = DATASETS.build(recipe.train_dataloader.dataset)
    results = dataset.get_data_info(0)
    for transform in recipe.train_pipeline:
        if transform.type == 'LoadAnnotations':
            break
        results = TRANSFORMS.build(transform)(results)
    assert len(np.unique(results['img'].reshape(64 * 64, -1)[:, 0])) > 256


def test_a_recipe_predicts_and_draws_its_images(recipe, tmp_path):
    """As `mim test --show-dir`: the noise is visible, not black."""
    dataset = DATASETS.build(recipe.val_dataloader.dataset)
    detector = MODELS.build(recipe.model).eval()
    results = detector.test_step(pseudo_collate([dataset[0]]))
    DetLocalVisualizer.get_instance(tmp_path.name)
    hook = HOOKS.build(
        dict(
            recipe.default_hooks.visualization,
            draw=True,
            test_out_dir=str(tmp_path / 'out'),
            score_thr=1.0,
        )
    )

    class Run:
        work_dir, timestamp = str(tmp_path), 'now'

    hook.after_test_iter(Run, 0, {}, results)
    (file,) = (tmp_path / 'out').iterdir()
    picture = cv2.imread(str(file))
    assert picture.max() > 200 and picture.std() > 30


def test_without_the_backend_twelve_bits_are_black(scans, tmp_path):
    DetLocalVisualizer.get_instance(tmp_path.name)
    hook = HOOKS.build(
        dict(
            type='DetVisualizationHook',
            draw=True,
            test_out_dir=str(tmp_path / 'out'),
        )
    )

    class Run:
        work_dir, timestamp = str(tmp_path), 'now'

    path = scans / 'images' / 'val_000001.png'
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    hook.after_test_iter(Run, 0, {}, [sample])
    assert cv2.imread(str(tmp_path / 'out' / path.name)).max() < 16


def test_eight_bits_of_grey_are_three_equal_channels(tmp_path):
    make_donuts(tmp_path / 'set', num=1, num_val=1)
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    path = tmp_path / 'set/images/train_000001.png'
    image = load(dict(img_path=str(path)))['img']
    assert image.shape == (320, 320, 3) and image.dtype == np.uint8
    assert (image == image[..., :1]).all()


def test_the_default_loader_leaves_sixteen_grey_levels(scans):
    path = str(scans / 'images' / 'train_000001.png')
    load = TRANSFORMS.build(dict(type='LoadImageFromFile'))
    assert len(np.unique(load(dict(img_path=path))['img'])) <= 16


def augmentations(answer: str) -> list[tuple[str, int]]:
    """Transforms of the page's table with an answer, and their channels."""
    rows = re.findall(r'^\| (`.*) \| (.*) \| (.*) \|$', PAGE.read_text(), re.M)
    return [
        (name, channels)
        for names, *answers in rows
        for channels, given in zip((1, 5), answers, strict=True)
        for name in re.findall(r'`(\w+)`', names)
        if given.strip('*').startswith(answer)
    ]


OPTIONS = {
    'Resize': dict(scale=(96, 96)),
    'RandomFlip': dict(prob=1.0),
    'RandomCrop': dict(crop_size=(32, 32)),
    'RandomShift': dict(prob=1.0),
    'Rotate': dict(prob=1.0),
    'Pad': dict(size=(80, 80)),
    'MinIoURandomCrop': dict(),
    'Brightness': dict(prob=1.0, level=8),
    'Sharpness': dict(prob=1.0, level=8),
    'Invert': dict(prob=1.0),
    'Solarize': dict(prob=1.0, level=5),
    'Mosaic': dict(img_scale=(64, 64)),
}


def augment(name: str, channels: int) -> np.ndarray:
    def scan() -> dict:
        shape = (64, 64) if channels == 1 else (64, 64, channels)
        box = torch.tensor([[5.0, 5, 40, 40]])
        return dict(
            img=np.random.uniform(0, 65535, shape).astype(np.float32),
            img_shape=(64, 64),
            gt_bboxes=HorizontalBoxes(box),
            gt_bboxes_labels=np.array([0]),
            gt_ignore_flags=np.array([False]),
        )

    with DefaultScope.overwrite_default_scope('mmdet'):
        transform = TRANSFORMS.build(dict(type=name, **OPTIONS[name]))
        return transform(dict(scan(), mix_results=[scan() for _ in range(3)]))[
            'img'
        ]


@pytest.mark.parametrize(('name', 'channels'), augmentations('works'))
def test_an_augmentation_works_as_the_page_says(name, channels):
    image = augment(name, channels)
    assert image.dtype == np.float32
    assert image.shape[2:] == (() if channels == 1 else (channels,))
    assert image.min() >= 0 and 60000 < image.max() <= 65535


@pytest.mark.parametrize(
    ('name', 'channels'), augmentations('clips') + augmentations('wrong')
)
def test_an_augmentation_spoils_values_as_the_page_says(name, channels):
    image = augment(name, channels)
    assert image.max() <= 255


def test_pretrained_weights_load_but_for_the_first_convolution(tmp_path):
    torch.manual_seed(0)
    pretrained = ResNet(18, base_channels=8)
    checkpoint = str(tmp_path / 'resnet18.pth')
    torch.save(pretrained.state_dict(), checkpoint)
    grey = ResNet(18, base_channels=8, in_channels=1)
    start = grey.conv1.weight.clone()
    load_checkpoint(grey, checkpoint, strict=False, logger='silent')
    torch.testing.assert_close(grey.conv1.weight, start)
    torch.testing.assert_close(
        grey.layer1[0].conv1.weight, pretrained.layer1[0].conv1.weight
    )


@pytest.mark.parametrize('channels', [1, 5])
def test_the_summed_convolution_answers_to_grey_as_before(
    tmp_path, monkeypatch, channels
):
    monkeypatch.chdir(tmp_path)
    pretrained = ResNet(18, base_channels=8)
    torch.save(pretrained.state_dict(), 'resnet18.pth')
    block = BLOCKS['pretrained-weights']
    exec(block.replace('channels = 1', f'channels = {channels}'), {})
    grey = ResNet(
        18,
        base_channels=8,
        in_channels=channels,
        init_cfg=dict(type='Pretrained', checkpoint='resnet18-grey.pth'),
    )
    grey.init_weights()
    image = torch.randn(1, 1, 64, 64)
    pretrained.eval(), grey.eval()
    for before, after in zip(
        pretrained(image.expand(-1, 3, -1, -1)),
        grey(image.expand(-1, channels, -1, -1)),
        strict=True,
    ):
        torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)
