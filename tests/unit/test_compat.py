"""The differences between the Pythons: UTF-8 that is strict everywhere, bytes, the clock."""

from __future__ import absolute_import, division, print_function

import errno
import pickle
import sys
import threading

import pytest

from lomond import _compat
from lomond._compat import (
    NamedTuple,
    RLock,
    SteppedRLock,
    Utf8Decoder,
    decode_utf8,
    encode_utf8,
    indexable,
    join_text,
    monotonic,
    native_to_text,
    text_to_native,
    text_type,
    to_bytes,
    unquote,
)

VALID = [
    b'', b'plain', b'caf\xc3\xa9', b'\xe2\x82\xac', b'\xf0\x9f\x98\x80', b'\xed\x9f\xbf',
    b'\xee\x80\x80', b'\xef\xbf\xbf', b'\xf4\x8f\xbf\xbf', b'\xc2\x80', b'\xe0\xa0\x80',
    b'\xf0\x90\x80\x80', b'\x00', b'\xed\x95\x9c\xea\xb5\xad\xec\x96\xb4']

INVALID = [
    b'\xed\xa0\x80', b'a\xed\xbf\xbfb', b'\xed\xa0\xbd\xed\xb8\x80',    # surrogates
    b'\xff', b'\xc0\x80', b'\xe0\x80\x80', b'\xf4\x90\x80\x80', b'\x80', b'\xc3(']


@pytest.mark.parametrize('data', VALID)
def test_utf8_is_decoded_and_encoded_whole(data):
    text = decode_utf8(data)
    assert type(text) is text_type
    assert text == data.decode('utf-8')
    assert encode_utf8(text) == data


@pytest.mark.parametrize('data', INVALID)
def test_what_is_not_utf8_is_refused_surrogates_too(data):
    with pytest.raises(UnicodeDecodeError):
        decode_utf8(data)
    with pytest.raises(UnicodeDecodeError):
        Utf8Decoder().decode(data, True)


@pytest.mark.parametrize('data', VALID)
def test_utf8_is_decoded_byte_by_byte(data):
    decoder = Utf8Decoder()
    pieces = [decoder.decode(data[i:i + 1]) for i in range(len(data))]
    pieces.append(decoder.decode(b'', True))
    text = join_text(pieces)
    assert type(text) is text_type
    assert text == data.decode('utf-8')


def test_no_pieces_make_an_empty_text():
    assert type(join_text([])) is text_type
    assert join_text([]) == u''


def test_ascii_is_text_when_it_is_joined_at_the_latest():
    """On 2.7 it takes four times the memory as text, so it stays as it is until then."""
    piece = b'plain' * 1000
    decoded = Utf8Decoder().decode(piece)
    assert decoded is piece if _compat.PY2 else decoded == piece.decode('ascii')
    text = join_text([decoded, decoded])
    assert type(text) is text_type
    assert text == u'plain' * 2000


@pytest.mark.parametrize('data', INVALID)
def test_what_is_not_utf8_is_refused_after_ascii(data):
    decoder = Utf8Decoder()
    decoder.decode(b'plain')
    with pytest.raises(UnicodeDecodeError):
        decoder.decode(data, True)


@pytest.mark.parametrize('data', [b'\xc3', b'\xe2\x82', b'\xf0\x9f\x98'])
def test_utf8_must_not_end_within_a_character(data):
    decoder = Utf8Decoder()
    assert decoder.decode(data) == u''
    with pytest.raises(UnicodeDecodeError):
        decoder.decode(b'', True)


@pytest.mark.parametrize('text', [u'\ud800', u'a\udfffb', u'\udc80'])
def test_lone_surrogate_is_not_encoded(text):
    with pytest.raises(ValueError):
        encode_utf8(text)


def test_received_bytes_are_indexed_as_integers():
    data = indexable(b'\x00\xff')
    assert data[1] == 255
    assert bytes(data[:1]) == b'\x00'


@pytest.mark.parametrize('data', [
    b'\x00\xff', bytearray(b'\x00\xff'), memoryview(b'\x00\xff'),
    memoryview(bytearray(b'\x00\xff'))], ids=['bytes', 'bytearray', 'view', 'view-of-bytearray'])
def test_bytes_are_copied_out_of_any_bytes_like_object(data):
    copy = to_bytes(data)
    assert type(copy) is bytes
    assert copy == b'\x00\xff'


def test_monotonic_clock_does_not_go_back():
    readings = [monotonic() for _again in range(100)]
    assert readings == sorted(readings)


def test_interrupt_is_distinguished_from_other_errors():
    assert not _compat.is_interrupt(OSError(errno.ECONNRESET, 'reset'))
    assert not _compat.is_interrupt(OSError())
    # From 3.5 on the interpreter repeats the call (PEP 475).
    assert _compat.is_interrupt(OSError(errno.EINTR, 'interrupted')) is _compat.PY2


