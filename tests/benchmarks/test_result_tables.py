"""Pages are what their data say, and data say where they come from."""

import pandas as pd
import pytest

from benchmarks.result_tables import DOCS, RESULTS, fill, results

PAGES = [
    page for page in DOCS.glob('*.md') if '<!-- results ' in page.read_text()
]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_the_pages_tables_are_those_of_the_data(page):
    text = page.read_text()
    assert fill(text, 'results', results) == text


@pytest.mark.parametrize(
    'file', list(RESULTS.glob('*.csv')), ids=lambda file: file.stem
)
def test_each_run_has_its_source(file):
    runs = pd.read_csv(file, dtype=str, na_filter=False)
    assert len(runs)
    assert (runs[['command', 'device']] != '').all(axis=None)
    assert runs.date.str.fullmatch(r'\d{4}-\d\d-\d\d').all()
    # The commit of old runs is known to a day.
    assert runs.commit.str.fullmatch(
        r'[0-9a-f]{7}|commits of \d{4}-\d\d-\d\d'
    ).all()


def test_a_table_shows_means_over_seeds_and_leaves_out_what_is_alike(
    tmp_path, monkeypatch
):
    source = 'one run,make it,1234567,2026-11-28,CPU,torch 2'
    (tmp_path / 'runs.csv').write_text(
        'data,model,seed,AP,AP50,statistic,command,commit,date,device,'
        'versions\n'
        f'shapes,small,0,0.10,,{source}\n'
        f'shapes,small,1,0.30,,{source}\n'
        f'shapes,large,0,0.50,0.8,{source}\n'
        f'photographs,large,0,0.90,0.9,{source}\n'
    )
    monkeypatch.setattr('benchmarks.result_tables.RESULTS', tmp_path)
    text = 'Before.\n<!-- results runs data=shapes -->\nold\n<!-- end -->\n'
    page = fill(text, 'results', results)
    assert (
        page
        == fill(page, 'results', results)
        == (
            'Before.\n<!-- results runs data=shapes -->\n\n'
            '| model | AP | AP50 | AP by seed |\n'
            '| --- | --- | --- | --- |\n'
            '| small | 0.20 ± 0.14 |  | 0.10, 0.30 |\n'
            '| large | 0.50 | 0.8 | 0.50 |\n'
            '\n<!-- end -->\n'
        )
    )
    with pytest.raises(ValueError, match='no run with data=clouds'):
        results('runs', 'data=clouds')
