"""The corpus of `make fuzz`, through every target: here on each Python, and with no fuzzer."""

from __future__ import absolute_import, division, print_function

import os

import pytest

from fuzz.targets import CORPUS, TARGETS, replay, seeds


@pytest.mark.usefixtures('deflate_library')
@pytest.mark.parametrize('name', sorted(TARGETS))
def test_target_finds_nothing_in_its_corpus(name):
    paths = seeds(name)
    assert paths
    for path in paths:
        try:
            replay(name, path)
        except BaseException:
            print('python -m fuzz.run --replay {} {}'.format(name, path))
            raise


def test_every_corpus_has_its_target():
    assert sorted(os.listdir(CORPUS)) == sorted(TARGETS)


def test_corpus_is_small():
    sizes = [os.path.getsize(path) for name in TARGETS for path in seeds(name)]
    assert len(sizes) < 600
    assert sum(sizes) < 300 * 1024


@pytest.mark.parametrize('name', sorted(TARGETS))
def test_target_says_what_is_documented(name):
    words = TARGETS[name].__doc__
    assert 'Documented: ' in words or 'Nothing may be raised' in words
