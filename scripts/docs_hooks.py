"""Generate pages of the site, and convert links that leave docs/.

MkDocs calls the functions `on_…`. Pages in docs/ link to files of the checkout
by relative paths, which work in a repository browser. On the site, these links
lead to the generated page that shows the file.
"""

from __future__ import annotations

import ast
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = 'mmdet_retina_plus'

CONFIG_FOLDERS = {
    'models': ('', 'Detectors to train, or to inherit from'),
    'lab': ('lab', 'One strategy or method each, on common data'),
    'sweeps': ('sweeps', 'Points to train at, and what papers report'),
    'bases': ('_base_', 'Fragments that several configs inherit from'),
}
"""Folder below configs/ and its purpose, by the end of the page's name."""

COPIED = {
    'CONTRIBUTING.md': 'contributing.md',
    'CHANGELOG.md': 'changelog.md',
    'configs/README.md': 'reference/configs.md',
}
"""Pages that show a file outside docs/."""

FUNCTIONS = (
    f'{PACKAGE}.config',
    f'{PACKAGE}.register_all_modules',
    f'{PACKAGE}.synthetic.shapes.make_shapes',
    f'{PACKAGE}.synthetic.donuts.make_donuts',
    f'{PACKAGE}.inference.sahi_config.sahi_config',
)
"""Public functions outside the rooms of registered modules."""

LINK = re.compile(r'(\]\()([^)\s]+)(\))')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for uri, text in pages().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(
    markdown: str, page: Page, config: MkDocsConfig, files: Files
) -> str:
    """Convert links to pages of the site."""
    return site_links(markdown, page.file.src_uri)


def site_links(markdown: str, uri: str) -> str:
    """Convert links to files of the checkout into links to pages.

    Args:
        markdown: Text of the page.
        uri: Path of the page on the site.
    """
    sources = {page: source for source, page in COPIED.items()}
    source = sources.get(uri, f'docs/{uri}')

    def lead(match: re.Match[str]) -> str:
        before, link, after = match.groups()
        if ':' in link or link.startswith('#'):
            return match[0]
        path, mark, anchor = link.partition('#')
        path = posixpath.normpath(
            posixpath.join(posixpath.dirname(source), path)
        )
        target = page_of(path, mark + anchor)
        return before + relative(target, uri) + after if target else match[0]

    return LINK.sub(lead, markdown)


def page_of(path: str, anchor: str = '') -> str | None:
    """Page that shows a file or folder of the checkout, None if none does.

    Args:
        path: Path relative to the checkout.
        anchor: Anchor of the link, with the hash sign.
    """
    if path in COPIED:
        return COPIED[path] + anchor
    if path == 'README.md':
        return 'index.md' + anchor
    if path.startswith('docs/'):
        return path.removeprefix('docs/') + anchor
    parent, _, name = path.rpartition('/')
    for end, (folder, _) in CONFIG_FOLDERS.items():
        page = f'reference/configs-{end}.md'
        if folder and path == f'configs/{folder}':
            return page
        if name.endswith('.py') and parent == f'configs/{folder}'.rstrip('/'):
            return f'{page}#{name.removesuffix(".py")}'
    if path == 'configs':
        return COPIED['configs/README.md']
    room = path.removeprefix(f'{PACKAGE}/').split('/')[0]
    if path.startswith(f'{PACKAGE}/') and room in rooms_of_modules():
        return f'reference/{room}.md'
    return None


def relative(target: str, uri: str) -> str:
    path, mark, anchor = target.partition('#')
    return posixpath.relpath(path, posixpath.dirname(uri)) + mark + anchor


def pages() -> dict[str, str]:
    """Text of each generated page by its path on the site."""
    copied = {
        page: (ROOT / source).read_text(encoding='utf-8')
        for source, page in COPIED.items()
    }
    configs = {
        f'reference/configs-{end}.md': config_page(folder, purpose)
        for end, (folder, purpose) in CONFIG_FOLDERS.items()
    }
    modules = {
        f'reference/{room}.md': room_page(room) for room in rooms_of_modules()
    }
    return {
        **copied,
        **configs,
        **modules,
        'reference/commands.md': COMMANDS,
        'reference/functions.md': functions_page(),
        'reference/rooms.md': rooms_page(),
    }


COMMANDS = """# Commands

Every sub-command of `retina-plus` with its arguments and options, as
`retina-plus COMMAND --help` prints them.

::: mkdocs-click
    :module: retina_plus_command
    :command: main
    :prog_name: retina-plus
    :style: plain
    :depth: 1
"""


