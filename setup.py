"""Build lomond. The metadata stands in setup.cfg, but for what is read from other files here."""
import io
import os
import re

from setuptools import setup

#: A fenced block of code, which stays as it is.
CODE_BLOCK = re.compile(r'(^```.*?^```$)', re.DOTALL | re.MULTILINE)

#: A link or a picture in Markdown that leads to another place of the tree, or of the same page.
RELATIVE_LINK = re.compile(r'!?\[([^\[\]]*)\]\((?![a-z][a-z0-9+.-]*:)([^)#\s]*)(?:#[^)\s]*)?\)')


def read(*path):
    here = os.path.dirname(os.path.abspath(__file__))
    with io.open(os.path.join(here, *path), encoding='utf-8') as source:
        return source.read()


def read_version():
    """Return `lomond.__version__` without importing lomond: six and certifi may be missing."""
    # str(): distutils of 2.7 wants its native kind.
    return str(re.search(
        r"^__version__ = '(.+)'$", read('lomond', '__init__.py'), re.MULTILINE).group(1))


def read_description():
    """Return README.md for a package index, where its relative links would lead nowhere.

    Instead of a link or a picture it has the words, and the path in parentheses.
    """
    parts = CODE_BLOCK.split(read('README.md'))
    parts[::2] = [RELATIVE_LINK.sub(name_path, part) for part in parts[::2]]
    return u'{}\nFiles named here, such as docs/guide.md, are in the source distribution.\n'.format(
        u''.join(parts))


def name_path(link):
    words, path = link.groups()
    return words if words.rstrip(u'/') == path or not path else u'{} ({})'.format(words, path)


setup(version=read_version(), long_description=read_description())
