"""The configs of docs/training-statistics.md do what the page says."""

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from mmdet.registry import HOOKS, METRICS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import VISBACKENDS
from mmengine.visualization import Visualizer, vis_backend

import mmdet_retina_plus
from mmdet_retina_plus.common.config_file import parse_options
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
    config = Config.fromfile(
        mmdet_retina_plus.config('retinanet_r18_fpn_shapes')
    )
    config.merge_from_dict(parse_options(options))
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


Curves = dict[str, list[tuple[int, float]]]
"""Iteration and value of each scalar."""


@pytest.fixture
def logged(tmp_path, monkeypatch):
    """Write what a short training would log to one of the backends."""
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    # The handler of an earlier test's logger may write to what pytest closed.
    MMLogger.get_instance(str(tmp_path))

    def log(name: str) -> Path:
        config = read(name, tmp_path)
        config.work_dir = str(tmp_path / 'work')
        visualizer = Visualizer(
            vis_backends=config.visualizer.vis_backends,
            save_dir=config.work_dir,
        )
        visualizer.add_config(config)
        for iteration in (10, 20):
            losses = dict(positive_share=1 / iteration, iter=iteration)
            visualizer.add_scalars(losses, step=iteration)
        visualizer.add_scalars({'coco/bbox_mAP': 0.25}, step=20)
        visualizer.close()
        return Path(config.work_dir)

    return log


def from_tensorboard(folder: Path) -> Curves:
    from tensorboard.backend.event_processing import event_accumulator

    events = event_accumulator.EventAccumulator(str(folder / 'vis_data'))
    tags = events.Reload().Tags()['scalars']
    return {
        tag: [(item.step, item.value) for item in events.Scalars(tag)]
        for tag in tags
    }


def from_wandb(folder: Path) -> Curves:
    import wandb

    # A closed run may be in its service still: that writes it as it ends.
    wandb.teardown()
    (file,) = folder.rglob('offline-run-*/*.wandb')
    curves: Curves = {}
    for record in wandb_records(file.read_bytes()):
        row = {
            item.key or '/'.join(item.nested_key): float(item.value_json)
            for item in record.history.item
        }
        for name, value in row.items():
            curves.setdefault(name, []).append((int(row['iter']), value))
    return curves


def wandb_records(content: bytes) -> Iterator:
    """What an offline run holds: a LevelDB log of protobuf messages."""
    from wandb.proto.wandb_internal_pb2 import Record

    block, header, whole_or_last = 32768, 7, (1, 4)
    at, message = header, b''
    while at + header <= len(content):
        if block - at % block < header:
            at += block - at % block
            continue
        _, length, kind = struct.unpack_from('<IHB', content, at)
        at += header + length
        message += content[at - length : at]
        if kind in whole_or_last:
            yield Record.FromString(message)
            message = b''


def from_mlflow(folder: Path) -> Curves:
    import mlflow

    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name('retina-plus')
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.data.params['work_dir'] == str(folder)
    return {
        name: [
            (item.step, item.value)
            for item in client.get_metric_history(run.info.run_id, name)
        ]
        for name in run.data.metrics
    }


READERS = {
    'tensorboard': from_tensorboard,
    'wandb': from_wandb,
    'mlflow': from_mlflow,
}


@pytest.mark.parametrize('name', READERS)
def test_scalars_arrive_at_their_iteration(name, logged):
    curves = READERS[name](logged(name))
    assert curves['positive_share'] == [
        (10, pytest.approx(0.1)),
        (20, pytest.approx(0.05)),
    ]
    # mmengine does not tell it the iteration: wandb has to fill it in.
    assert curves['coco/bbox_mAP'] == [(20, pytest.approx(0.25))]


def test_the_metric_keeps_the_options_of_its_base(tmp_path):
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
