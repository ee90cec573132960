"""The page and its files, also in a real browser where there is one."""

import dataclasses
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mmdet_retina_plus.sweeps.report import write_report
from tests.helpers.browser import browse, needs_browser
from tests.sweeps.sweep_results import (
    NASTY,
    make_sweep,
    one_trial_each,
    unfinished_sweep,
)

HOVER = """<script>addEventListener('load', () => setTimeout(() => {
  for (const chart of document.querySelectorAll('.vega-embed')) {
    const mark = ['seeds', 'trial']
      .map((name) => chart.querySelector(`path[aria-label*="${name}:"]`))
      .find(Boolean);
    mark.dispatchEvent(new PointerEvent('pointermove', {bubbles: true}));
    const tip = document.querySelector('.vg-tooltip');
    chart.dataset.hover = tip.innerText.replace(/\\s+/g, ' ');
  }
}, 500));</script>"""
"""A pointer over a mark of every chart, and what it shows."""
FETCH = """<script>fetch('https://example.org/').catch(() => 0);</script>
<img src="https://example.org/x.png">"""


class Elements(HTMLParser):
    """Start tags with their attributes, and the text outside of scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.tags and self.tags[-1][0] not in ('script', 'style'):
            self.words.append(data)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)


def page_of(sweep, folder: Path) -> str:
    write_report(sweep, folder)
    return (folder / 'index.html').read_text()


def nasty_sweep():
    """Markup in every text that comes from outside."""
    markup = '</script><img src=x onerror=console.error(1)><b>{{x}}</b>'
    sweep = one_trial_each([{markup: markup, 'n': n} for n in range(3)])
    trials = [
        dataclasses.replace(trial, folder=markup) for trial in sweep.trials
    ]
    trials[0] = dataclasses.replace(trials[0], state='failed', error=NASTY)
    return dataclasses.replace(
        sweep, name=markup, config=markup, prefix=markup, trials=trials
    )


@pytest.fixture(scope='module')
def folder(tmp_path_factory) -> Path:
    """Report of an unfinished sweep."""
    folder = tmp_path_factory.mktemp('sweep') / 'report'
    write_report(unfinished_sweep(), folder)
    return folder


@pytest.mark.parametrize(
    'points', [[], [{}], [dict(gamma=2.0)]], ids=['none', 'empty', 'one']
)
def test_a_sweep_that_has_not_begun_has_a_page(points, tmp_path):
    page = page_of(make_sweep(points, []), tmp_path)
    assert f'0 of {3 * len(points)} trials finished' in page
    assert 'No trial has a result yet' in page
    assert not list(tmp_path.glob('*.png'))


def test_the_page_tells_name_config_and_states(folder):
    words = ' '.join(Elements((folder / 'index.html').read_text()).words)
    for text in (
        'focal_gamma_alpha',
        '../retinanet_r18_fpn_shapes.py',
        '6 of 15 trials finished, 2 running, 5 waiting, 1 pruned, 1 failed',
        '31.0 ± 1.4',
    ):
        assert text in words


def test_the_page_refers_to_nothing_outside(folder):
    elements = Elements((folder / 'index.html').read_text())
    for tag, attributes in elements.tags:
        assert not {'src', 'href', 'action', 'data'} & {*attributes}, tag
    assert not {tag for tag, _ in elements.tags} & {'link', 'iframe', 'base'}
    (policy,) = (
        attributes['content']
        for tag, attributes in elements.tags
        if attributes.get('http-equiv') == 'Content-Security-Policy'
    )
    assert policy.startswith("default-src 'none'")
    assert 'http' not in policy


def test_markup_from_outside_stays_text(folder, tmp_path):
    elements = Elements(page_of(nasty_sweep(), tmp_path))
    assert elements.count('img') == elements.count('pre') - 1 == 0
    text = ''.join(elements.words)
    assert NASTY.strip() in text
    assert 'onerror=console.error(1)' in text


@needs_browser
def test_a_browser_draws_every_chart_and_shows_values_under_the_pointer(
    folder, tmp_path
):
    page = (folder / 'index.html').read_text()
    dom, console = browse(page.replace('</main>', f'{HOVER}</main>'), tmp_path)
    assert console == []
    hovers = re.findall('data-hover="([^"]*)"', dom)
    assert hovers == [
        'point gamma=0.0, alpha=0.75 bbox_mAP (%) 31.0 ± 1.4 seeds 2',
        'point gamma=0.0, alpha=0.75 bbox_mAP (%) 31.0 seeds 2',
        'point gamma=0.0, alpha=0.75 bbox_mAP (%) 10.0 training step 100 '
        'seed 0 trial 0 state complete',
        'point gamma=0.0, alpha=0.75 minutes 10 ± 0.0589 seeds 2',
    ]
    assert len(list(folder.glob('*.png'))) == dom.count('class="marks"') == 4


@needs_browser
def test_a_browser_takes_markup_for_text_and_fetches_nothing(tmp_path):
    page = page_of(nasty_sweep(), tmp_path)
    dom, console = browse(page.replace('</main>', f'{FETCH}</main>'), tmp_path)
    assert 'src="x"' not in dom
    assert dom.count('class="marks"') == len(list(tmp_path.glob('*.png')))
    assert len(console) >= 2
    for line in console:
        assert 'Content Security Policy' in line
