"""Every difference between Python 2.7 and 3 that this package meets.

No other module asks for a version. Nothing here knows of WebSockets.
"""

from __future__ import absolute_import, division, print_function

import codecs
import errno
import logging
import os
import re
import sys
import time
from functools import partial
from types import BuiltinFunctionType

import six
from six.moves import _thread as thread_module
from six.moves.urllib.parse import quote
from six.moves.urllib.parse import unquote as _unquote

#: False when run, True for a type checker: 2.7 has no typing module.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, Text, Tuple, Union  # noqa: F401

PY2 = six.PY2

#: Since 3.10 each look at an SSLSocket's session makes a copy of some 7 KB that nobody frees.
SESSIONS_LEAK = sys.version_info >= (3, 10)

#: unicode on 2.7, str on 3.
text_type = six.text_type

__all__ = [
    'PY2', 'RLock', 'SESSIONS_LEAK', 'SteppedRLock', 'TYPE_CHECKING', 'Utf8Decoder', 'decode_utf8',
    'encode_text', 'encode_utf8', 'indexable', 'is_interrupt', 'join_text', 'latin1_to_native',
    'make_cookie_jar', 'monotonic', 'native_to_text', 'quote', 'set_close_on_exec', 'show_warnings',
    'surrogate_error', 'text_to_native', 'text_type', 'thread_module', 'throw_arguments',
    'to_bytes', 'unquote',
]

# Of `thread_module`, which is _thread (on 2.7 thread), nothing is imported by name: monkey
# patching replaces what is in it at any time, and makes a greenlet's identity of a thread's.


# 2.7's codec takes surrogates for characters. 0xED is never anything but a
# first byte, so this finds each one, and nothing else, in valid UTF-8.
_SURROGATE = re.compile(b'\xed[\xa0-\xbf]')

# What may stand, incomplete, at the end of valid UTF-8 (RFC 3629 4).
_VIABLE_TAIL = re.compile(
    b'(?:[\xc2-\xdf]'
    b'|\xe0[\xa0-\xbf]?|\xed[\x80-\x9f]?|[\xe1-\xec\xee\xef][\x80-\xbf]?'
    b'|\xf0(?:[\x90-\xbf][\x80-\xbf]?)?'
    b'|[\xf1-\xf3](?:[\x80-\xbf][\x80-\xbf]?)?'
    b'|\xf4(?:[\x80-\x8f][\x80-\xbf]?)?'
    b')?\\Z'
)


def surrogate_error(text, name='text'):
    # type: (Text, str) -> ValueError
    """Make the error for text that `encode_utf8` has refused; it shows no more of it than it must.

    (The codec's own error has the whole text in its repr.)
    """
    data = text.encode('utf-8', 'strict' if PY2 else 'surrogatepass')
    start = _SURROGATE.search(data).start()     # type: ignore[union-attr]  # there is one
    second, third = bytearray(data[start + 1:start + 3])
    index = len(data[:start].decode('utf-8'))
    error = ValueError(
        '{} contains the lone surrogate U+{:04X} at index {}, which UTF-8 cannot encode: replace '
        'or remove it'.format(name, 0xd000 | (second & 0x3f) << 6 | third & 0x3f, index))
    error.__cause__ = None      # a traceback shows this error alone
    return error


class Utf8Decoder(codecs.getincrementaldecoder('utf-8')):  # type: ignore[misc]
    """Decodes UTF-8 piece by piece, and fails at the first wrong byte.

    The codec alone takes note of some wrong sequences only when they are
    complete: all of them on 2.7, surrogates on 3.
    """

    def decode(self, data, final=False):
        # type: (bytes, bool) -> Text
        """Decode a piece, for `join_text`; raises UnicodeDecodeError."""
        if PY2:
            if not self.buffer and _is_ascii(data):
                # Text takes four times the memory there, which costs more than decoding does.
                return data
            if _SURROGATE.search(self.buffer + data):
                raise UnicodeDecodeError('utf-8', data, 0, len(data), 'surrogates not allowed')
        text = super(Utf8Decoder, self).decode(data, final)  # type: Text
        if self.buffer and not _VIABLE_TAIL.match(self.buffer):
            raise UnicodeDecodeError('utf-8', data, 0, len(data), 'invalid sequence')
        return text


