"""Pages are what their data say."""

import pytest

from benchmarks.result_tables import DOCS, fill, results

PAGES = [
    page for page in DOCS.glob('*.md') if '<!-- results ' in page.read_text()
]


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_the_pages_tables_are_those_of_the_data(page):
    text = page.read_text()
    assert fill(text, 'results', results) == text


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
