"""Every difference between Python 2.7 and 3, and between versions of 3, in this package.

No other module checks a version. Nothing here is about WebSockets.
"""

from __future__ import absolute_import, division, print_function

import codecs
import errno
import logging
import os
import re
import signal
import sys
import time
from collections import namedtuple
from functools import partial
from types import BuiltinFunctionType

import six
from six.moves import _thread as thread_module
from six.moves.urllib.parse import quote
from six.moves.urllib.parse import unquote as _unquote

#: False when run, True for a type checker: 2.7 has no typing module.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, List, NamedTuple, Text, Tuple, Union  # noqa: F401
    from typing import Text as text_type
else:
    #: unicode on 2.7, str on 3.
    text_type = six.text_type

    def NamedTuple(name, fields):
        """Make a class as `typing.NamedTuple` does: a field is a pair of its name and its type."""
        made = namedtuple(name, [field for field, _type in fields])
        made.__module__ = sys._getframe(1).f_globals['__name__']
        return made

PY2 = six.PY2

IS_PYPY = hasattr(sys, 'pypy_version_info')

#: Whether the garbage collector frees a cycle of objects of which one has __del__ (PEP 442).
FREES_FINALIZERS = not PY2

#: Since 3.10 each access to an SSLSocket's session leaks a copy of some 7 KB.
SESSIONS_LEAK = sys.version_info >= (3, 10)

__all__ = [
    'FREES_FINALIZERS', 'IS_PYPY', 'NEW_SESSION', 'NamedTuple', 'PY2', 'RLock', 'SESSIONS_LEAK',
    'SteppedRLock', 'TYPE_CHECKING', 'TimedOut', 'Utf8Decoder', 'acquire_within', 'cpu_clock',
    'decode_utf8', 'encode_text', 'encode_utf8', 'extension_suffixes', 'fine_clock', 'indexable',
    'is_interrupt', 'join_text', 'latin1_to_native', 'make_cookie_jar', 'monotonic',
    'native_path', 'native_to_text', 'quote', 'require_async', 'set_close_on_exec',
    'show_warnings', 'stopwatch', 'surrogate_error', 'text_to_native', 'text_type',
    'thread_module', 'throw_arguments', 'to_bytes', 'unquote',
]


def require_async(name):
    # type: (str) -> None
    """Raise ImportError on 2.7, which has no ``async``, for a module of this name."""
    if PY2:
        raise ImportError('{} needs Python 3.6: on 2.7 use lomond.pool, or threads'.format(name))


# Nothing is imported by name from `thread_module` (_thread, on 2.7 thread): monkey patching may
# replace its functions at any time, such as get_ident, which then returns that of a greenlet.


# 2.7's codec decodes surrogates. 0xED is always a first byte, so in otherwise valid UTF-8 this
# finds surrogates only.
_SURROGATE = re.compile(b'\xed[\xa0-\xbf]')