class _Clock(partial):  # type: ignore[type-arg]
    """A clock of the system's, at the cost of a call in C.

    What freezes the time for an application's tests (freezegun) replaces the functions of `time`
    in every module that has them by name. A connection needs the time that passes.
    """

    def __repr__(self):
        # type: () -> str
        return 'monotonic'      # in the signatures that help() shows


class SteppedRLock(object):
    """A lock that its holder may take again, also from a signal's handler; in Python.

    The holder is a thread, or the greenlet that monkey patching made of it. threading's
    own, where it is in Python, fails a handler that comes between two of its steps, and takes
    it: that waits for its own thread for ever.
    """

    def __init__(self):
        # type: () -> None
        # At most one: (thread, a lock to wait on). Each change of it is one step, in C.
        self._holder = {}  # type: Dict[None, Tuple[int, Any]]
        self._are_first = []  # type: List[bool]    # of each acquire, its holder's alone
        self._waiting = []  # type: List[None]      # as long as there are waiters

    def acquire(self, blocking=True):
        # type: (bool) -> bool
        if self._waiting and blocking and not self._holder:
            # They come first: a greenlet that sends one message after the other would never let
            # them in.
            try:
                time.sleep(0)
            except AssertionError:
                pass        # the hub, see below
        mine = (thread_module.get_ident(), thread_module.allocate_lock())
        mine[1].acquire()
        while True:
            holder = self._holder.setdefault(None, mine)
            if holder[0] == mine[0]:
                self._are_first.append(holder is mine)
                return True
            if not blocking:
                return False
            self._waiting.append(None)
            try:
                holder[1].acquire()
            except AssertionError:
                # This is the hub of gevent or eventlet, where nothing may wait: a signal's handler
                # runs here if it comes while all greenlets wait. So it interrupts the holder, too.
                self._are_first.append(False)
                return True
            finally:
                self._waiting.pop()
            holder[1].release()     # for the others who wait

    __enter__ = acquire

    def release(self):
        # type: () -> None
        if self._are_first.pop():
            self._holder.pop(None)[1].release()

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.release()


if PY2:
    # Later there may be no descriptor left to read their modules by, and what can't be read once
    # stays unknown for good.
    for _codec in ('ascii', 'idna', 'latin-1', 'utf-8'):
        codecs.lookup(_codec)
    try:
        import fcntl
    except ImportError:     # pragma: no cover  (Windows)
        fcntl = None  # type: ignore[assignment]

    #: Received bytes in a form whose items are integers and whose slices,
    #: passed through bytes(), are byte strings.
    indexable = bytearray  # type: Callable[[Any], Any]

    def decode_utf8(data):
        # type: (bytes) -> Text
        found = _SURROGATE.search(data)
        if found:
            raise UnicodeDecodeError(
                'utf-8', bytes(data), found.start(), found.end(), 'surrogates not allowed')
        return data.decode('utf-8')

    def _is_ascii(data):
        # type: (bytes) -> bool
        try:
            data.decode('ascii')
        except UnicodeDecodeError:
            return False
        return True

    def join_text(pieces):
        # type: (Iterable[Any]) -> Text
        joined = b''.join(pieces)       # text, if some piece is
        return joined.decode('ascii') if isinstance(joined, bytes) else joined

    def encode_utf8(text):
        # type: (Text) -> bytes
        data = text.encode('utf-8')
        if _SURROGATE.search(data):
            raise surrogate_error(text)
        return data

    def to_bytes(data):
        # type: (Union[bytes, bytearray, memoryview]) -> bytes
        return data.tobytes() if isinstance(data, memoryview) else bytes(data)

    def native_to_text(value):
        # type: (Any) -> Any
        return value.decode('utf-8') if isinstance(value, bytes) else value

    def text_to_native(text):
        # type: (Any) -> Any
        return text.encode('utf-8') if isinstance(text, text_type) else text

    def latin1_to_native(text):
        # type: (Text) -> Any
        return text.encode('latin-1')

    def unquote(text):
        # type: (Text) -> Text
        return _unquote(text.encode('utf-8')).decode('utf-8')  # type: ignore[attr-defined]

    def RLock():
        # type: () -> Any
        return SteppedRLock()

    if os.name == 'nt':
        monotonic = _Clock(time.clock)
    else:
        def monotonic():
            # type: () -> float
            # times(2) counts from a fixed point in the past, in steps of
            # 1/100 s; time.time() would jump whenever the clock is set.
            return os.times()[4]

    def throw_arguments():
        # type: () -> Tuple[Any, ...]
        return sys.exc_info()

    def is_interrupt(error):
        # type: (BaseException) -> bool
        return bool(error.args) and error.args[0] == errno.EINTR

    def set_close_on_exec(sock):
        # type: (Any) -> None
        if fcntl is None:   # pragma: no cover  (Windows)
            return
        flags = fcntl.fcntl(sock.fileno(), fcntl.F_GETFD)
        fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)

    class _LastResort(logging.StreamHandler):
        """What Python 3 has built in: stderr, for a program that has set up no logging.

        2.7 would print that there are no handlers, once, and drop what it has to say.
        """

        def emit(self, record):
            # type: (logging.LogRecord) -> None
            logger = logging.getLogger(record.name)  # type: Any
            while logger is not None:
                if any(handler is not self for handler in logger.handlers):
                    return
                logger = logger.parent if logger.propagate else None
            self.stream = sys.stderr
            logging.StreamHandler.emit(self, record)

    def show_warnings(logger):
        # type: (logging.Logger) -> None
        handler = _LastResort()
        handler.setLevel(logging.WARNING)
        logger.addHandler(handler)

