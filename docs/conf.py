"""What Sphinx makes of this folder: `make docs`. The pages are plain Markdown, for a code host too.

What Sphinx needs beyond that is added while it reads a page: `complete`.
"""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

# Functions of compiled modules have no types and no source to read.
os.environ['LOMOND_COMPILED'] = 'no'
sys.path[:0] = [os.path.dirname(HERE), os.path.join(os.path.dirname(HERE), '.ci')]

import draw_svg  # noqa: E402

import lomond  # noqa: E402

project = 'lomond'
copyright = 'the authors of lomond'
release = version = lomond.__version__

extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx_copybutton']
source_suffix = {'.md': 'markdown'}
exclude_patterns = ['_build']
nitpicky = True

myst_heading_anchors = 4

html_theme = 'furo'
html_static_path = ['_static']
html_css_files = ['diagrams.css']
html_title = 'lomond {}'.format(release)
html_copy_source = False
html_show_sourcelink = False
copybutton_prompt_text = r'\$ |>>> '
copybutton_prompt_is_regexp = True

autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
autodoc_default_options = {
    'members': True, 'show-inheritance': True,
    'inherited-members': 'object, Exception, BaseException'}
# Docstrings put names in single backquotes: those that aren't public lead nowhere.
default_role = 'py:obj'
nitpick_ignore_regex = [('py:.*', '.*')]
suppress_warnings = ['ref.python']      # a name in two modules, such as Connection

_FENCED = re.compile(r'(^```.*?^```$)', re.DOTALL | re.MULTILINE)
_LINK = re.compile(r'\[([^\]]+)\]\(([^)#:]+)(#[^)]*)?\)')
_LIST_ITEM = re.compile(r'^- \[[^\]]+\]\(([^)#:]+)\.md\)', re.MULTILINE)
_DIAGRAM = re.compile(r'^```mermaid\n(.*?)^```$', re.DOTALL | re.MULTILINE)
_AUTODOC = re.compile(r'^<!-- autodoc: (.*) -->$', re.MULTILINE)


def complete(_app, name, source):
    """Add to a page what a code host doesn't need: a toctree, docstrings, pictures."""
    parts = _FENCED.split(source[0])
    folder = os.path.dirname(name)
    parts[::2] = [
        _LINK.sub(lambda match: _stay_inside(folder, match), part) for part in parts[::2]]
    text = ''.join(parts)
    if os.path.basename(name) == 'index':
        text += _toctree(_LIST_ITEM.findall(source[0]))
    text = _DIAGRAM.sub(lambda match: draw_svg.draw(match.group(1)), text)
    source[0] = _AUTODOC.sub(_directive, text)


def _stay_inside(folder, match):
    """Replace a link that leads out of docs/ by its text and the path."""
    words, path, _anchor = match.groups()
    target = os.path.normpath(os.path.join(folder, path))
    if not target.startswith('..'):
        return match.group(0)
    target = target[3:]
    return words if words.strip('`') == target else '{} (`{}`)'.format(words, target)


def _toctree(pages):
    """Return a hidden table of contents of the pages that an index lists."""
    return '\n```{{toctree}}\n:hidden:\n\n{}\n```\n'.format('\n'.join(pages))


def _directive(match):
    """Return what documents a module, a class or a function by its docstrings."""
    kind, _, target = match.group(1).partition(' ')
    return '```{{eval-rst}}\n.. auto{}:: {}\n```'.format(kind, target)


def mark_code(_app, _what, _name, _object, _options, lines):
    """Mark indented blocks of a docstring as code, which reStructuredText takes for quotations."""
    marked = []
    for line in lines:
        if line.startswith('    ') and marked and not marked[-1]:
            before = [earlier for earlier in marked if earlier][-1:]
            if before and not before[0].startswith('    '):
                marked.extend(['::', ''])
        marked.append(line)
    lines[:] = marked


def setup(app):
    app.connect('source-read', complete)
    app.connect('autodoc-process-docstring', mark_code)
    return {'parallel_read_safe': True}