# An incomplete sequence that is valid so far, at the end of UTF-8 (RFC 3629 4).
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
    """Make the error for text that `encode_utf8` has refused, without showing the text.

    (The codec's own error shows the whole text in its repr.)
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


class Utf8Decoder(object):
    """Decodes UTF-8 piece by piece, and fails at the first invalid byte.

    The codec alone detects some invalid sequences only when they are complete: all of them on 2.7,
    surrogates on 3.
    """

    __slots__ = ('_tail',)

    def __init__(self):
        # type: () -> None
        self._tail = b''    # of a sequence that isn't complete

    def decode(self, data, final=False):
        # type: (bytes, bool) -> Text
        """Decode a piece, for `join_text`; raises UnicodeDecodeError."""
        if self._tail:
            data = self._tail + data
        if PY2:
            if _is_ascii(data):
                # Text takes four times the memory of bytes there, and allocating it costs more
                # than decoding.
                self._tail = b''
                return data
            if _SURROGATE.search(data):
                raise UnicodeDecodeError('utf-8', data, 0, len(data), 'surrogates not allowed')
        text, used = codecs.utf_8_decode(data, 'strict', final)
        self._tail = data[used:] if used < len(data) else b''
        if self._tail and not _VIABLE_TAIL.match(self._tail):
            raise UnicodeDecodeError('utf-8', data, 0, len(data), 'invalid sequence')
        return text


class _Clock(partial):  # type: ignore[type-arg]
    """A clock of the system, at the cost of one call in C.

    freezegun, in an application's tests, replaces the functions of `time` in every module that has
    imported them by name; a connection needs a clock that keeps running.
    """

    def __repr__(self):
        # type: () -> str
        return 'monotonic'      # for the signatures that help() shows


class SteppedRLock(object):
    """A reentrant lock in Python, which the holder may acquire again in a signal handler.

    The holder is a thread, or the greenlet that monkey patching made of it. threading's RLock in
    Python isn't safe in a signal handler: if the handler interrupts `acquire` between two of its
    statements and acquires the lock, it waits forever for its own thread.
    """

    def __init__(self):
        # type: () -> None
        # At most one: (thread, a lock to wait on). Each change is one call in C, hence atomic.
        self._holder = {}  # type: Dict[None, Tuple[int, Any]]
        self._are_first = []  # type: List[bool]    # one for each acquire; used by the holder only
        #: One item for each that waits.
        self.waiting = []  # type: List[None]

    def acquire(self, blocking=True):
        # type: (bool) -> bool
        if self.waiting and blocking and not self._holder:
            # Waiters come first: otherwise a greenlet that sends one message after the other
            # would starve them.
            try:
                time.sleep(0)
            except AssertionError:
                pass        # this is the hub, see below
        mine = (thread_module.get_ident(), thread_module.allocate_lock())
        mine[1].acquire()
        depth = len(self._are_first)
        try:
            while True:
                holder = self._holder.setdefault(None, mine)
                if holder[0] == mine[0]:
                    self._are_first.append(holder is mine)
                    return True
                if not blocking:
                    return False
                self.waiting.append(None)
                try:
                    holder[1].acquire()
                except AssertionError:
                    # This is the hub of gevent or eventlet, which must not wait. A signal handler
                    # runs here if all greenlets wait, among them the holder, which it thus
                    # interrupts.
                    self._are_first.append(False)
                    return True
                finally:
                    self.waiting.pop()
                holder[1].release()     # for the other waiters
        except BaseException:       # Ctrl-C, perhaps when all was done but to return
            self._undo(mine, depth)
            raise

    __enter__ = acquire

    def _undo(self, mine, depth):
        # type: (Tuple[int, Any], int) -> None
        holder = self._holder.get(None)
        if holder is mine:
            del self._are_first[:]
            del self._holder[None]
            mine[1].release()
        elif holder is not None and holder[0] == mine[0]:
            del self._are_first[depth:]

    def release(self):
        # type: () -> None
        is_first = self._are_first[-1]
        try:
            self._are_first.pop()
        finally:
            if is_first:
                self._holder.pop(None)[1].release()

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        self.release()


if PY2:
    # Later there may be no descriptor left to import these codecs, and a failed lookup is cached.
    for _codec in ('ascii', 'idna', 'latin-1', 'utf-8'):
        codecs.lookup(_codec)
    try:
        import fcntl
    except ImportError:     # pragma: no cover  (Windows)
        fcntl = None  # type: ignore[assignment]

    def extension_suffixes():
        # type: () -> List[str]
        return []       # lomond's modules are compiled for newer Pythons only

    #: Received bytes as an object whose items are integers; bytes() of a slice is a byte string.
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
        joined = b''.join(pieces)       # this is text if any piece is text
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

    def native_path(path):
        # type: (Any) -> str
        if isinstance(path, text_type):
            return path.encode(sys.getfilesystemencoding() or 'utf-8')  # type: ignore[return-value]
        return path     # type: ignore[no-any-return]

    def latin1_to_native(text):
        # type: (Text) -> Any
        return text.encode('latin-1')

    def unquote(text):
        # type: (Text) -> Text
        return _unquote(text.encode('utf-8')).decode('utf-8')  # type: ignore[attr-defined]

    def RLock():
        # type: () -> Any
        return SteppedRLock()

    # The only class of timeouts that 2.7 has.
    from socket import timeout as TimedOut

    def acquire_within(lock, seconds):
        # type: (Any, float) -> bool
        # Its locks have no timeout, and nothing interrupts a thread that waits for one.
        deadline = monotonic() + seconds
        pause = 0.0005
        while not lock.acquire(False):
            left = deadline - monotonic()
            if left <= 0:
                return False
            pause = min(2 * pause, left, 0.05)
            time.sleep(pause)
        return True

    if os.name == 'nt':
        monotonic = fine_clock = _Clock(time.clock)

        def cpu_clock():
            # type: () -> float
            return sum(os.times()[:2])
    else:
        import resource

        def monotonic():
            # type: () -> float
            # times(2) counts from a fixed point in the past, in steps of 1/100 s; time.time()
            # would jump whenever the clock is set.
            return os.times()[4]

        def cpu_clock():
            # type: () -> float
            usage = resource.getrusage(resource.RUSAGE_SELF)
            return usage.ru_utime + usage.ru_stime

        # Which a thread that spins uses.
        fine_clock = cpu_clock

    # The only clock there that has small steps.
    stopwatch = _Clock(time.time)

    def throw_arguments():
        # type: () -> Tuple[Any, ...]
        return sys.exc_info()

    def is_interrupt(error):
        # type: (BaseException) -> bool
        return bool(error.args) and error.args[0] == errno.EINTR

    def _begin_session():
        # type: () -> None
        os.setsid()
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)       # which Python ignores

    NEW_SESSION = {'preexec_fn': _begin_session}  # type: Dict[str, Any]

    def set_close_on_exec(sock):
        # type: (Any) -> None
        if fcntl is None:   # pragma: no cover  (Windows)
            return
        flags = fcntl.fcntl(sock.fileno(), fcntl.F_GETFD)
        fcntl.fcntl(sock.fileno(), fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)

    class _LastResort(logging.StreamHandler):
        """Python 3's `logging.lastResort`: stderr, for a program that doesn't configure logging.

        2.7 would print once that there are no handlers, and drop the records.
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
    from _imp import extension_suffixes  # importlib.machinery has them too, but takes longer

    indexable = bytes

    #: Strict UTF-8 to text. bytes.decode does that by default, without a Python frame.
    decode_utf8 = bytes.decode  # type: Callable[[bytes], Text]

    #: Join the pieces that `Utf8Decoder` returned to one text.
    join_text = u''.join  # type: Callable[[Iterable[Text]], Text]

    #: Text to UTF-8, without a Python frame; UnicodeEncodeError for a lone surrogate, see
    #: `surrogate_error`.
    encode_utf8 = str.encode  # type: Callable[[Text], bytes]

    #: A byte string with the content of any bytes-like object.
    to_bytes = bytes  # type: Callable[[Union[bytes, bytearray, memoryview]], bytes]

    def native_to_text(value):
        # type: (Any) -> Any
        """Return a native string as text, and any other value unchanged."""
        return value

    def text_to_native(text):
        # type: (Any) -> Any
        """Return text as a native string: 2.7 can't print unicode into a pipe."""
        return text

    #: A path, bytes or text, as a native string.
    native_path = os.fsdecode  # type: Callable[[Any], str]

    def latin1_to_native(text):
        # type: (Text) -> Any
        """Return text that was decoded as Latin-1, such as received headers, as a native string."""
        return text

    def unquote(text):
        # type: (Text) -> Text
        """Decode percent-encoded text; ValueError if the result isn't UTF-8."""
        return _unquote(text, errors='strict')

    def RLock():
        # type: () -> Any
        """Return a reentrant lock of a thread or greenlet, which is safe in a signal handler."""
        # The one in C works on threads only, and monkey patching doesn't replace it.
        if isinstance(thread_module.get_ident, BuiltinFunctionType):
            return thread_module.RLock()
        return SteppedRLock()

    #: What a call raises whose time is over: `except TimeoutError` catches it.
    TimedOut = TimeoutError

    def acquire_within(lock, seconds):
        # type: (Any, float) -> bool
        """Acquire a lock of `thread_module`; return False if that takes longer. Ctrl-C ends it."""
        return lock.acquire(True, seconds)      # type: ignore[no-any-return]

    #: Seconds since some fixed point; never set back.
    if hasattr(time, 'clock_gettime'):
        monotonic = fine_clock = _Clock(time.clock_gettime, time.CLOCK_MONOTONIC)
    else:   # pragma: no cover  (Windows)
        monotonic = _Clock(time.monotonic)
        #: The same in steps of a microsecond or less: `monotonic` may have longer ones.
        fine_clock = _Clock(time.perf_counter)

    #: Seconds, for measuring short times.
    stopwatch = _Clock(time.perf_counter)

    #: Seconds of the processor that this process has used, in all its threads.
    cpu_clock = _Clock(time.process_time)

    def throw_arguments():
        # type: () -> Tuple[Any, ...]
        """Return the exception being handled, as a generator's throw() takes it."""
        return sys.exc_info()[1:2]

    def is_interrupt(error):
        # type: (BaseException) -> bool
        """Return whether a signal interrupted a system call; 3.5 and newer repeat the call."""
        return False

    #: Options of `subprocess.Popen` for a process that signals to this one's group don't reach.
    NEW_SESSION = {'start_new_session': True}  # type: Dict[str, Any]

    def set_close_on_exec(sock):
        # type: (Any) -> None
        """Don't let child processes inherit a socket: the default since PEP 446."""

    def show_warnings(logger):
        # type: (logging.Logger) -> None
        """Print warnings and errors on stderr if logging isn't configured, as Python 3 does."""


def encode_text(text, name='text'):
    # type: (Text, str) -> bytes
    """Encode text as UTF-8; raises `surrogate_error`, which doesn't show the text."""
    data = None  # type: Any
    try:
        data = encode_utf8(text)
    except ValueError:
        pass        # an error raised here would have this one, with the text, as its context
    if data is None:
        raise surrogate_error(text, name)
    return data     # type: ignore[no-any-return]


def make_cookie_jar():
    # type: () -> Any
    """Return a new cookie jar. Its module is imported here, as that takes long."""
    from six.moves.http_cookiejar import CookieJar, DefaultCookiePolicy
    # RFC 6265 5.3, step 6: a cookie without a domain isn't for subdomains.
    return CookieJar(DefaultCookiePolicy(
        strict_ns_domain=DefaultCookiePolicy.DomainStrictNonDomain))
