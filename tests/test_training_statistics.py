"""The configs of docs/training-statistics.md do what the page says."""

import re
import sys
from pathlib import Path

import pytest
from mmdet.registry import HOOKS, METRICS
from mmengine.config import Config, DictAction
from mmengine.registry import VISBACKENDS
from mmengine.visualization import Visualizer, vis_backend

import mmdet_retina_plus
from mmdet_retina_plus.evaluation import FasterCocoMetric
from mmdet_retina_plus.hooks import LossStatisticsHook

PAGE = Path(__file__).parents[1] / 'docs' / 'training-statistics.md'
BLOCKS = dict(
    re.findall(r'```python\n# (\S+)\n(.*?)```', PAGE.read_text(), re.DOTALL)
)
BACKENDS = {
    'tensorboard': ('TensorboardVisBackend', 'torch.utils.tensorboard'),
    'wandb': ('WandbVisBackend', 'wandb'),
    'mlflow': ('MLflowVisBackend', 'mlflow'),
}


def read(name: str, tmp_path: Path) -> Config:
    file = tmp_path / 'users.py'
    file.write_text(BLOCKS[name])
    return Config.fromfile(file)


def with_options(*options: str) -> Config:
    """A shipped config with what the command line changes."""
    parsed = {}
    for option in options:
        key, _, value = option.partition('=')
        parsed[key] = DictAction._parse_iterable(value)
    config = Config.fromfile(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes')
    )
    config.merge_from_dict(parsed)
    return config


def options_of_the_page() -> list[str]:
    """What follows `--cfg-options`, over all commands."""
    return re.findall(r'\b[\w.]+\.type=\w+', PAGE.read_text())


def test_the_page_has_the_blocks_that_are_tested():
    assert BLOCKS.keys() == {
        'loss-statistics',
        *BACKENDS,
        'faster-evaluation',
    }
    assert PAGE.read_text().count('```python') == len(BLOCKS)
    assert len(options_of_the_page()) == 4


def test_the_hook_comes_beside_all_others(tmp_path):
    config = read('loss-statistics', tmp_path)
    base = Config.fromfile(mmdet_retina_plus.config('retinanet_r50_fpn_fl'))
    added = config.default_hooks.pop('loss_statistics')
    assert isinstance(HOOKS.build(added), LossStatisticsHook)
    assert config.default_hooks == base.default_hooks
    assert config.custom_hooks == base.custom_hooks


def test_the_fragment_holds_the_hook_too(tmp_path):
    config = read('tensorboard', tmp_path)
    assert isinstance(HOOKS.build(config.loss_statistics), LossStatisticsHook)


@pytest.mark.parametrize('name', BACKENDS)
def test_a_backend_is_mmengines_and_comes_beside_the_local_one(name, tmp_path):
    local, other = read(name, tmp_path).visualizer.vis_backends
    assert local.type == 'LocalVisBackend'
    kind, _ = BACKENDS[name]
    assert VISBACKENDS.get(other.type) is getattr(vis_backend, kind)


@pytest.mark.parametrize('name', BACKENDS)
def test_a_missing_package_is_named_at_the_start_of_a_run(
    name, tmp_path, monkeypatch
):
    """A run's first words to its backends are its config."""
    config = read(name, tmp_path)
    _, package = BACKENDS[name]
    monkeypatch.setitem(sys.modules, package, None)
    visualizer = Visualizer(
        vis_backends=config.visualizer.vis_backends, save_dir=str(tmp_path)
    )
    with pytest.raises(ImportError, match=f'pip install .*{name}'):
        visualizer.add_config(config)


def test_the_metric_keeps_the_options_of_its_base(tmp_path):
    pytest.importorskip('faster_coco_eval')
    config = read('faster-evaluation', tmp_path)
    base = Config.fromfile(mmdet_retina_plus.config('retinanet_r50_fpn_fl'))
    for name in ('val_evaluator', 'test_evaluator'):
        assert config[name] == dict(base[name], type='FasterCocoMetric')
        del config[name]['ann_file']
        assert isinstance(METRICS.build(config[name]), FasterCocoMetric)


def test_the_command_line_does_what_the_page_says():
    config = with_options(*options_of_the_page())
    assert config.default_hooks.loss_statistics.type == 'LossStatisticsHook'
    assert config.default_hooks.logger.type == 'LoggerHook'
    (backend,) = config.visualizer.vis_backends
    assert backend.type == 'TensorboardVisBackend'
    assert config.val_evaluator.type == 'FasterCocoMetric'
    assert config.test_evaluator.type == 'FasterCocoMetric'


def test_the_table_has_every_tag():
    rows = re.findall(r'^\| (`.*?) \|', PAGE.read_text(), re.MULTILINE)
    assert set(re.findall(r'`(\w+)`', ' '.join(rows))) == {
        *('positives', 'p_t_positives', 'p_t_negatives', 'positive_share'),
        *('beta_dx', 'beta_dy', 'beta_dw', 'beta_dh'),
    }
