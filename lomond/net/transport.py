"""A connected byte stream over a non-blocking socket.

One thread receives, any thread may send, one at a time; any thread may abort
at any moment. Only `send` and `send_pieces` wait, and `read_ahead` for a moment.
"""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import threading
from collections import deque

from lomond._compat import TYPE_CHECKING, is_interrupt, monotonic, text_type
from lomond._describe import describe
from lomond._locks import ProcessLock
from lomond.errors import TransportFail
from lomond.net.closing import close_socket, forget
from lomond.net.waiter import READ, WRITE, check_limit, wait

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Iterable, Iterator, List, Optional, Text, Tuple, Union  # noqa: F401

    from lomond.net.waiter import Interest  # noqa: F401

#: The most that one call of `receive` asks the system for, in bytes.
RECEIVE_SIZE = 64 * 1024

#: Bytes that a waiting send reads ahead from its peer, at most, unless `max_read_ahead` says more.
MAX_READ_AHEAD = 64 * 1024 * 1024

#: A write timeout starts again whenever this many bytes went out since it started.
PROGRESS = 16 * 1024

# Seconds until a waiting sender tries again: a large send buffer accepts bytes long before poll(2)
# reports it, and so the sender notices the peer's progress.
_LONGEST_WAIT = 0.5

# Seconds until a sender tries again to read ahead where another thread is receiving.
_PAUSE = 0.01

_WOULD_BLOCK = frozenset([errno.EAGAIN, errno.EWOULDBLOCK])


def would_block(error):
    # type: (socket.error) -> bool
    """Return whether a call on a non-blocking socket just has to be made later."""
    return error.errno in _WOULD_BLOCK or is_interrupt(error)


def is_broken_pipe(error):
    # type: (BaseException) -> bool
    """Return whether a write failed as the peer had closed: the error of reading says it better."""
    return getattr(error, 'errno', None) == errno.EPIPE


def send_failed(error, sent, size):
    # type: (BaseException, int, int) -> TransportFail
    """Make the error of a send, of whose ``size`` bytes the system accepted ``sent``."""
    if isinstance(error, TransportFail):
        return TransportFail.after(sent, size, error.reason or text_type(error), error.cause)
    return TransportFail.after(sent, size, u'could not send: {}'.format(describe(error)), error)


def describe_write_timeout(timeout, progress):
    # type: (float, int) -> text_type
    """Return the reason of a write timeout, in seconds, of which ``progress`` bytes went out."""
    words = u'write timed out after {:g} s: '.format(timeout)
    if progress:
        return words + u'the peer read only {} bytes in that time'.format(progress)
    return words + u"the peer isn't reading"


