"""docs/reference/: every environment variable and every public module is there."""

from __future__ import absolute_import, division, print_function

import glob
import os
import re

from tests.network.doc_cells import ROOT, read_page

#: What the source asks the environment for; those of proxies are made of names.
_ASKED = re.compile(r"environ(?:\.get\(|\[)'(\w+)'|'(\w+)' in environ")


def read_sources():
    for folder, _folders, names in os.walk(os.path.join(ROOT, 'lomond')):
        for name in names:
            if name.endswith('.py') and 'wsgi' not in name:     # its environ is another
                with open(os.path.join(folder, name), 'rb') as source:
                    yield source.read().decode('utf-8')


def test_every_environment_variable_is_documented():
    asked = {first or second for text in read_sources() for first, second in _ASKED.findall(text)}
    with open(os.path.join(ROOT, 'lomond', 'net', 'proxy', 'settings.py')) as source:
        kinds, = re.findall(r'^_KINDS = (.*)$', source.read(), re.MULTILINE)
    asked.update(kind.upper() + '_PROXY' for kind in re.findall(r"'(\w+)'", kinds) + ['no'])
    documented = set(re.findall(r'`([A-Z]+_?[A-Z_]+)`', read_page('reference/environment.md')))
    assert documented == {name for name in asked if name.isupper()}


def test_every_public_module_is_in_the_api():
    names = {os.path.basename(path).partition('.')[0] for path in glob.glob(
        os.path.join(ROOT, 'lomond', '[a-z]*.py'))}
    documented = set(re.findall(
        r'^## lomond\.(\w+)\n\n<!-- autodoc: module lomond\.\1 -->$',
        read_page('reference/api.md'), re.MULTILINE))
    assert documented == names | {'aio', 'shards', 'testing'}
