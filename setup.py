"""Build lomond. The metadata stands in setup.cfg; only the version is looked up here."""
import io
import os
import re

from setuptools import setup


def read_version():
    """Return `lomond.__version__` without importing lomond: six and certifi may be missing."""
    here = os.path.dirname(os.path.abspath(__file__))
    with io.open(os.path.join(here, 'lomond', '__init__.py'), encoding='utf-8') as source:
        # str(): distutils of 2.7 wants its native kind.
        return str(re.search(r"^__version__ = '(.+)'$", source.read(), re.MULTILINE).group(1))


setup(version=read_version())
