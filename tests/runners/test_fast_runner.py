"""FastRunner trains the same model and fills in only what is left open."""

import copy
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mmdet.models.data_preprocessors import DetDataPreprocessor
from mmdet.registry import MODELS
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch.testing import assert_close

import mmdet_retina_plus
from mmdet_retina_plus.runners import FastRunner, fast_runner
from mmdet_retina_plus.runners.fast_runner import with_fast_settings
from mmdet_retina_plus.synthetic.shapes import make_shapes

NAME = 'retinamask_r18_fpn_shapes'
AS_IT_IS = dict(type='OptimWrapper')
CONFIGS = (
    'retinanet_r50_fpn_fl',
    'retinamask_r50_fpn_1x',
    'retinaunet_r50_fpn',
    NAME,
)


@pytest.fixture
def config() -> Config:
    return Config.fromfile(mmdet_retina_plus.config(NAME))


@pytest.fixture
def capability(monkeypatch) -> None:
    """Pretend that there is a GPU of compute capability 8.0."""
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda *device: (8, 0)
    )


def run(config: Config, data: Path, folder: Path, **changes) -> Runner:
    config = copy.deepcopy(config)
    config.merge_from_dict(
        {
            'train_dataloader.dataset.data_root': f'{data}/',
            'train_dataloader.batch_size': 2,
            'train_cfg.max_iters': 2,
            'randomness.seed': 0,
        }
    )
    for loop in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config.pop(f'{loop}_{part}')
    config.train_dataloader.dataset.pipeline[2].scale = (96, 96)
    config.update(work_dir=str(folder), experiment_name=folder.name, **changes)
    config.visualizer.name = folder.name
    # As mmdet's tools do.
    if 'runner_type' in config:
        runner = RUNNERS.build(config)
    else:
        runner = Runner.from_cfg(config)
    runner.train()
    return runner


@pytest.fixture(scope='module')
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('data')
    make_shapes(folder, num=4, num_val=1, size=96)
    return folder


def test_on_a_cpu_it_is_mmengines_runner(config, data, tmp_path):
    plain = run(config, data, tmp_path / 'plain')
    fast = run(config, data, tmp_path / 'fast', runner_type='FastRunner')
    assert type(fast) is FastRunner
    expected = plain.model.state_dict()
    assert fast.model.state_dict().keys() == expected.keys()
    for name, value in fast.model.state_dict().items():
        assert torch.equal(value, expected[name]), name


@pytest.fixture
def pretended_gpu(capability, monkeypatch) -> Iterator[None]:
    """Take the path of a GPU, on the CPU, and undo what is set for torch."""
    monkeypatch.setattr(fast_runner, 'on_gpu', lambda: True)
    # mmengine's AmpOptimWrapper refuses a CPU.
    monkeypatch.setattr(fast_runner, 'autocast_settings', lambda: AS_IT_IS)
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


def test_on_a_gpu_channels_last_trains_as_any_order(
    config, data, tmp_path, pretended_gpu
):
    # Random numbers follow the order of memory, and Adam's first steps have
    # the size of the learning rate however small a gradient is.
    start = MODELS.build(config.model).state_dict()
    torch.save(start, tmp_path / 'start.pth')
    config.load_from = str(tmp_path / 'start.pth')
    config.optim_wrapper.optimizer = dict(type='SGD', lr=0.1)
    plain = run(config, data, tmp_path / 'plain')
    fast = run(config, data, tmp_path / 'fast', runner_type='FastRunner')
    assert torch.get_float32_matmul_precision() == 'high'
    weight = fast.model.neck.fpn_convs[0].conv.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    expected = plain.model.state_dict()
    moved = 0.0
    for name, value in fast.model.state_dict().items():
        assert_close(value, expected[name], rtol=1e-4, atol=1e-5)
        moved = max(moved, (value - start[name]).abs().max().item())
    assert moved > 1e-3


def test_mmcvs_operators_see_no_other_layout(config, tmp_path, pretended_gpu):
    config.update(work_dir=str(tmp_path), experiment_name='operators')
    config.visualizer.name = 'operators'
    config.model.neck.conv_cfg = dict(type='DCNv2')
    model = FastRunner.from_cfg(config).model
    layer = copy.deepcopy(model.roi_head.mask_roi_extractor.roi_layers[0])
    features = torch.rand(1, 3, 24, 24)
    roi = torch.tensor([[0.0, 16, 24, 120, 96]])
    assert_close(
        layer(features.to(memory_format=torch.channels_last), roi),
        layer(features, roi),
        rtol=0,
        atol=0,
    )
    assert model.extract_feat(torch.rand(1, 3, 96, 96))[0].isfinite().all()


