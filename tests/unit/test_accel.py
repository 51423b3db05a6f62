"""What is faster than plain Python is found where it is there, and nothing fails where it isn't."""

from __future__ import absolute_import, division, print_function

import sys
import zlib

import pytest

import lomond
from lomond import protocol
from lomond.protocol import accel
from lomond.protocol.extensions.deflate import DeflateCodec


@pytest.mark.skipif(not lomond.accelerated, reason='nothing is compiled')
def test_what_masks_in_the_compiled_core_is_found_where_it_is_built():
    assert accel.find_masking() is sys.modules['lomond.protocol._masking']


def test_without_the_compiled_core_nothing_of_it_masks(monkeypatch):
    monkeypatch.delattr(protocol, '_masking', raising=False)
    monkeypatch.setitem(sys.modules, 'lomond.protocol._masking', None)
    assert accel.find_masking() is None


def test_the_masker_of_wsaccel_is_found_where_it_is_installed():
    wsaccel = pytest.importorskip('wsaccel.xormask', reason='wsaccel is not installed')
    assert accel.find_masker() is wsaccel.XorMaskerSimple


def test_without_wsaccel_there_is_no_masker(monkeypatch):
    monkeypatch.setitem(sys.modules, 'wsaccel', None)
    monkeypatch.setitem(sys.modules, 'wsaccel.xormask', None)
    assert accel.find_masker() is None


# -- zlib-ng or zlib --

@pytest.fixture
def fresh():
    """No library was looked for yet."""
    before = accel.use_zlib(None)
    yield
    accel.use_zlib(before)


def test_zlib_ng_is_used_where_it_is_installed(fresh):
    zlib_ng = pytest.importorskip(
        'zlib_ng.zlib_ng', reason='zlib-ng has no wheel for this Python')
    assert accel.find_zlib() is zlib_ng
    assert accel.find_zlib() is zlib_ng


def test_without_zlib_ng_the_standard_library_serves(fresh, monkeypatch):
    monkeypatch.setitem(sys.modules, 'zlib_ng', None)
    assert accel.find_zlib() is zlib
    assert DeflateCodec().decompress_whole(b'\xf2\x48\xcd\xc9\xc9\x07\x00', None) == b'Hello'


def _install(monkeypatch, tmpdir, source):
    """Have this source, and no other, be zlib-ng."""
    tmpdir.ensure('zlib_ng', '__init__.py').write(source)
    for name in list(sys.modules):
        if name.split('.')[0] == 'zlib_ng':
            monkeypatch.delitem(sys.modules, name)
    # Set first, so that the end of the test takes out what it has imported.
    monkeypatch.setitem(sys.modules, 'zlib_ng', None)
    del sys.modules['zlib_ng']
    monkeypatch.syspath_prepend(str(tmpdir))


def test_zlib_ng_for_another_python_is_as_good_as_none(fresh, monkeypatch, tmpdir):
    _install(monkeypatch, tmpdir, 'syntax of some other Python\n')
    assert accel.find_zlib() is zlib


def test_zlib_ng_that_can_not_be_read_now_is_looked_for_again(fresh, monkeypatch, tmpdir):
    """There may be no file descriptor left."""
    _install(monkeypatch, tmpdir, (
        'import sys\n'
        'sys.attempts = getattr(sys, "attempts", 0) + 1\n'
        'if sys.attempts == 1:\n'
        '    raise EnvironmentError(24, "Too many open files")\n'
        'zlib_ng = "found at last"\n'))
    monkeypatch.setattr(sys, 'attempts', 0, raising=False)
    assert accel.find_zlib() is zlib
    assert accel.find_zlib() == 'found at last'


def test_another_library_may_be_put_in_and_is_used_from_then_on(fresh):
    before = accel.find_zlib()
    assert accel.use_zlib(zlib) is before
    assert accel.find_zlib() is zlib
    assert accel.use_zlib(None) is zlib
    assert accel.find_zlib() is before
