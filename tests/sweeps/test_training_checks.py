"""Laws of trainings that have something to compare."""

import pytest

from mmdet_retina_plus.sweeps.training_checks import check_run

METRIC = 'coco/bbox_mAP'


def test_a_run_that_has_nothing_to_compare_is_refused(cfg, tmp_path):
    check_run(cfg, METRIC)
    with pytest.raises(ValueError, match='val_interval is 700 of 700'):
        check_run(cfg, METRIC, prune=True)
    cfg.train_cfg.val_interval = 100
    check_run(cfg, METRIC, prune=True)
    (tmp_path / 'instances_val.json').unlink()
    with pytest.raises(ValueError, match=r'instances_val\.json'):
        check_run(cfg, METRIC)
    cfg.val_evaluator = None
    with pytest.raises(ValueError, match='cannot be compared'):
        check_run(cfg, METRIC)