def test_a_copy_of_a_compiled_model_is_a_model_of_its_own(config):
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph

    model = MODELS.build(config.model).eval()
    fast_runner.compile_parts(model, dict(backend=backend))
    other = copy.deepcopy(model)
    image = torch.rand(1, 3, 96, 96)
    expected = model.extract_feat(image)
    assert len(compiled) >= 2
    assert_close(other.extract_feat(image), expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    assert_close(model.extract_feat(image), expected)
    assert not any(level.any() for level in other.extract_feat(image))


@pytest.mark.parametrize('kind', ['DetTTAModel', 'WBCTTAModel'])
def test_test_time_augmentation_is_built_and_compiled(
    config, tmp_path, pretended_gpu, kind
):
    # As mmdet's tools/test.py puts it together.
    config.model = dict(
        type=kind, tta_cfg=dict(max_per_img=10), module=config.model
    )
    if kind == 'DetTTAModel':
        config.model.tta_cfg.nms = dict(type='nms', iou_threshold=0.5)
    config.update(
        work_dir=str(tmp_path),
        compile_backbone=dict(backend='eager'),
        experiment_name=kind,
    )
    config.visualizer.name = kind
    model = FastRunner.from_cfg(config).model
    assert isinstance(model.module.data_preprocessor, DetDataPreprocessor)


def test_a_model_without_backbone_is_not_compiled():
    fast_runner.compile_parts(torch.nn.Linear(1, 1), None)
    with pytest.raises(ValueError, match='Linear has no backbone'):
        fast_runner.compile_parts(torch.nn.Linear(1, 1), {})


def test_settings_of_a_gpu(config, capability):
    config.train_dataloader.num_workers = 2
    fast = with_fast_settings(config)
    assert fast.optim_wrapper.type == 'AmpOptimWrapper'
    assert fast.optim_wrapper.dtype == 'bfloat16'
    assert fast.optim_wrapper.loss_scale == dict(enabled=False)
    assert fast.optim_wrapper.clip_grad == config.optim_wrapper.clip_grad
    assert fast.model.data_preprocessor.non_blocking
    for loader in (fast.train_dataloader, fast.val_dataloader):
        assert loader.pin_memory
    assert fast.train_dataloader.persistent_workers
    # mmengine refuses it without workers.
    assert 'persistent_workers' not in fast.val_dataloader
    assert config.optim_wrapper.type == 'OptimWrapper'
    assert with_fast_settings(config.to_dict()).to_dict() == fast.to_dict()


@pytest.mark.parametrize('kind', ['mmengine.OptimWrapper', OptimWrapper])
def test_the_class_counts_and_not_its_spelling(config, capability, kind):
    config.optim_wrapper.type = kind
    fast = with_fast_settings(config)
    assert fast.optim_wrapper.type == 'AmpOptimWrapper'


def test_without_bfloat16_it_scales_the_loss_of_float16(config, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, 'get_device_capability', lambda *device: (7, 5)
    )
    fast = with_fast_settings(config)
    assert fast.optim_wrapper.dtype == 'float16'
    assert fast.optim_wrapper.loss_scale == 'dynamic'


@pytest.mark.parametrize(
    'changes',
    [
        dict(type='AmpOptimWrapper', dtype='float16'),
        dict(constructor='Mine', _delete_=('optimizer',)),
    ],
)
def test_settings_of_the_config_stay(config, capability, changes):
    changes = dict(changes)
    for name in changes.pop('_delete_', ()):
        config.optim_wrapper.pop(name)
    config.train_dataloader.update(
        num_workers=2, persistent_workers=False, pin_memory=False
    )
    config.optim_wrapper.update(changes)
    config.model.data_preprocessor.non_blocking = False
    fast = with_fast_settings(config)
    assert fast.optim_wrapper == config.optim_wrapper
    assert fast.train_dataloader == config.train_dataloader
    assert not fast.model.data_preprocessor.non_blocking


@pytest.mark.parametrize(
    'preprocessor', [None, dict(type='MultiBranchDataPreprocessor')]
)
def test_other_preprocessors_stay(config, capability, preprocessor):
    config.model.data_preprocessor = preprocessor
    fast = with_fast_settings(config)
    assert fast.model.data_preprocessor == preprocessor


@pytest.mark.parametrize('options', [True, 'reduce-overhead'])
def test_compile_backbone_must_be_a_dict(config, options):
    config.compile_backbone = options
    with pytest.raises(ValueError, match=r"dict\(mode='reduce-overhead'\)"):
        FastRunner.from_cfg(config)


@pytest.mark.parametrize('name', CONFIGS)
def test_the_fragment_goes_with_every_config(name, tmp_path):
    path = tmp_path / 'config.py'
    bases = [mmdet_retina_plus.config(x) for x in (name, '_base_/fast')]
    path.write_text(f'_base_ = {bases}')
    assert Config.fromfile(path).runner_type == 'FastRunner'
