"""Build lomond. The metadata is in setup.cfg, except what this file reads from others."""
import io
import os
import re

from setuptools import setup

#: A fenced block of code, which stays as it is.
CODE_BLOCK = re.compile(r'(^```.*?^```$)', re.DOTALL | re.MULTILINE)

#: A link or a picture in Markdown whose target is in the tree, or on the same page.
RELATIVE_LINK = re.compile(r'!?\[([^\[\]]*)\]\((?![a-z][a-z0-9+.-]*:)([^)#\s]*)(?:#[^)\s]*)?\)')


def read(*path):
    here = os.path.dirname(os.path.abspath(__file__))
    with io.open(os.path.join(here, *path), encoding='utf-8') as source:
        return source.read()


def read_version():
    """Return `lomond.__version__` without importing lomond: six and certifi may be missing."""
    # str(): distutils of 2.7 requires a native string.
    return str(re.search(
        r"^__version__ = '(.+)'$", read('lomond', '__init__.py'), re.MULTILINE).group(1))


def read_description():
    """Return README.md for a package index, where its relative links would be dead.

    Each link or picture is replaced by its text, and the path in parentheses.
    """
    parts = CODE_BLOCK.split(read('README.md'))
    parts[::2] = [RELATIVE_LINK.sub(name_path, part) for part in parts[::2]]
    return u'{}\nFiles named here, such as docs/guide.md, are in the source distribution.\n'.format(
        u''.join(parts))


def name_path(link):
    words, path = link.groups()
    return words if words.rstrip(u'/') == path or not path else u'{} ({})'.format(words, path)


setup(version=read_version(), long_description=read_description())
