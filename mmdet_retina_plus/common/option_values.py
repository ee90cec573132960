"""Values of `--cfg-options`: Python literals and mmengine's short forms.

mmengine's DictAction drops quotes and spaces, and reads no dict. Its short
forms keep their meaning: `1,2` is a list, `(1)` a tuple, `[a, b]` a list of
strings, and `true`, `inf` and `nan` are values.
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
"""The last four are typographic quotes, which Python does not accept."""
CLOSING = {'(': ')', '[': ']', '{': '}'}
BOOLEANS = {'true': True, 'false': False}
NO_LITERAL = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
"""Exceptions of `ast.literal_eval`."""


def read_value(text: str) -> Any:
    """Parse a value; strings need quotes only where they are ambiguous.

    Raises:
        ValueError: Brackets or quotes do not match, an element is missing, or
            a dict has values other than literals.
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
    """Parse a value as mmengine's DictAction does.

    Raises:
        AssertionError: Brackets do not match.
    """
    from mmengine.config import DictAction

    return DictAction._parse_iterable(text)


def read_elements(text: str, commas: Sequence[int]) -> list:
    """Parse the values between commas at these positions.

    A trailing comma is allowed.

    Raises:
        ValueError: See `read_value`.
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
        raise ValueError(f'an element is missing next to a comma in {text}')
    return [read_value(element) for element in elements]


def read_word(text: str) -> Any:
    """Parse a value that is neither a list nor a tuple.

    Raises:
        ValueError: See `read_value`.
    """
    try:
        value = literal(text)
    except NO_LITERAL:
        pass
    else:
        if isinstance(value, str) and not STRING.fullmatch(text):
            raise ValueError(f'a comma is missing between the strings {text}')
        return value
    if {text[:1], text[-1:]} & QUOTES:
        raise ValueError(f'the quotes of {text} do not match')
    if DICT.fullmatch(text):
        raise ValueError(
            f"{text} is not a dict of literals such as {{'a': 1.5, 'b': 'c'}}:"
            ' correct it, or put quotes around a string'
        )
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return BOOLEANS.get(text.lower(), text)


def literal(text: str) -> Any:
    """Evaluate a text that is a single Python literal.

    Raises:
        Exception: One of `NO_LITERAL`.
    """
    with warnings.catch_warnings():
        # A backslash may start no valid escape sequence.
        warnings.simplefilter('ignore', SyntaxWarning)
        node = ast.parse(text, mode='eval').body
    # A trailing comment is not part of a literal; '...' means a string.
    if ast.get_source_segment(text, node) != text or text == '...':
        raise ValueError(text)
    return ast.literal_eval(node)


def outer_commas(text: str) -> list[int] | None:
    """Find commas outside brackets and quotes.

    Returns:
        Their positions; None if brackets do not match.
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
