"""Values of `--cfg-options`: Python literals and mmengine's short forms.

mmengine's DictAction drops quotes and blanks, and reads no dict. Its short
forms keep their meaning: `1,2` is a list, `(1)` a tuple, `[a, b]` holds texts,
and `true`, `inf` and `nan` are values.
"""

import ast
import re
import warnings
from collections.abc import Sequence
from typing import Any

STRING = re.compile(
    r"""(?<!\w)[bB]?(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""", re.DOTALL
)
PIECE = re.compile(f'{STRING.pattern}|.', re.DOTALL)
DICT = re.compile(r'\{.*\}|dict\(.*\)', re.DOTALL)
QUOTES = {"'", '"', '\u2018', '\u2019', '\u201c', '\u201d'}
"""The last four, of word processors, are none in Python."""
CLOSING = {'(': ')', '[': ']', '{': '}'}
BOOLEANS = {'true': True, 'false': False}
NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""What `ast.literal_eval` raises."""


def read_value(text: str) -> Any:
    """Value of a text that needs quotes only where it could be another value.

    Raises:
        ValueError: Brackets or quotes do not match, an element is missing, or
            a dict holds something else than literals.
    """
    text = text.strip()
    commas = outer_commas(text)
    if commas is None and (text[0] in CLOSING or ',' in text):
        raise ValueError(f'the brackets of {text} do not match')
    if commas:
        return read_elements(text, commas)
    if CLOSING.get(text[:1]) == text[-1:] and text[0] != '{':
        inner = text[1:-1]
        commas = outer_commas(inner)
        if commas is not None:
            values = read_elements(inner, commas)
            return tuple(values) if text[0] == '(' else values
    return read_word(text)


def read_by_mmengine(text: str) -> Any:
    """Value that mmengine's DictAction takes for the text.

    Raises:
        AssertionError: Brackets do not match.
    """
    from mmengine.config import DictAction

    return DictAction._parse_iterable(text)


def read_elements(text: str, commas: Sequence[int]) -> list:
    """Values between commas at these positions; a last comma may follow.

    Raises:
        ValueError: As `read_value`.
    """
    ends = [*commas, len(text)]
    starts = [0, *(comma + 1 for comma in commas)]
    elements = [
        text[start:end].strip()
        for start, end in zip(starts, ends, strict=True)
    ]
    if not elements[-1]:
        elements.pop()
    if not all(elements):
        raise ValueError(f'an element is missing beside a comma of {text}')
    return [read_value(element) for element in elements]


def read_word(text: str) -> Any:
    """Value of a text that is neither a list nor a tuple.

    Raises:
        ValueError: As `read_value`.
    """
    try:
        value = literal(text)
    except NO_LITERAL:
        pass
    else:
        if isinstance(value, str) and not STRING.fullmatch(text):
            raise ValueError(f'a comma is missing between the texts {text}')
        return value
    if {text[:1], text[-1:]} & QUOTES:
        raise ValueError(f'the quotes of {text} do not match')
    if DICT.fullmatch(text):
        raise ValueError(
            f"{text} is not a dict of literals such as {{'a': 1.5, 'b': 'c'}}:"
            ' write it so, or put a text into quotes'
        )
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return BOOLEANS.get(text.lower(), text)


def literal(text: str) -> Any:
    """Value of a text that is one Python literal as a whole.

    Raises:
        Exception: One of `NO_LITERAL`.
    """
    with warnings.catch_warnings():
        # About a backslash that starts no escape sequence.
        warnings.simplefilter('ignore', SyntaxWarning)
        node = ast.parse(text, mode='eval').body
    # A comment may follow, and three dots are a text.
    if ast.get_source_segment(text, node) != text or text == '...':
        raise ValueError(text)
    return ast.literal_eval(node)


def outer_commas(text: str) -> list[int] | None:
    """Positions of commas outside brackets and quotes.

    Returns:
        None if brackets do not match.
    """
    commas: list[int] = []
    expected: list[str] = []
    for piece in PIECE.finditer(text):
        mark = piece[0]
        if mark in CLOSING:
            expected.append(CLOSING[mark])
        elif mark in CLOSING.values():
            if not expected or expected.pop() != mark:
                return None
        elif mark == ',' and not expected:
            commas.append(piece.start())
    return None if expected else commas
