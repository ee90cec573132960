"""Laws of what a class of a config takes."""

from mmdet_retina_plus.sweeps.config_lookup import parameters


def test_arguments_of_parents_count_where_keywords_are_passed_on():
    accepted = parameters(dict(type='RetinaPlusHead'))
    assert {'mining', 'stacked_convs', 'init_cfg', 'bbox_coder'} <= set(
        accepted
    )
    assert not parameters(dict(type='NoSuchThing'))
