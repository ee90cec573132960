"""Looking around in the tree of a config."""

from mmengine.config import Config

from mmdet_retina_plus.common.config_tree import kind, seed_of, walk


def test_kind_reads_names_scopes_and_classes():
    assert kind({'type': 'mmdet.FocalLoss'}) == 'FocalLoss'
    assert kind({'type': dict}) == 'dict'
    assert kind({}) == kind(None) == kind([]) == ''


def test_walk_finds_mappings_in_lists():
    config = {'a': [{'b': 1}, ({'c': {}},)], 'd': 2}
    assert len(list(walk(config))) == 4


def test_a_seed_may_be_none():
    for randomness in (None, {}, dict(seed=None)):
        assert seed_of(Config(dict(randomness=randomness))) is None
    assert seed_of(Config(dict(randomness=dict(seed=3)))) == 3
    assert seed_of(Config({})) is None
