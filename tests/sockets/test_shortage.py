"""lomond.net.shortage: too few descriptors are found, and none is left open by looking."""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket

from lomond._describe import describe
from lomond.net import shortage
from lomond.net.shortage import find_shortage

from ..shortages import few_descriptors


def test_a_shortage_of_descriptors_is_described_with_what_to_do():
    error = socket.error(errno.EMFILE, os.strerror(errno.EMFILE))
    words = describe(error)
    assert words.startswith(os.strerror(errno.EMFILE))
    assert 'ulimit -n' in words
    assert describe(socket.error(errno.EMFILE, words)) == words
    assert 'ulimit' not in describe(socket.error(errno.ENFILE, os.strerror(errno.ENFILE)))


def test_a_shortage_of_descriptors_is_found_without_leaving_any_open():
    assert find_shortage(5) is None
    for count in (0, 2, 4):
        with few_descriptors(count):
            assert find_shortage(5).errno == errno.EMFILE
            assert count == 0 or find_shortage() is None
    with few_descriptors(5):
        assert find_shortage(5) is None


def test_an_error_that_is_no_shortage_is_none(monkeypatch):
    def no_such_family():
        raise socket.error(errno.EAFNOSUPPORT, 'no')

    monkeypatch.setattr(shortage.socket, 'socket', no_such_family)
    assert find_shortage() is None
