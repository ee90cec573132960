"""Self-contained HTML pages, which need no network."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape

POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)
"""Makes the browser forbid the page to fetch anything."""
STYLE = """
body { margin: 0; background: #fafaf8; color: #222;
  font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 60px; }
h1 { font-size: 26px; margin: 0; }
h2 { font-size: 18px; margin: 36px 0 0; }
p { margin: 4px 0 8px; }
.note { color: #555; font-size: 14px; }
code, pre { font-family: ui-monospace, monospace; font-size: 13px; }
pre { overflow-x: auto; margin: 4px 0 12px; padding: 10px 12px;
  background: #f1f1ee; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin-top: 8px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 5px 14px 5px 0; text-align: left; white-space: nowrap;
  border-bottom: 1px solid #e4e4e0; }
th { font-weight: 600; border-bottom-color: #999; }
.number { text-align: right; }
.best td { background: #e8f1f8; font-weight: 600; }
h3 { font-size: 15px; margin: 16px 0 4px; }
img { max-width: 100%; }
.zoom { display: block; overflow-x: auto; cursor: zoom-in; }
.zoom input { display: none; }
.zoom input:checked + img { max-width: none; cursor: zoom-out; }
"""


def page(title: str, body: str, script: str = '') -> str:
    """Make a page.

    Args:
        title: Title of the window, escaped here.
        body: HTML of the page, already escaped.
        script: JavaScript that runs before the body is read.
    """
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
{f'<script>{script}</script>' if script else ''}
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""


def picture(data: bytes, text: str, kind: str = 'png') -> str:
    """HTML of a picture embedded in the page.

    Args:
        data: Content of a picture file.
        text: Alternative text.
        kind: Format of the file, 'png' or 'jpeg'.
    """
    code = b64encode(data).decode()
    source = f'data:image/{kind};base64,{code}'
    return f'<img alt="{escape(text)}" src="{source}">'


def zoomed(data: bytes, text: str, kind: str = 'png') -> str:
    """HTML of a picture that fits the window, and full size once clicked."""
    image = picture(data, text, kind)
    return f'<label class="zoom"><input type="checkbox">{image}</label>'


def table_html(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """HTML of a table; all columns but the first hold numbers."""
    lines = [line_html('th', head), *(line_html('td', row) for row in rows)]
    return f'<div class="wide"><table>{"".join(lines)}</table></div>'


def line_html(tag: str, texts: Sequence[str]) -> str:
    first, *others = map(escape, texts)
    cells = [f'<{tag} class="number">{text}</{tag}>' for text in others]
    return f'<tr><{tag}>{first}</{tag}>{"".join(cells)}</tr>\n'
