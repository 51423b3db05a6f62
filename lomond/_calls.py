"""Calls that wait for a message or a pong: what drives a WebSocket that no loop iterates over.

`Calls` is what `WebSocket.open`, `receive`, `messages`, `ping` and `wait_ready` share. It steps the
session's loop in the thread that calls, or in a thread of its own. How a connection lives is the
business of `lomond.engine`, and `lomond.session` waits: nothing here knows a socket. The errors are
made by `lomond._outcomes`.
"""

from __future__ import absolute_import, division, print_function

import os
import struct
import threading
import warnings
from collections import deque
from functools import partial
from itertools import count

from lomond import errors
from lomond._checks import check_seconds
from lomond._compat import (
    FREES_FINALIZERS,
    TYPE_CHECKING,
    RLock,
    acquire_within,
    monotonic,
    thread_module,
)
from lomond._outcomes import (
    NORMAL,
    dropped,
    explain,
    interrupted,
    loop_runs,
    timed_out,
)
from lomond.engine.timers import NEVER
from lomond.events import EVENT_SIZE
from lomond.net.waiter import LONGEST
from lomond.net.workers import start_thread
from lomond.protocol.gathering import Pieces

if TYPE_CHECKING:
    from typing import Any, Callable, Deque, Dict, Generator, Iterator, List, Optional, Text, Union  # noqa: F401

    from lomond import events  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401

    Message = Union[Text, bytes]

#: Bytes of messages that the background thread receives before a call asks for them.
MAX_AHEAD = 1024 * 1024

# Of ping(), in the background.
_FULL = (u'ping() timed out after {:g} s: 1 MiB of messages waits for receive(), so nothing more '
         u'is read: call receive() first, or in another thread')

# A ping's payload: it differs from those that the session sends by its length.
_payload_struct = struct.Struct('!4sQ')


class _Bell(object):
    """Wakes the thread that waits for it; a signal handler may ring it at any moment."""

    # An Event's lock isn't reentrant: a handler in the thread that waits would wait for itself.
    __slots__ = ('_lock', 'thread')

    def __init__(self):
        # type: () -> None
        self.thread = thread_module.get_ident()  # type: int
        self._lock = thread_module.allocate_lock()
        self._lock.acquire()

    def ring(self):
        # type: () -> None
        """End the present wait, or the next."""
        try:
            self._lock.release()
        except (thread_module.error, RuntimeError):     # eventlet's on 2.7 is the second
            pass        # it has been rung before

    def wait(self, seconds):
        # type: (float) -> None
        """Wait until it is rung; it may return early."""
        acquire_within(self._lock, max(0.0, min(seconds, LONGEST)))


class _Turn(object):
    """What one call at a time may have. Neither method waits; each may be interrupted and repeated.

    Not a lock: after Ctrl-C in `acquire` it is unknown which call has it.
    """

    __slots__ = ('_holder',)

    def __init__(self):
        # type: () -> None
        self._holder = {}  # type: Dict[None, Any]      # at most one

    @property
    def holder(self):
        # type: () -> Any
        """The object that the call which has the turn passed to `take`, or None."""
        return self._holder.get(None)

    def take(self, caller):
        # type: (Any) -> bool
        """Return whether ``caller`` has the turn now."""
        return self._holder.setdefault(None, caller) is caller

    def end(self, caller):
        # type: (Any) -> None
        """Let another call take the turn, if ``caller`` has it."""
        if self._holder.get(None) is caller:
            del self._holder[None]


class _Ping(object):
    """A ping that a call waits for; ``round_trip``, in seconds, is None until its pong came."""

    __slots__ = ('payload', 'round_trip', 'sent_at')

    def __init__(self, payload):
        # type: (bytes) -> None
        self.payload = payload
        self.sent_at = monotonic()
        self.round_trip = None  # type: Optional[float]


