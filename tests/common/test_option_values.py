"""Laws of the values of `--cfg-options`."""

from argparse import ArgumentParser

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mmengine.config import DictAction

from mmdet_retina_plus.common.option_values import read_value


def mmengine_reads(text: str) -> object:
    parser = ArgumentParser()
    parser.add_argument('--options', nargs='+', action=DictAction)
    return parser.parse_args(['--options', f'a={text}']).options['a']


keys = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
scalars = keys | st.floats(allow_nan=False, allow_infinity=False)
literals = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(keys, inner)
        | st.sets(keys, max_size=1)  # Others have no order.
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(literals)
@example(('traffic light', 'stop sign'))
@example({'type': 'Adam', 'betas': (0.9, 0.999)})
@example(['a, [b', "it's", 'say "x"', '\\', '\n'])
def test_every_python_literal_survives(value):
    result = read_value(repr(value))
    assert result == value
    assert repr(result) == repr(value)


words = st.from_regex(r'[a-zA-Z_/][a-zA-Z_/.:0-9-]{0,8}', fullmatch=True)
plain = words | st.integers().map(str) | st.floats().map(str)


def bracketed(inner):
    elements = st.lists(inner, min_size=1, max_size=4).map(','.join)
    return elements.map('[{}]'.format) | elements.map('({})'.format)


@settings(deadline=None)
@given(
    st.recursive(plain, bracketed, max_leaves=6)
    | st.lists(plain, min_size=2).map(','.join)
)
@example('true')
@example('None')
@example('1,2,3')
@example('1,')
@example('(1)')
@example('((a,b),[c])')
@example('')
@example('007')
@example("it's")
@example('[abc]*.png')
@example('iter_{}.pth')
@example('f(x)')
@example('1#2')
@example('...')
@example('5-3')
def test_text_without_blanks_and_quotes_keeps_its_meaning(text):
    assert repr(read_value(text)) == repr(mmengine_reads(text))


@pytest.mark.parametrize(
    ('text', 'value'),
    [
        ('x y', 'x y'),
        ('my data/a b', 'my data/a b'),
        ('[traffic light, stop sign]', ['traffic light', 'stop sign']),
        ("('traffic light')", ('traffic light',)),
        ("'1,2'", '1,2'),
        ('"1"', '1'),
        ("men's, women's", ["men's", "women's"]),
        ('(1, 2), (3, 4)', [(1, 2), (3, 4)]),
        ('[inf, a b, 1]', [float('inf'), 'a b', 1]),
        ('a=b', 'a=b'),
        (' 3 ', 3),
        ('[1, 2,]', [1, 2]),
        ('[[], ()]', [[], ()]),
        (r'C:\new', r'C:\new'),
    ],
)
def test_a_value_is_what_it_looks_like(text, value):
    assert repr(read_value(text)) == repr(value)


@pytest.mark.parametrize(
    ('text', 'reason'),
    [
        ('[1,', 'brackets'),
        ('[1', 'brackets'),
        ('(1]', 'brackets'),
        ('1,2]', 'brackets'),
        ('[1,,2]', 'element is missing'),
        (',1', 'element is missing'),
        ("('traffic light' 'stop sign')", 'comma is missing'),
        ("['a", 'brackets|quotes'),
        ("'a", 'quotes'),
        ("a'", 'quotes'),
        ('(\u2018a\u2019, b)', 'quotes'),
        ('\u201ca b\u201d', 'quotes'),
        ('{a: 1}', 'not a dict of literals'),
        ('{"a": true}', 'not a dict of literals'),
        ("dict(type='SGD')", 'not a dict of literals'),
        ('[{a: 1}]', 'not a dict of literals'),
    ],
)
def test_what_can_only_be_a_typo_is_refused(text, reason):
    with pytest.raises(ValueError, match=reason):
        read_value(text)
