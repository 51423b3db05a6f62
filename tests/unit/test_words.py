"""The words of code and docs: .ci/check_words.py finds those that are to be replaced."""

from __future__ import absolute_import, division, print_function

import os
import sys

import pytest

CI = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), '.ci')

sys.path.insert(0, CI)
try:
    import check_words
finally:
    sys.path.remove(CI)


def found(text, path='lomond/module.py'):
    """Return what is found in a text, as (line, what is written) pairs."""
    return [(line, word) for line, word, _instead in check_words.find(path, text)]


def test_code_and_docs_have_none_of_the_words():
    assert check_words.check(check_words.files()) == []


def test_what_is_looked_at_is_there():
    files = check_words.files()
    for path in ('README.md', 'docs/howto/tls.md', 'lomond/pool.py', 'lomond/net/tls/client.py',
                 '.ci/run', 'examples/daemon.py', 'Makefile'):
        assert path in files


@pytest.mark.parametrize('text, word', [
    (u'# the Close frame that is owed', u'owed'),
    (u'# a loop that has been told to end', u'told'),
    (u'self._is_told = False', u'told'),
    (u'# Tell if the socket is open', u'Tell'),
    (u'# asked for anew', u'anew'),
    (u'# for whoever waits', u'whoever'),
    (u'# a thread who waits', u'who'),
    (u'# there is no room in the buffer', u'room'),
    (u'# the thread is left to itself', u'left to itself'),
    (u'# it has had its connection', u'has had'),
    (u'# this file is of no use', u'of no use'),
    (u'# no use for wsaccel', u'no use for'),
    (u'# after so many bytes', u'so many'),
    (u'# a thread to be had', u'to be had'),
    (u'# in the midst of a read', u'midst'),
    (u'# by the names of `connect`, as of `connect`', u'as of'),
    (u'# no room: a frame waits', u'room'),
    (u'# the peer takes nothing in', u'takes nothing in'),
])
def test_a_word_is_found(text, word):
    assert (1, word) in found(text)


@pytest.mark.parametrize('text', [
    u'# as many bytes as there are, not so many that it waits',
    u'# the bytes so far, so much as a byte',
    u'# of user code, in house rules, a used socket',
    u'# a total of 3, the teller, untold',
    u'# whole, whose, showroom',
    u'# owing to a timeout',
    u'# handy, shown, ahead',
    u'# as of 3.10',
    u'# a round trip over loopback',
    u'# the port is taken in the meantime',
])
def test_other_words_are_not_found(text):
    assert found(text) == []


def test_a_phrase_is_found_across_lines_by_the_line_where_it_begins():
    assert found(u'x = 1\n# a file of no\n# use\n') == [(2, u'of no # use')]
    assert found(u'one that stands\n  for another', 'docs/x.md') == [(1, u'stands for')]


def test_a_person_in_the_docs_may_be_who():
    assert found(u'those who run it', 'docs/x.md') == []


def test_a_line_may_say_that_its_word_is_right():
    assert found(u'room = 3     # words: ok, a hotel\nroom = 4') == [(2, u'room')]
    assert found(u'a room <!-- words: ok -->', 'docs/x.md') == []


def test_the_command_fails_and_says_where(monkeypatch, tmpdir):
    monkeypatch.setattr(check_words, 'ROOT', str(tmpdir))
    tmpdir.join('a.md').write('fine\nit was told\n')
    with pytest.raises(SystemExit) as caught:
        check_words.main(['a.md'])
    assert 'a.md:2: "told": write say' in str(caught.value)
    tmpdir.join('a.md').write('fine\n')
    check_words.main([])