class Calls(object):
    """The calls of one websocket, for one connection.

    The next connection has its own: a call that waits learns how its connection ended, although
    another thread has opened the next.

    Of the threads that wait, one drives: it steps the connection's loop for all of them, until it
    has what it waits for. Then it wakes the others, and another one drives. With ``background``
    a thread of its own does, and the others only wait.

    Parameters: ``websocket``, an `Endpoint`.
    """

    _session = None  # type: Any        # for __del__, if Ctrl-C interrupts __init__

    def __init__(self, websocket):
        # type: (Any) -> None
        self._websocket = websocket
        self._process = os.getpid()
        # In a forked child these replace those of the parent, which has the connection.
        self._is_parents = websocket._calls is not None and websocket._calls.is_inherited
        # Of the call that opens or receives. A signal handler that interrupts it doesn't get it.
        self._calling = _Turn()
        self._driving = _Turn()     # of the call that steps the loop, by its bell
        self._ping_lock = RLock()
        self._count_lock = RLock()
        #: What wakes each of the threads that wait.
        self.bells = []  # type: List[_Bell]
        #: The pings that threads wait for, in the order in which they were sent.
        self.pings = []  # type: List[_Ping]
        self._numbers = count(1)
        self._loop = None  # type: Any
        self._happened = iter(())  # type: Iterator[AnyEvent]   # what the loop yields
        self._thread = None  # type: Optional[threading.Thread]
        self._inbox = deque()  # type: Deque[Message]
        self._parts = None  # type: Optional[Pieces]    # of a message that isn't whole
        self._bytes_put = self._bytes_taken = 0     # of messages, into the inbox and out of it
        self._last_close = websocket.last_close
        self._is_leaving = False
        self._has_dropped = False   # messages that came after `close`
        self._is_forced = False     # by the user, and all that waits for `receive` may be dropped
        self._ready = None  # type: Any     # the event
        # Each makes a new error, as several threads may raise it: why the handshake failed, and
        # how it all ended.
        self._refusal = None  # type: Any
        self._end = None  # type: Optional[Callable[[], Exception]]

    def _begin(self, loop, happened, session):
        # type: (Any, Iterator[AnyEvent], Any) -> None
        """Begin with a connection's loop, and the iterator over what it yields."""
        self._loop = loop
        self._happened = happened
        self._last_close = self._websocket.last_close
        self._session = session

    if FREES_FINALIZERS:
        def __del__(self, _warn=warnings.warn):
            # type: (Any) -> None
            """Warn, as a socket does, of a connection that was forgotten."""
            if self.is_active and not self.is_inherited:
                _warn('unclosed {!r}: leave its with block, or call close(), then receive() until '
                      'it raises WebSocketClosed, or force_disconnect()'.format(self._websocket),
                      ResourceWarning)

    @property
    def is_inherited(self):
        # type: () -> bool
        """Whether this is a forked child: the connection is its parent's."""
        return self._process != os.getpid()

    @property
    def is_active(self):
        # type: () -> bool
        """True from `open` until the connection's end."""
        return self._session is not None and self._end is None

    def drives(self, session):
        # type: (Any) -> bool
        """Return whether calls step this session."""
        return self.is_active and self._session is session

    def is_over(self):
        # type: () -> bool
        """Return whether there was a connection, so that the next one needs other calls.

        Raises WebSocketUnavailable if its messages wait for `receive`.
        """
        session = self._session
        if session is not None and session.end is not None \
                and (session.is_forced or not session.is_aged):
            self._join()        # the thread is about to end, by force_disconnect()
        if self._inbox and not self._is_leaving and not self._is_forced \
                and self._end is not None and self._session is self._websocket.session:
            raise errors.WebSocketUnavailable(
                'messages of the last connection were not received: call receive() until it '
                'raises WebSocketClosed, or force_disconnect() to drop them')
        return self._end is not None

    # -- beginning --

    def open(self, make_loop, timeout, background):
        # type: (Callable[[], Any], Optional[float], bool) -> events.Ready
        """Connect; ``make_loop()`` returns the loop of a new session of the websocket."""
        deadline = _deadline('open', timeout)
        return self._alone(     # type: ignore[no-any-return]
            self._open, make_loop, deadline, timeout, background)

    def _open(self, make_loop, deadline, timeout, background):
        # type: (Callable[[], Any], float, Optional[float], bool) -> events.Ready
        loop = make_loop()
        self._begin(loop, loop, self._websocket.session)
        try:
            if background:
                self._start_thread()
            self._until(
                lambda: self._ready, deadline, u'open() timed out after {:g} s: pass a longer '
                u'timeout, or None for connect_timeout alone', timeout)
        except BaseException:       # a timeout, no thread, or Ctrl-C
            self.break_off()
            raise
        if self._ready is None:
            raise self._error()
        return self._ready      # type: ignore[no-any-return]

    def adopt(self, loop, happened, session):
        # type: (Any, Iterator[AnyEvent], Any) -> None
        """Go on with a loop that is ready, unless the parent process does."""
        if self._is_parents:
            return
        self._begin(loop, happened, session)
        self._ready = True

    def wait_ready(self, timeout):
        # type: (Optional[float]) -> None
        deadline = _deadline('wait_ready', timeout)
        self._check_thread()
        bell = _Bell()
        _then(partial(self._retire, bell), self._wait_ready, bell, deadline, timeout)
        if self._end is not None:
            raise self._error()

    def _wait_ready(self, bell, deadline, timeout):
        # type: (_Bell, float, Optional[float]) -> None
        self.bells.append(bell)
        while self._end is None and self._ready is None:
            session = self._websocket.session
            if session is not self._session and session is not None and session.is_running:
                raise loop_runs()
            left = deadline - monotonic()
            if left <= 0:
                raise timed_out(
                    u'wait_ready() timed out after {:g} s: no connection is open', timeout)
            bell.wait(left)

    # -- what the user waits for --

    def receive(self, timeout):
        # type: (Optional[float]) -> Message
        deadline = _deadline('receive', timeout)
        self._check_open()
        if self._thread is not None:
            return self._take(deadline, timeout)
        return self._alone(self._take, deadline, timeout)   # type: ignore[no-any-return]

    def _take(self, deadline, timeout):
        # type: (float, Optional[float]) -> Message
        while True:
            self._until(lambda: self._inbox, deadline,
                        u'receive() timed out after {:g} s: no message came', timeout)
            try:
                message = self._inbox.popleft()  # type: Optional[Message]
            except IndexError:
                message = None      # another thread has taken it, or it is the end
            if message is None:
                if self._end is not None:
                    raise self._error()
                continue
            with self._count_lock:
                self._bytes_taken += _size(message)
            if self._thread is not None:
                self.ring()     # the thread may wait for space
            return message

    def messages(self):
        # type: () -> Generator[Message, None, None]
        while True:
            try:
                message = self._websocket._use_calls().receive(None)    # others in a forked child
            except errors.WebSocketClosed as error:
                if error.code in NORMAL:
                    return
                raise
            yield message

    def ping(self, timeout):
        # type: (Optional[float]) -> float
        deadline = _deadline('ping', timeout)
        self._check_open()
        self._check_thread()
        if self._end is not None:
            raise self._error()
        ping = _Ping(_payload_struct.pack(b'call', next(self._numbers)))
        _then(partial(self._forget, ping), self._ping, ping, deadline, timeout)
        if ping.round_trip is None:
            raise self._error()
        return ping.round_trip

    def _ping(self, ping, deadline, timeout):
        # type: (_Ping, float, Optional[float]) -> None
        with self._ping_lock:       # the pongs come in the order of the pings
            self.pings.append(ping)
            self._session.writer.send_ping(ping.payload)
        self._until(lambda: ping.round_trip is not None, deadline,
                    u'ping() timed out after {:g} s: no pong came', timeout, keeps=True)

    def _forget(self, ping):
        # type: (_Ping) -> None
        self._session.writer.take_back_ping(ping.payload)
        if ping in self.pings:
            self.pings.remove(ping)

    # -- waiting --

    def _until(self, is_done, deadline, words, timeout, keeps=False):
        # type: (Callable[[], Any], float, Text, Optional[float], bool) -> None
        """Wait until ``is_done()``, or until the connection ends; drive it if nobody else does.

        Raises WebSocketTimeout, with these words, at the deadline. ``keeps``: whether the messages
        that come are for other calls.
        """
        self._check_thread()
        bell = _Bell()
        if not _then(partial(self._retire, bell), self._wait, bell, is_done, deadline, keeps):
            if keeps and self._thread is not None and self.is_full:
                words = _FULL
            raise timed_out(words, timeout)

    def _wait(self, bell, is_done, deadline, keeps):
        # type: (_Bell, Callable[[], Any], float, bool) -> bool
        """Return False at the deadline."""
        self.bells.append(bell)
        while not is_done() and self._end is None:
            if self._thread is None and self._driving.take(bell):
                return self._drive(is_done, deadline, keeps)
            bell.wait(deadline - monotonic())
            if monotonic() >= deadline and not is_done() and self._end is None:
                return False
        return True

    def _retire(self, bell):
        # type: (_Bell) -> None
        """Have no more to do with a call that has waited: another thread drives from now on."""
        self._driving.end(bell)
        if bell in self.bells:
            self.bells.remove(bell)
        self.ring()

    def _drive(self, is_done, deadline, keeps):
        # type: (Callable[[], Any], float, bool) -> bool
        """Step until ``is_done()``, or until the connection ends; False if that takes too long."""
        looks = 0
        while not is_done() and self._end is None:
            if keeps and self._has_too_much():
                raise errors.WebSocketUnavailable(
                    'more than max_read_ahead bytes of messages came before the pong to ping(): '
                    'call receive() first, or in another thread')
            self._session.call_deadline = deadline
            if self._advance() is None:
                # The first time the loop may have been in the middle of a step.
                looks += 1
                if looks == 2:
                    return False
        return True

    def _has_too_much(self):
        # type: () -> bool
        limit = self._websocket.read_ahead_limit
        return limit is not None and self.held >= limit

    def _advance(self):
        # type: () -> Optional[AnyEvent]
        """Let the loop go on to its next event, and handle it; None if the deadline has passed."""
        try:
            event = next(self._happened)  # type: Optional[AnyEvent]
        except StopIteration:       # somebody has disposed of the session
            self._conclude(partial(interrupted, None))
            return None
        except BaseException as error:      # Ctrl-C, for one: it ended the loop
            # Its traceback would keep the frames of the user's program.
            self._conclude(partial(
                interrupted, error if isinstance(error, Exception) else None))
            raise
        if event is not None:
            self._handle(event)
        return event

    def _handle(self, event):
        # type: (AnyEvent) -> None
        if event.name == 'text':
            self._gather(event, event.text)
        elif event.name == 'binary':
            self._gather(event, event.data)
        elif event.name == 'pong':
            self._settle(event.data)
        elif event.name == 'ready':
            self._ready = event
            self.ring()
        else:
            self._refusal = explain(self._session, event, self._refusal)
            if event.name in ('connect_fail', 'disconnected'):
                self._conclude(dropped if self._has_dropped else self._refusal)

    def _gather(self, event, content):
        # type: (Any, Message) -> None
        """Keep a message once it is whole: the option ``message_parts`` is for loops."""
        if event.message_finished and self._parts is None:
            self._keep(content)
            return
        if self._parts is None:
            self._parts = Pieces(type(content)().join)      # however small they are
        self._parts.add(content)
        if event.message_finished:
            parts, self._parts = self._parts, None
            self._keep(parts.join())

    def _keep(self, message):
        # type: (Message) -> None
        if self._is_leaving or self._has_dropped:
            return
        if self._thread is not None and self.is_full and self._is_closing:
            self._has_dropped = True        # what comes later, too: no gap without an error
            return
        self._bytes_put += _size(message)
        self._inbox.append(message)
        self.ring()

    def _settle(self, payload):
        # type: (bytes) -> None
        """Settle the ping with this payload, and those before, which a peer may skip.

        RFC 6455 5.5.3 lets it answer the latest ping alone.
        """
        now = monotonic()
        pings = list(self.pings)
        for index, ping in enumerate(pings):
            if ping.payload == payload:
                for settled in pings[:index + 1]:
                    if settled.round_trip is None:
                        settled.round_trip = now - settled.sent_at
                self.ring()

    def ring(self):
        # type: () -> None
        """Have every thread that waits look again; from any thread or a signal handler."""
        for bell in list(self.bells):
            bell.ring()

    def _alone(self, function, *args):
        # type: (Callable[..., Any], *Any) -> Any
        """Call a function; meanwhile no other call opens or receives."""
        caller = object()
        return _then(
            partial(self._calling.end, caller), self._call_alone, caller, function, *args)

    def _call_alone(self, caller, function, *args):
        # type: (object, Callable[..., Any], *Any) -> Any
        if not self._calling.take(caller):
            raise errors.WebSocketUnavailable(
                'another thread is in open(), receive() or messages(), or a signal handler '
                'interrupted this one there: only one thread at a time may call these, unless the '
                'WebSocket was opened by open(background=True)')
        return function(*args)

    def _check_open(self):
        # type: () -> None
        """Raise WebSocketUnavailable unless `open` has opened the present, or last, connection."""
        session = self._websocket.session
        if self._is_parents and self._session is None:
            raise errors.WebSocketUnavailable(
                'the connection belongs to the parent process: create another WebSocket in the '
                'child')
        if session is self._session and session is not None:
            return
        if session is not None and session.is_running:
            raise loop_runs()
        raise errors.WebSocketUnavailable('not connected: call open() first')

    def _check_thread(self):
        # type: () -> None
        driver = self._driving.holder
        if driver is not None and driver.thread == thread_module.get_ident():
            raise errors.WebSocketUnavailable(
                'a signal handler, or a function that the WebSocket calls, interrupted a call in '
                'this thread: only close() and force_disconnect() may be called there')

    # -- the background --

    def _start_thread(self):
        # type: () -> None
        thread = threading.Thread(target=self._run, name='lomond background')
        thread.daemon = True
        self._thread = thread
        try:
            start_thread(thread)
        except BaseException:
            if not thread.is_alive():
                self._thread = None
            raise

    def _run(self):
        # type: () -> None
        """Drive the connection to its end; raise nothing, at the interpreter's exit either."""
        try:
            self._run_to_the_end()
        except:     # noqa: E722    # nosec B110  # the calls raise it; for 2.7 see `Workers`
            pass

    def _run_to_the_end(self):
        # type: () -> None
        bell = _Bell()
        try:
            self._driving.take(bell)
            self.bells.append(bell)
            while self._end is None:
                self._advance()
                while self.is_full and not self._is_closing and self._end is None:
                    bell.wait(LONGEST)
        finally:
            self._retire(bell)
            if self._end is None:       # out of memory, for one: no call must wait for this thread
                self._conclude(partial(interrupted, None))

    @property
    def held(self):
        # type: () -> int
        """How many bytes of messages wait for `receive`, about."""
        return self._bytes_put - self._bytes_taken

    @property
    def is_full(self):
        # type: () -> bool
        """True while the background thread reads no further: MAX_AHEAD bytes wait."""
        return self.held >= MAX_AHEAD

    @property
    def _is_closing(self):
        # type: () -> bool
        """True once the user has closed the websocket: its end doesn't wait for `receive`."""
        return self._is_leaving or self._session.is_forced \
            or self._websocket.last_close is not self._last_close

    def _join(self):
        # type: () -> None
        """Wait for the background thread, which is about to end."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(LONGEST)

    # -- the end --

    def _conclude(self, make_error):
        # type: (Callable[[], Exception]) -> None
        """Free everything, and have each call raise this error from now on."""
        _then(partial(self._set_end, make_error), self._close_loop)

    def _close_loop(self):
        # type: () -> None
        if self._loop is not None:
            self._loop.close()

    def _set_end(self, make_error):
        # type: (Callable[[], Exception]) -> None
        self._loop = None
        self._happened = iter(())
        if self._ready is not None:     # before another thread sees the end
            self._websocket.refuse_sends(self._session, make_error)
        self._end = make_error
        self.ring()

    def _error(self):
        # type: () -> Exception
        assert self._end is not None    # nosec B101  # for mypy
        return self._end()

    def forced(self, session):
        # type: (Any) -> None
        """Free a session whose end the user has just forced, if calls step it."""
        if session is self._session:
            self._is_forced = True
            self.free()

    def free(self):
        # type: () -> None
        """Free the connection, which was broken just now; unless a thread drives, which does it.

        Never waits, never raises.
        """
        loop = self._loop
        if loop is None:
            return
        if self.is_inherited:
            if not loop.gi_running:
                loop.close()
            return
        self.ring()
        if self._thread is None:
            bell = _Bell()
            _then(partial(self._retire, bell), self._drive_to_the_end, bell)

    def _drive_to_the_end(self, bell):
        # type: (_Bell) -> None
        try:
            while self._end is None and self._driving.take(bell):
                self._advance()
        except Exception:       # nosec B110  # it is the end, and each call raises it
            pass

    def leave(self):
        # type: () -> None
        """Close, and wait for the end of the connection; what still comes is dropped."""
        self._is_leaving = True
        _then(self.break_off, self._shake_hands)

    def _shake_hands(self):
        # type: () -> None
        if self._ready is not None and self._end is None:
            if self._websocket.is_open:
                self._websocket.last_close = object()
                self._session.close()       # unlike the websocket's, it never waits
            self.finish()

    def break_off(self):
        # type: () -> None
        """End at once, whatever has happened."""
        self._session.force_disconnect()
        self.free()
        self._join()

    def finish(self):
        # type: () -> None
        """Wait for the end of a connection that is being closed; drop what still comes."""
        self._is_leaving = True
        self.ring()     # the thread may wait for space
        if self.is_active and not self.is_inherited:
            self._until(lambda: False, NEVER, u'', None)


def _then(clean_up, function, *args):
    # type: (Callable[[], None], Callable[..., Any], *Any) -> Any
    """Return what a function returns, after ``clean_up()``, which Ctrl-C may have interrupted."""
    try:
        try:
            return function(*args)
        finally:
            clean_up()
    except BaseException:
        clean_up()      # once more: Ctrl-C may come before the first line in a "finally"
        raise


def _deadline(name, timeout):
    # type: (str, Optional[float]) -> float
    """Return when a call's time is over, by the clock; raises TypeError and ValueError."""
    timeout = check_seconds(name + '(timeout)', timeout)
    return NEVER if timeout is None else monotonic() + timeout


def _size(message):
    # type: (Message) -> int
    return len(message) + EVENT_SIZE
