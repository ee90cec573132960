"""Files are never written over what is read, and whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from mmdet_retina_plus.common.output_files import (
    RowsFile,
    check_folder,
    check_out,
    read_rows,
    replace,
    replacing,
)


def test_a_file_is_written_over_but_not_where_it_is_read(tmp_path):
    out, other = tmp_path / 'out.json', tmp_path / 'other.json'
    check_out(out, [out])  # Nothing is there that could be lost.
    for file in (out, other):
        file.touch()
    check_out(out, [other, 'https://out.json', tmp_path / 'absent'])
    with pytest.raises(ValueError, match='would overwrite an input'):
        check_out(out, [other, out])


@pytest.mark.parametrize('link', [Path.symlink_to, Path.hardlink_to])
def test_another_name_of_what_is_read_is_known(tmp_path, monkeypatch, link):
    out, alias = tmp_path / 'out.json', tmp_path / 'alias.json'
    out.touch()
    link(alias, out)
    monkeypatch.chdir(tmp_path)
    for name in (alias, '../' + tmp_path.name + '/out.json', 'out.json'):
        with pytest.raises(ValueError, match='would overwrite'):
            check_out(out, [name])


def test_the_folder_of_a_file_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r'no folder .*absent for a\.json'):
        check_out(tmp_path / 'absent' / 'a.json', [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('content', ['ä\n', b'\xff\x00'])
def test_a_file_is_replaced_whole(tmp_path, content):
    file = tmp_path / 'a'
    file.write_text('a longer one that was there before')
    replace(file, content)
    expected = content if isinstance(content, bytes) else b'\xc3\xa4\n'
    assert file.read_bytes() == expected
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize('before', [None, 'before'])
def test_a_write_that_fails_leaves_what_was_there(
    tmp_path, monkeypatch, before
):
    file = tmp_path / 'a'
    if before:
        file.write_text(before)
    write = Path.write_bytes

    def fill_the_disk(self, data):
        write(self, data[:2])
        raise OSError('No space left')

    monkeypatch.setattr(Path, 'write_bytes', fill_the_disk)
    with pytest.raises(OSError, match='No space left'):
        replace(file, 'after')
    assert [path.read_text() for path in tmp_path.iterdir()] == [
        *filter(None, [before])
    ]


def test_a_reader_sees_no_half_of_a_file(tmp_path, monkeypatch):
    file = tmp_path / 'a'
    file.write_text('before')
    seen, move = [], os.replace

    def look(source, target):
        seen.append(file.read_text())
        move(source, target)
        seen.append(file.read_text())

    monkeypatch.setattr(os, 'replace', look)
    replace(file, 'after')
    assert seen == ['before', 'after']


def test_a_file_about_another_is_away_while_that_is_written(
    tmp_path, monkeypatch
):
    """It is written before, as long as a full disk harms neither."""
    file = tmp_path / 'a'
    file.write_text('before')
    with replacing(file, 'after'):
        assert not file.exists()
    assert file.read_text() == 'after'

    def fill_the_disk(handle):
        raise OSError('No space left')

    with monkeypatch.context() as context:
        context.setattr(os, 'fsync', fill_the_disk)
        with pytest.raises(OSError, match='No space left'):
            replacing(file, '').__enter__()
    assert [path.read_text() for path in tmp_path.iterdir()] == ['after']
    with pytest.raises(KeyboardInterrupt), replacing(file, 'never'):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_checked_and_not_made(tmp_path):
    out = tmp_path / 'a' / 'b'
    check_folder(out, [out / 'file'])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('there', ['out', 'out/a'])
def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path, there):
    (tmp_path / 'out').touch()
    with pytest.raises(ValueError, match=r'Cannot create the folder .*a file'):
        check_folder(tmp_path / there, [])
    with pytest.raises(ValueError, match=r'Cannot create the folder .*a file'):
        check_out(tmp_path / there / 'a.json', [])


def test_a_folder_that_takes_no_files_is_refused(tmp_path, monkeypatch):
    # Not by permissions, which do not bind root.
    monkeypatch.setattr(os, 'access', lambda path, mode: False)
    for check in (check_folder, check_out):
        with pytest.raises(
            ValueError, match=r'Cannot write into the folder .*: name'
        ):
            check(tmp_path / 'a', [])


def test_a_link_to_nothing_is_no_place_for_a_folder(tmp_path):
    (tmp_path / 'out').symlink_to(tmp_path / 'absent')
    with pytest.raises(ValueError, match='Cannot create the folder'):
        check_folder(tmp_path / 'out', [])


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / 'a.json').mkdir()
    with pytest.raises(ValueError, match=r'a\.json is a folder: move it'):
        check_folder(tmp_path, [tmp_path / 'b.json', tmp_path / 'a.json'])


@pytest.mark.parametrize('count', [0, 1, 5])
def test_rows_are_an_array_and_come_back_one_by_one(tmp_path, count):
    items = [dict(text='],\n[é', number=[i]) for i in range(count)]
    texts = list(map(json.dumps, items))
    out = tmp_path / 'out.json'
    with RowsFile(out) as rows:
        rows.extend(texts[:2])
        rows.extend([])
        rows.extend(texts[2:])
        assert not out.exists()
        rows.finish(out)
    assert rows.count == count
    assert json.loads(out.read_text()) == items
    assert list(read_rows(out)) == list(zip(items, texts, strict=True))
    assert list(tmp_path.iterdir()) == [out]


def test_rows_that_were_not_written_whole_are_no_part_of_the_array(tmp_path):
    out = tmp_path / 'out.json'
    with RowsFile(out) as rows:
        rows.extend(['1'])
        rows.stream.write(b',\n"a piece')
        rows.finish(out)
    assert json.loads(out.read_text()) == [1]


def test_rows_without_an_end_leave_an_earlier_file(tmp_path):
    out = tmp_path / 'out.json'
    out.write_text('earlier')
    with pytest.raises(KeyboardInterrupt), RowsFile(out) as rows:
        rows.extend(['1'])
        raise KeyboardInterrupt
    assert out.read_text() == 'earlier'
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize('content', ['', '[1,\n2,\n', '[1,\n{"a": '])
def test_rows_that_end_early_are_refused(tmp_path, content):
    file = tmp_path / 'rows.json'
    file.write_text(content)
    with pytest.raises(ValueError, match=r'rows\.json (ends|is damaged)'):
        list(read_rows(file))


def write_rows(file: Path, content: str) -> None:
    with RowsFile(file) as rows:
        rows.finish(file)


def write_beside(file: Path, content: str) -> None:
    with replacing(file, content):
        pass


@pytest.mark.parametrize('write', [replace, write_beside, write_rows])
def test_a_link_stays_one_and_its_file_is_written(tmp_path, write):
    place = tmp_path / 'elsewhere'
    place.mkdir()
    link, file = tmp_path / 'link', place / 'file'
    link.symlink_to(file)
    for _ in range(2):
        write(link, '[]')
        assert link.is_symlink()
        assert file.read_text() == '[]'
        file.write_text('before')
    assert list(place.iterdir()) == [file]
    place.rename(tmp_path / 'gone')
    with pytest.raises(ValueError, match=r'no folder .*elsewhere for file'):
        check_out(link, [])


@pytest.mark.parametrize('write', [replace, write_beside, write_rows])
def test_a_new_name_is_flushed_after_the_file_that_gets_it(
    tmp_path, monkeypatch, write
):
    """And where a file system cannot flush folders, the file is there."""
    seen = []

    def fsync(handle):
        seen.append('folder' if os.path.isdir(handle) else 'file')
        if seen[-1] == 'folder':
            raise OSError('not here')

    move = os.replace
    monkeypatch.setattr(os, 'fsync', fsync)
    monkeypatch.setattr(
        os, 'replace', lambda *names: seen.append('name') or move(*names)
    )
    write(tmp_path / 'a', '[]')
    assert seen == ['file', 'name', 'folder']
    assert (tmp_path / 'a').read_text() == '[]'
