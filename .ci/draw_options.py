"""Draw the tables of options in docs/ from signatures, docstrings and hints: `make diagrams`.

    python .ci/draw_options.py         # rewrites the pages

A table follows a comment that names what takes the options, such as

    <!-- options: lomond.pool:Pool.add -->

A docstring lists its parameters: "- ``poll`` (5), ``ping_rate``: words". The signature has the
defaults. tests/unit/test_diagrams.py fails while a page and the source differ.
"""

from __future__ import absolute_import, division, print_function

import importlib
import inspect
import os
import re
import sys

from pages import ROOT, rewrite

#: A table in a page: what takes the options, and what is there now.
TABLE = re.compile(r'(<!-- options: ([\w.]+):([\w.]+) -->\n)((?:\|.*\n)*)')

#: The table of the names that other libraries have for options, and what is there now.
HINTS = re.compile(r'(<!-- hints -->\n)((?:\|.*\n)*)')

PAGES = ['docs/reference/options.md', 'docs/coming-from/index.md']

#: Which options each page, beside that of the options, says more about.
PAGES_OF = {
    'howto/addresses': 'resolver sock socket_options source_address',
    'howto/compression': 'compress',
    'howto/cookies': 'cookies',
    'howto/dead-connections': 'heartbeat ping_rate ping_timeout tcp_keepalive',
    'howto/extensions': 'extensions',
    'howto/faster': 'spin',
    'howto/headers': 'headers netrc',
    'howto/json': 'json_dumps json_loads',
    'howto/large-messages': 'message_parts text_as_bytes',
    'howto/many-connections': 'dial_rate',
    'howto/proxies': 'proxies',
    'howto/reconnecting': 'policy',
    'howto/redirects': 'max_redirects',
    'howto/regularly': 'poll',
    'howto/sending': 'max_read_ahead write_timeout',
    'howto/server': 'on_request origins reuse_port unix_path',
    'howto/server-one-thread': 'threads',
    'howto/slow-peers': 'keep_outbox max_queue overflow',
    'howto/stale-feed': 'idle_timeout',
    'howto/tls':
        'ssl_cafile ssl_certfile ssl_context ssl_fingerprint ssl_server_hostname '
        'ssl_verify',
    'howto/without-a-gap': 'max_age',
    'reference/logging': 'trace',
}
MORE = {option: page for page, options in PAGES_OF.items() for option in options.split()}

_NAME = r'``\w+``(?: \([^)]*\))?'
_ITEM = re.compile(r'^- ({0}(?:(?:,| and)\s+{0})*): (.*?)(?=\n\n|\n- |\Z)'.format(_NAME),
                   re.DOTALL | re.MULTILINE)


def find(module, path):
    """Return what takes the options, and the function that has them in its signature."""
    taker = importlib.import_module(module)
    for name in path.split('.'):
        taker = getattr(taker, name)
    function = taker.__init__ if isinstance(taker, type) else taker
    return taker, getattr(function, '__wrapped__', function)


def defaults_of(function):
    """Return the parameters of a function, and their defaults as text; those in stars have none."""
    function = getattr(function, '__func__', function)
    code, values = function.__code__, function.__defaults__ or ()
    count = code.co_argcount + getattr(code, 'co_kwonlyargcount', 0)
    names = [name for name in code.co_varnames[:count] if name not in ('self', 'cls')]
    defaults = dict.fromkeys(names, u'')
    defaults.update(zip(reversed(code.co_varnames[:code.co_argcount]),
                        [show(value) for value in reversed(values)]))
    for name, value in (getattr(function, '__kwdefaults__', None) or {}).items():
        defaults[name] = show(value)
    return defaults


def show(value):
    """Return a default as a table shows it."""
    if hasattr(value, '__name__'):
        return value.__name__
    return re.sub("^u'", "'", repr(value))


def describe(docstring):
    """Yield the names that each item of a list of parameters describes, and its words."""
    for names, words in _ITEM.findall(inspect.cleandoc(docstring)):
        yield re.findall(r'``(\w+)``', names), u' '.join(words.split())


def draw_table(module, path, folder):
    """Return the table of what something takes, for a page in a folder of docs/."""
    taker, function = find(module, path)
    defaults = defaults_of(function)
    lines = [u'| Option | Default | |', u'| --- | --- | --- |']
    for names, words in describe(taker.__doc__):
        lines.append(u'| {} | {} | {} |'.format(
            u', '.join(u'`{}`'.format(name) for name in names),
            u', '.join(defaults.get(name, u'') for name in names),
            as_markdown(_without_default(words, defaults.get(names[0]))) + see_also(names, folder)))
    return u''.join(line + u'\n' for line in lines)


def _without_default(words, default):
    """Leave out what a docstring says about a default, as the table has a column for that."""
    shown = {default, default.partition('.')[0]} if default else set()
    if default in (u'()', u'None'):
        shown.add(u'none')
    for value in shown:
        words = words.replace(u' ({})'.format(value), u'')
    return words


def as_markdown(words):
    """Return words of a docstring in Markdown: ``a`` is code there, as `b` is."""
    return words.replace('``', '`').rstrip('.').replace('|', '\\|')


def see_also(names, folder):
    """Return links to the pages that say more about these options."""
    pages = sorted({MORE[name] for name in names if name in MORE})
    links = [u'[{}]({})'.format(
        page.rpartition('/')[2].replace('-', ' '),
        os.path.relpath(page + '.md', folder).replace(os.sep, '/')) for page in pages]
    return u'; see ' + u', '.join(links) if links else u''


def draw_hints():
    """Return the table of names in other libraries, those with the same advice in a row."""
    from lomond._hints import OTHER_NAMES
    names_of = {}
    for name, hint in OTHER_NAMES.items():
        names_of.setdefault(hint, []).append(name)
    lines = [u'| Another name | What the `TypeError` says |', u'| --- | --- |']
    lines.extend(
        u'| {} | {} |'.format(u', '.join(u'`{}`'.format(name) for name in sorted(names)),
                              hint.replace('{{', '{').replace('}}', '}').replace('|', '\\|'))
        for hint, names in sorted(names_of.items(), key=lambda item: sorted(item[1])))
    return u''.join(line + u'\n' for line in lines)


def draw(text, page):
    """Return a page with its tables as the source has them."""
    folder = os.path.relpath(os.path.dirname(page), 'docs')
    text = TABLE.sub(
        lambda match: match.group(1) + draw_table(match.group(2), match.group(3), folder), text)
    return HINTS.sub(lambda match: match.group(1) + draw_hints(), text)


if __name__ == '__main__':
    sys.path.insert(0, ROOT)
    rewrite(PAGES, draw)