else:
    indexable = bytes

    #: Strict UTF-8 to text. bytes.decode defaults to that, and costs no frame.
    decode_utf8 = bytes.decode  # type: Callable[[bytes], Text]

    #: Make one text of what `Utf8Decoder` returned.
    join_text = u''.join  # type: Callable[[Iterable[Text]], Text]

    #: Text to UTF-8; UnicodeEncodeError for a lone surrogate: see `surrogate_error`. It costs no
    #: frame, either.
    encode_utf8 = str.encode  # type: Callable[[Text], bytes]

    #: A byte string with the content of any bytes-like object.
    to_bytes = bytes  # type: Callable[[Union[bytes, bytearray, memoryview]], bytes]

    def native_to_text(value):
        # type: (Any) -> Any
        """Make text of a native string; return anything else as it is."""
        return value

    def text_to_native(text):
        # type: (Any) -> Any
        """Make a native string of text, which 2.7 couldn't print into a pipe."""
        return text

    def latin1_to_native(text):
        # type: (Text) -> Any
        """Make a native string of text that stands for bytes, as headers that came in do."""
        return text

    def unquote(text):
        # type: (Text) -> Text
        """Decode percent-encoded text; ValueError if that isn't UTF-8."""
        return _unquote(text, errors='strict')

    def RLock():
        # type: () -> Any
        """Make a lock that its holder, a thread or greenlet, may take again, also in a handler."""
        # The one in C knows threads only. Monkey patching leaves it as it is.
        if isinstance(thread_module.get_ident, BuiltinFunctionType):
            return thread_module.RLock()
        return SteppedRLock()

    #: Seconds from some fixed point, never set back.
    if hasattr(time, 'clock_gettime'):
        monotonic = _Clock(time.clock_gettime, time.CLOCK_MONOTONIC)
    else:   # pragma: no cover  (Windows)
        monotonic = _Clock(time.monotonic)

    def throw_arguments():
        # type: () -> Tuple[Any, ...]
        """Return the exception being handled, as a generator's throw() takes it."""
        return sys.exc_info()[1:2]

    def is_interrupt(error):
        # type: (BaseException) -> bool
        """Tell if a signal cut a system call short (3.5+ goes on by itself)."""
        return False

    def set_close_on_exec(sock):
        # type: (Any) -> None
        """Keep a socket from child processes: the default since PEP 446."""

    def show_warnings(logger):
        # type: (logging.Logger) -> None
        """Have warnings and errors on stderr where no logging is set up: `logging.lastResort`."""


def encode_text(text, name='text'):
    # type: (Text, str) -> bytes
    """Encode as `encode_utf8` does, at the cost of a call; raises `surrogate_error`."""
    data = None  # type: Any
    try:
        data = encode_utf8(text)
    except ValueError:
        pass        # raised in here, the other would have this for its context, with the text
    if data is None:
        raise surrogate_error(text, name)
    return data     # type: ignore[no-any-return]


def make_cookie_jar():
    # type: () -> Any
    """Return a new cookie jar. Its module takes long to import, and few need it."""
    from six.moves.http_cookiejar import CookieJar, DefaultCookiePolicy
    # RFC 6265 5.3, step 6: a cookie without a domain isn't for subdomains.
    return CookieJar(DefaultCookiePolicy(
        strict_ns_domain=DefaultCookiePolicy.DomainStrictNonDomain))