def functions_page() -> str:
    blocks = '\n'.join(f'::: {name}\n' for name in FUNCTIONS)
    return f"""# Functions

What a script or a config may import besides the registered modules.

{blocks}"""


def rooms_of_modules() -> list[str]:
    """Rooms of registered modules, which their `__init__.py` imports."""
    return [
        path.parent.name
        for path in sorted((ROOT / PACKAGE).glob('*/__init__.py'))
        if public_names(path.parent)
    ]


def public_names(room: Path) -> list[str]:
    """Names that a room exports, each with the module that defines it.

    The module is needed because it may have the name of its function.
    """
    return [
        f'{node.module}.{name.name}'
        for node in parse(room / '__init__.py').body
        if isinstance(node, ast.ImportFrom) and node.level
        for name in node.names
    ]


def room_page(room: str) -> str:
    """Reference page of a room, with one section per public name."""
    folder = ROOT / PACKAGE / room
    blocks = '\n'.join(
        f'::: {PACKAGE}.{room}.{name}\n' for name in public_names(folder)
    )
    title = room.capitalize()
    return f'# {title}\n\n{docstring(folder / "__init__.py")}\n\n{blocks}'


def rooms_page() -> str:
    """Page of all modules by room, with the first lines of docstrings."""
    folders = sorted(
        path.parent for path in (ROOT / PACKAGE).glob('*/__init__.py')
    )
    sections = [
        f'## {folder.name}\n\n{docstring(folder / "__init__.py")}\n\n'
        '| Module | What it is |\n|---|---|\n' + '\n'.join(module_rows(folder))
        for folder in folders
    ]
    return (
        '# Modules by room\n\nEach folder of the package, called a room, with '
        'its modules and the first line of their docstrings. [Design]'
        '(../design.md) says which room may import which.\n\n'
        + '\n\n'.join(sections)
        + '\n'
    )


def module_rows(folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob('*.py')):
        if path != folder / '__init__.py':
            name = path.relative_to(folder).as_posix()
            first = docstring(path).partition('\n')[0].replace('|', r'\|')
            yield f'| `{name}` | {first} |'


def docstring(path: Path) -> str:
    return ast.get_docstring(parse(path)) or ''


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'))


def config_page(folder: str, purpose: str) -> str:
    """Page of the configs of a folder: each header as text, then the code."""
    paths = sorted((ROOT / 'configs' / folder).glob('*.py'))
    title = f'configs/{folder}'.rstrip('/')
    sections = '\n'.join(config_section(path) for path in paths)
    return (
        f'# {title}\n\n{purpose}. [Configs](configs.md) has the rule that '
        f'names follow.\n\n{sections}'
    )


def config_section(path: Path) -> str:
    header, code = split_header(path.read_text(encoding='utf-8'))
    name = path.relative_to(ROOT).as_posix()
    # Sets the anchor, since MkDocs would change dashes and dots.
    title = f'## {path.stem} {{ #{path.stem} }}'
    body = ''.join(f'    {line}'.rstrip() + '\n' for line in code.split('\n'))
    return (
        f'{title}\n\n{as_markdown(header)}\n\n'
        f'??? note "{name}"\n\n    ```python\n{body}    ```\n'
    )


def split_header(text: str) -> tuple[str, str]:
    """Split a config into the text of its first comment, and the rest."""
    lines = text.rstrip().split('\n')
    size = next(
        (i for i, line in enumerate(lines) if not line.startswith('#')),
        len(lines),
    )
    header = [re.sub('^# ?', '', line) for line in lines[:size]]
    return '\n'.join(header), '\n'.join(lines[size:])


def as_markdown(header: str) -> str:
    """Convert a comment to Markdown; indented lines become code."""
    lines = [
        f'    {line[2:]}' if line.startswith('  ') else escape(line)
        for line in header.split('\n')
    ]
    # Without a blank line, code would continue the paragraph.
    return re.sub(
        r'^(?! {4})(.+)\n(?= {4})', r'\1\n\n', '\n'.join(lines), flags=re.M
    )


def escape(line: str) -> str:
    """Escape text for Markdown, and link the pages that it names."""
    pieces = re.split(r'(`[^`]*`)', line)
    return ''.join(
        piece
        if piece.startswith('`')
        else re.sub(
            r'\bdocs/([\w-]+\.md)',
            r'[docs/\1](../\1)',
            re.sub(r'([_*<])', r'\\\1', piece),
        )
        for piece in pieces
    )