def test_native_string_becomes_text_and_all_else_stays():
    for value in ('native', u'caf\xe9'):
        assert type(native_to_text(value)) is text_type
        assert native_to_text(value) == value
    assert native_to_text(7) == 7
    assert native_to_text(None) is None


def test_text_becomes_a_native_string_and_back():
    for text in (u'plain', u'caf\xe9 5 \u20ac'):
        assert type(text_to_native(text)) is str
        assert native_to_text(text_to_native(text)) == text
    assert text_to_native('native') == 'native'


@pytest.mark.parametrize('quoted, text', [
    (u'a%20b', u'a b'), (u'caf%C3%A9', u'caf\xe9'), (u'caf\xe9', u'caf\xe9'), (u'100%', u'100%'),
    (u'%e2%82%ac', u'\u20ac')])
def test_percent_encoded_text_is_decoded_as_utf8(quoted, text):
    assert type(unquote(quoted)) is text_type
    assert unquote(quoted) == text


def test_percent_encoded_bytes_that_are_not_utf8_are_refused():
    with pytest.raises(ValueError):
        unquote(u'%ff')


def test_all_public_names_are_there():
    for name in _compat.__all__:
        getattr(_compat, name)


@pytest.fixture(params=[RLock, SteppedRLock])
def lock(request):
    return request.param()


def test_an_rlock_is_the_one_in_c_where_there_is_one_and_threads_are_threads():
    assert isinstance(RLock(), SteppedRLock) is _compat.PY2


def test_an_rlock_lets_one_thread_in_at_a_time(lock):
    counts = [0]

    def count():
        for _ in range(2000):
            with lock, lock:
                before = counts[0]
                before += len(str(before)) and 1
                counts[0] = before

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [8000]


def test_an_rlock_that_another_thread_holds_is_not_had_without_waiting(lock):
    had = []
    with lock:
        thread = threading.Thread(target=lambda: had.append(lock.acquire(False)))
        thread.start()
        thread.join()
    assert had == [False]
    assert lock.acquire(False)
    lock.release()


def test_an_rlock_may_be_taken_by_a_handler_that_comes_between_any_two_of_its_steps(lock):
    """Where it has steps: the one of threading that is in Python would wait forever."""
    refused = []

    def handle(frame, _event, _argument):
        if lock.acquire(False):
            lock.release()
        else:
            refused.append(frame.f_lineno)
        return handle

    before = sys.gettrace()     # coverage's
    sys.settrace(handle)
    try:
        lock.acquire()
        lock.acquire()
        lock.release()
        lock.release()
    finally:
        sys.settrace(before)
    assert refused == []
    other = threading.Thread(target=lambda: refused.append(lock.acquire(False)))
    other.start()
    other.join()
    assert refused == [True]


class Patched(object):
    """What monkey patching makes of the module of threads; `greenlet` is the present one."""

    greenlet = 1

    def get_ident(self):
        return self.greenlet

    class allocate_lock(object):
        """A lock in the hub, where nothing may wait."""

        is_locked = False

        def acquire(self):
            assert not self.is_locked, 'Impossible to call blocking function'
            self.is_locked = True

        def release(self):
            self.is_locked = False


def test_an_rlock_lets_a_handler_in_that_runs_where_nothing_may_wait(monkeypatch):
    """In the hub of gevent or eventlet, while greenlets wait, the one that holds it too."""
    def sleep(_seconds):
        raise AssertionError('Impossible to call blocking function')

    monkeypatch.setattr(_compat, 'thread_module', Patched())
    monkeypatch.setattr(_compat.time, 'sleep', sleep)
    lock = RLock()
    assert isinstance(lock, SteppedRLock)
    with lock:
        _compat.thread_module.greenlet = 'hub'
        with lock:
            assert not lock.acquire(False)
        _compat.thread_module.greenlet = 1
        assert lock.acquire(False)
        lock.release()
    lock.waiting.append(None)          # a greenlet that is about to be woken
    with lock:
        _compat.thread_module.greenlet = 2
        assert not lock.acquire(False)


def test_a_free_rlock_goes_to_its_waiters_first(monkeypatch):
    """Else a greenlet that sends one message after the other would keep it."""
    yields = []
    monkeypatch.setattr(_compat.time, 'sleep', yields.append)
    lock = SteppedRLock()
    with lock:
        pass
    lock.waiting.append(None)      # one that was woken, and has not run yet
    assert lock.acquire(False)
    lock.release()
    assert yields == []
    with lock, lock:
        pass
    assert yields == [0]


Point = NamedTuple('Point', [('x', int), ('name', 'Optional[text_type]')])


def test_a_named_tuple_has_its_fields_and_the_module_that_made_it():
    point = Point(1, name=None)
    assert point == (1, None) and point.x == 1
    assert Point._fields == ('x', 'name')
    assert repr(point) == 'Point(x=1, name=None)'
    assert pickle.loads(pickle.dumps(point, 2)) == point
