"""Laws of a trial's config."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmdet_retina_plus.sweeps.trial_config import parse_config, write_config
from tests.sweeps.scenes import BASE, EPOCHS, ITERATIONS


def test_a_trials_config_has_its_changes_and_its_seed(tmp_path):
    from mmengine.config import Config

    changes = {'model.gamma': 0.5, 'train_cfg.max_iters': 3}
    cfg = Config.fromfile(write_config(BASE, changes, 7, tmp_path))
    assert cfg.model.gamma == 0.5
    assert cfg.model.alpha == 0.25
    assert cfg.train_cfg.max_iters == 3
    assert cfg.randomness.seed == 7


@pytest.mark.parametrize('cfg', [ITERATIONS, EPOCHS])
def test_validations_are_logged_by_what_the_run_counts(cfg, tmp_path):
    from mmengine.config import Config

    base = f'train_cfg = {cfg["train_cfg"]!r}\n'
    for more in ('', 'default_hooks = dict(logger=dict(interval=7))'):
        path = write_config(base + more, {}, 0, tmp_path)
        written = Config.fromfile(path)
        logger = written.default_hooks.logger
        assert logger.log_metric_by_epoch == (cfg is EPOCHS)
        assert logger.get('interval', 7) == 7
        assert written.custom_imports.imports == ['mmdet_retina_plus']


def test_configs_are_read_one_at_a_time(monkeypatch):
    """Python 3.11's parser fails where two threads are in it, now and then."""
    inside, most = [], []

    def parse(text, _):
        inside.append(text)
        most.append(len(inside))
        time.sleep(0.01)
        inside.pop()

    monkeypatch.setattr('mmengine.config.Config.fromstring', parse)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(parse_config, [BASE] * 8))
    assert most == [1] * 8