class Transport(object):
    """A plain byte stream.

    Parameters: ``sock``, connected; it is made non-blocking, and the transport closes it. Set
    ``on_backlog`` to what should be called when a sender has put received bytes aside for the
    receiver. Raises socket.error if nothing can wait for the socket: then the caller must close it.
    """

    #: Whether bytes are encrypted on the way.
    is_secure = False

    def __init__(self, sock):
        # type: (Any) -> None
        self._fd = sock.fileno()
        check_limit(self._fd)
        sock.setblocking(False)
        self._sock = sock
        self._read_lock = threading.Lock()
        self._backlog = ()  # type: Union[Tuple[()], Deque[bytes]]   # a deque, once it has any
        # How reading ahead failed, for the receiver: the system reports it only once.
        self._read_error = None  # type: Optional[BaseException]
        self._close_lock = ProcessLock()    # a signal's handler may abort, too
        self._process = os.getpid()
        #: Bytes that a send has read ahead, and `receive` has not returned yet.
        self.backlog_size = 0  # type: int
        #: Bytes that a waiting send reads ahead, at most; None for no limit.
        self.max_read_ahead = MAX_READ_AHEAD  # type: Optional[int]
        #: Bytes that went out after a wait: it grows for as long as the peer reads.
        self.progress = 0  # type: int
        #: True once `abort` was called.
        self.is_aborted = False  # type: bool
        #: True once the descriptor was freed, or given away by `detach`.
        self.is_closed = False  # type: bool
        self.on_backlog = None  # type: Optional[Callable[[], None]]
        #: Whether `receive` can make use of a buffer.
        self.can_receive_into = (
            not self.is_secure and hasattr(sock, 'recv_into'))  # type: bool
        #: What to wait for before the next `receive`, as `lomond.net.waiter.wait` takes it.
        self.interest = ((self._fd, READ),)  # type: Interest

    @property
    def is_inherited(self):
        # type: () -> bool
        """Whether this is a forked child: the connection is its parent's, the descriptor a copy."""
        return os.getpid() != self._process

    def detach(self):
        # type: () -> Any
        """Return the socket, which is the caller's from now on; this transport is closed.

        Nothing watches the descriptor any more.
        """
        with self._close_lock():
            forget(self.fileno())
            self.is_closed = True
            sock, self._sock = self._sock, None
            return sock

    def fileno(self):
        # type: () -> int
        """Return the descriptor of the connection, also in a tunnel; -1 once this is closed."""
        return -1 if self.is_closed else self._fd

    @property
    def peer_address(self):
        # type: () -> Any
        """Where the socket is connected to, as `socket.getpeername` says; None if it isn't."""
        return self._ask_socket('getpeername')

    @property
    def local_address(self):
        # type: () -> Any
        """Where the socket is bound, as `socket.getsockname` says; None once it is closed."""
        return self._ask_socket('getsockname')

    def _ask_socket(self, method):
        # type: (str) -> Any
        with self._close_lock():        # another thread may be closing it
            if self.is_closed:
                return None
            try:
                return getattr(self._sock, method)()
            except socket.error:
                return None     # TCP has ended

    # -- receiving --

    def receive(self, buffer=None):
        # type: (Optional[memoryview]) -> Union[None, bytes, memoryview]
        """Return bytes that are here, b'' at the end, or None if there are none yet.

        With a ``buffer`` they may have been received into it: then its first part is returned.
        Raises socket.error.
        """
        with self._read_lock:
            if self._backlog:
                return self._take_backlog()
            if self._read_error is not None:
                raise self._read_error
            return self._receive_now() if buffer is None else self._receive_into(buffer)

    def take_read_ahead(self):
        # type: () -> Optional[bytes]
        """Return a piece of what a send has read ahead, or None; leaves the socket alone."""
        with self._read_lock:
            return self._take_backlog() if self._backlog else None

    def _take_backlog(self):
        # type: () -> bytes
        data = self._backlog.popleft()      # type: ignore[union-attr]  # it isn't empty
        self.backlog_size -= len(data)
        return data

    def put_back(self, data):
        # type: (bytes) -> None
        """Have `receive` return these bytes again, before all others."""
        with self._read_lock:
            self._backlog = self._backlog or deque()
            self._backlog.appendleft(data)
            self.backlog_size += len(data)

    def has_pending(self):
        # type: () -> bool
        """Return whether `receive` has bytes, or an error, that no wait would report."""
        return bool(self._backlog) or self._read_error is not None

    def _receive_now(self):
        # type: () -> Optional[bytes]
        try:
            data = self._sock.recv(RECEIVE_SIZE)  # type: bytes
        except socket.error as error:
            if would_block(error):
                return None
            raise
        return data

    def _receive_into(self, buffer):
        # type: (memoryview) -> Union[None, bytes, memoryview]
        try:
            count = self._sock.recv_into(buffer)
        except socket.error as error:
            if would_block(error):
                return None
            raise
        return buffer[:count] if count else b''

    def _keep_error(self, error):
        # type: (BaseException) -> None
        """Have `receive` raise an error, after what was received before it."""
        error.__traceback__ = None      # it refers to this transport
        self._read_error = error

    # -- sending --

    def is_writable(self):
        # type: () -> bool
        """Return whether the send buffer has free space now."""
        return bool(wait(((self._fd, WRITE),), 0))

    def send_some(self, data):
        # type: (bytes) -> Tuple[int, Interest]
        """Send as much as the send buffer accepts now, without waiting.

        Returns the number of bytes, and what to wait for before the next
        call if that is 0. Raises socket.error, TransportFail.
        """
        count, need = self._send_now(data)
        return count, ((self._fd, need),)

    def offer(self, data):
        # type: (Any) -> Tuple[int, int]
        """Send as much as the send buffer accepts now, without waiting.

        Returns the number of bytes, and what to wait for if that is 0,
        `READ` or `WRITE`. Raises TransportFail.
        """
        try:
            # What `_send_now` does, without the call.
            if self.is_aborted:
                raise TransportFail('the connection was aborted')
            return self._sock.send(data), WRITE
        except (socket.error, TransportFail) as error:
            if not isinstance(error, TransportFail) and would_block(error):
                return 0, WRITE
            raise send_failed(error, 0, len(data))

    def send(self, data, timeout):
        # type: (bytes, Optional[float]) -> None
        """Send all of the bytes; wait while the send buffer is full.

        ``timeout`` is in seconds, None for no limit, and starts again with
        each `PROGRESS` bytes that went out. A waiting send reads ahead what
        the peer sends, up to `max_read_ahead` bytes, so that two peers that
        both send before they read don't block each other.

        Raises TransportFail, which says how much went out: after that a frame
        is torn, and nothing more can be sent.
        """
        sent = 0
        try:
            # What `_send_now` does, without the call: most often that sends everything.
            if self.is_aborted:
                raise TransportFail('the connection was aborted')
            try:
                sent = self._sock.send(data)
            except socket.error as error:
                if not would_block(error):
                    raise
            if sent != len(data):
                for count in self._send_all((memoryview(data)[sent:],), timeout):
                    sent += count
        except (socket.error, TransportFail) as error:
            raise self._send_failed(error, sent, len(data))

    def send_pieces(self, pieces, size, timeout):
        # type: (Iterable[bytes], int, Optional[float]) -> None
        """Send what is ``size`` bytes together, piece by piece; otherwise as `send`."""
        sent = 0
        try:
            for count in self._send_all(pieces, timeout):
                sent += count
        except (socket.error, TransportFail) as error:
            raise self._send_failed(error, sent, size)

    def _send_failed(self, error, sent, size):
        # type: (BaseException, int, int) -> TransportFail
        """Make the error of a send, which is that of reading ahead if that had failed before."""
        if self._read_error is not None and not isinstance(error, TransportFail):
            error = self._read_error
        return send_failed(error, sent, size)

    def _send_now(self, data):
        # type: (Any) -> Tuple[int, int]
        """Return how many bytes the system accepted, and what to wait for if that is 0."""
        if self.is_aborted:
            raise TransportFail('the connection was aborted')
        try:
            return self._sock.send(data), WRITE
        except socket.error as error:
            if would_block(error):
                return 0, WRITE
            raise

    def _send_all(self, pieces, timeout):
        # type: (Iterable[Any], Optional[float]) -> Iterator[int]
        """Send all pieces; wait while the send buffer is full. Yield each number of bytes sent."""
        deadline = 0.0
        progress = PROGRESS     # bytes since the deadline was set: the first wait sets it
        may_read = True
        for piece in pieces:
            view = memoryview(piece)
            count, need = self._send_now(view)
            while count < len(view):
                view = view[count:]
                yield count
                progress += count
                # TLS sends one record per call, and poll reports no space as soon as the send
                # buffer is two thirds full: only a call that sent nothing is a reason to wait.
                if not count:
                    left = _LONGEST_WAIT
                    if timeout is not None:
                        now = monotonic()
                        if progress >= PROGRESS:
                            deadline, progress = now + timeout, 0
                        left = min(left, deadline - now)
                        if left <= 0:
                            raise self._write_timeout(timeout, progress)
                    reads = may_read and not self._is_read_ahead_full()
                    for _fd, ready in wait(((self._fd, need | READ if reads else need),), left):
                        if reads and ready & READ:
                            may_read = self.read_ahead()
                count, need = self._send_now(view)
                self.progress += count
            yield count
            progress += count

    def _is_read_ahead_full(self):
        # type: () -> bool
        return self.max_read_ahead is not None and self.backlog_size >= self.max_read_ahead

    def _write_timeout(self, timeout, progress):
        # type: (float, int) -> TransportFail
        words = describe_write_timeout(timeout, progress)
        if self._is_read_ahead_full():
            words += u', and has sent more than the {} bytes of max_read_ahead'.format(
                self.max_read_ahead)
        return TransportFail(words)

    def read_ahead(self):
        # type: () -> bool
        """Keep received bytes, or an error, for the receiver; False if no more will come.

        A waiting send calls this. The receiver meets the end when it reads.
        """
        if not self._read_lock.acquire(False):
            # It may be this thread that receives, if this is a signal's handler: don't wait for it.
            wait(((self._fd, WRITE),), _PAUSE)
            return True
        try:
            data = self._receive_now()
            if data is None:
                return True
            if not data:
                return False
            self._backlog = self._backlog or deque()
            self._backlog.append(data)
            self.backlog_size += len(data)
        except socket.error as error:
            self._keep_error(error)
        finally:
            self._read_lock.release()
        on_backlog = self.on_backlog
        if on_backlog is not None:
            on_backlog()
        return self._read_error is None

    # -- the end --

    def shutdown_sending(self):
        # type: () -> None
        """Half-close: the peer reads the end of the stream, and can still send. Never raises."""
        self._shutdown(socket.SHUT_WR)

    def abort(self):
        # type: () -> None
        """Break the connection, from any thread; a thread that waits on it wakes up.

        The descriptor stays open until `close`, so that its number isn't reused
        while another thread is about to use it. Never raises.
        """
        self.is_aborted = True
        self._shutdown(socket.SHUT_RDWR)

    def _shutdown(self, how):
        # type: (int) -> None
        with self._close_lock():
            if self.is_closed or self.is_inherited:
                return
            try:
                self._raw_shutdown(how)
            except (socket.error, EnvironmentError):
                pass        # the peer was faster

    def _raw_shutdown(self, how):
        # type: (int) -> None
        self._sock.shutdown(how)

    def close(self):
        # type: () -> None
        """Free the descriptor. No thread may be sending or receiving. Never raises."""
        with self._close_lock():
            if self.is_closed:
                return
            self.is_closed = True
            self._read_error = None     # once it was raised, it refers to this transport
            try:
                close_socket(self._sock)
            except socket.error:
                pass
