"""What a pool of clients and a server with one thread have in common: a loop over all events.

Which connections there are is for the subclasses (`lomond.pool`, `lomond._serving`); how they are
waited for, for `lomond._multiplexer`.
"""

from __future__ import absolute_import, division, print_function

import weakref
from functools import partial

from lomond import errors
from lomond._checks import check_count, check_flag, check_seconds
from lomond._compat import TYPE_CHECKING, monotonic, text_type, thread_module
from lomond._endpoint import Endpoint
from lomond._messages import message_of
from lomond._multiplexer import Multiplexer
from lomond.engine.outbox import OVERFLOWS, Driver, Outbox, Overflow
from lomond.engine.timers import NEVER
from lomond.net.ways import WAYS
from lomond.protocol.close import encode_close
from lomond.protocol.extensions.deflate import SharedPayload
from lomond.status import Status

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        Generator,
        Iterable,
        Iterator,
        List,
        Optional,
        Sequence,
        Tuple,
        TypeVar,
        Union,
    )

    from lomond._messages import BytesLike  # noqa: F401
    from lomond._multiplexer import Member  # noqa: F401
    from lomond.engine.outbox import OverflowName  # noqa: F401

    F = TypeVar('F', bound=Callable[..., Any])


def _of_pools(method):
    # type: (F) -> F
    """Have Python's TypeErrors name the class that is public."""
    function = method  # type: Any
    function.__qualname__ = 'Pool.{}'.format(function.__name__)
    return method


def check_endpoint(method, websocket):
    # type: (str, Any) -> Any
    """Return an argument that is one end of a WebSocket; raises TypeError."""
    if not isinstance(websocket, Endpoint):
        raise TypeError('{} takes a WebSocket, not {!r}'.format(method, websocket))
    return websocket


def send_to_all(writers, message, compress):
    # type: (Iterable[Any], Union[text_type, BytesLike], bool) -> int
    """Send a message by these writers, where there is one; return how many took it."""
    opcode, payload = message_of('broadcast', message)
    payload = SharedPayload(payload)
    count = 0
    for writer in writers:
        if writer is None:
            continue
        try:
            writer.send(opcode, payload, compress, may_wait=False)
            count += 1
        except errors.WebSocketError:       # it isn't open, broken, or its queue is full
            pass
        except Exception:       # an extension's: the others get the message
            writer.options.logger.exception(
                '%r: a broadcast failed, and reached others only', writer.options)
    return count


class Crowd(object):
    """Many connections, driven by the thread that iterates over their events.

    Parameters: ``max_queue`` and ``overflow``, see `lomond.pool.Pool`; ``ways``, as for a
    `lomond.net.waiter.Waiter`. Raises TypeError and ValueError.
    """

    def __init__(self, max_queue, overflow, ways=WAYS):
        # type: (Optional[int], OverflowName, Sequence[str]) -> None
        self._max_queue = check_count('max_queue', max_queue, 1, none_for='no limit')
        if overflow not in OVERFLOWS:
            raise ValueError("overflow must be 'raise', 'block', 'drop_oldest' or 'latest', "
                             'not {!r}'.format(overflow))
        self._overflow = overflow
        self._multiplexer = Multiplexer(ways)
        self._close_deadline = None  # type: Optional[float]    # once `close` was called
        self._loop = None  # type: Any      # a weak reference to the loop that ran last
        self._driver = Driver()     # the thread that had it go on

    def _new_outbox(self):
        # type: () -> Outbox
        return Outbox(self._max_queue, self._overflow, driver=self._driver)

    def _claim(self, websocket, session_class):
        # type: (Any, Callable[..., Any]) -> bool
        """Make the session of a connection that is open already, and that nothing drives.

        Now: then what closes it before its first step sends a Close frame. Returns False if a
        server that ends has closed it meanwhile; raises WebSocketUnavailable if it is driven.
        """
        try:
            websocket.new_session(partial(session_class, outbox=self._new_outbox()))
        except errors.WebSocketUnavailable:
            if websocket.is_closed:
                return False
            raise
        return True

    @_of_pools
    def remove(self, websocket, close=True):
        # type: (Any, bool) -> bool
        """Take a connection out; no event of it follows. Returns False if it isn't a member.

        It is broken off, as by a ``break`` in its own loop: its sends raise WebSocketClosed from
        now on. ``websocket.close()`` is the polite way.

        With ``close=False`` it stays open, and `lomond.pool.Pool.add` of another pool, or of this
        one, goes on with it. Until then nothing is received, no ping is answered, and what the
        send buffer doesn't take waits. `force_disconnect` breaks it. In the loop's body it leaves
        at once; another thread's call has it leave in the loop's next turn, if it is open then.
        Raises WebSocketUnavailable if it isn't open, or is being replaced.
        """
        close = check_flag('close', close)
        member = self._multiplexer.find(check_endpoint('remove', websocket))
        if member is None:
            return False
        if not close:
            self._release(member)
            return True
        member.is_gone = True       # first: nothing of it is passed on any more
        if member.machine is None:      # no loop has begun with it, and it may be open already
            websocket.force_disconnect()
        websocket.give_up()
        self._multiplexer.remove(member)
        return True

    def _release(self, member):
        # type: (Member) -> None
        if member.machine is None or not member.machine.is_releasable:
            if member.websocket.is_open:
                raise errors.WebSocketUnavailable(
                    'remove(websocket, close=False) is not possible for the moment, as this '
                    'connection was just added, or is being replaced: wait for its next event')
            raise errors.WebSocketUnavailable(
                'remove(websocket, close=False) takes out connections that are open: wait for the '
                'Ready event, or write remove(websocket) to end its attempts and its connection')
        if self._is_in_body:
            self._multiplexer.release(member)
        else:
            self._multiplexer.call(lambda: self._multiplexer.release(member))

    @property
    def _is_in_body(self):
        # type: () -> bool
        """Whether the loop is in this thread, and doesn't run now: its body does."""
        loop = None if self._loop is None else self._loop()
        return loop is not None and not loop.gi_running \
            and self._driver.thread == thread_module.get_ident()

    def __len__(self):
        # type: () -> int
        return len(self._multiplexer)

    def __contains__(self, websocket):
        # type: (object) -> bool
        return self._multiplexer.find(websocket) is not None

    @property
    def websockets(self):
        # type: () -> List[Any]
        """The members, in a new list: connected ones, and those that connect or wait to."""
        return self._multiplexer.websockets

    # -- the loop --

    def __iter__(self):
        # type: () -> Generator[Tuple[Any, Any], None, None]
        return self.iterate()   # type: ignore[no-any-return]

    @_of_pools
    def polling(self, seconds):
        # type: (float) -> Generator[Tuple[Any, Any], None, None]
        """Iterate as over the pool, and yield ``(None, Poll())``, the pool's own, so often."""
        if not check_seconds('seconds', seconds):
            raise ValueError('seconds must be more than 0: for no Poll, iterate over the pool')
        return self.iterate(seconds)    # type: ignore[no-any-return]

    def iterate(self, poll=None, waits=True):
        # type: (Optional[float], bool) -> Any
        """Return the generator behind all ways to iterate; for drivers.

        With ``waits=False`` it yields ``(None, None)`` wherever it would wait: then wait for what
        `waits_for` says.
        """
        if self._close_deadline is not None and not self._multiplexer:
            self._multiplexer.logger.warning(
                'this pool or server was closed before: the loop over it ends at once')
        own = []  # type: List[Any]
        loop = self._multiplexer.run(partial(self._is_over, own), poll, waits)
        if self._overflow == Overflow.BLOCK:
            loop = self._follow(loop)
        own.append(weakref.ref(loop))
        return loop

    def _follow(self, loop):
        # type: (Any) -> Iterator[Tuple[Any, Any]]
        """Yield as a loop does; record which thread handles each event, as that may not wait."""
        try:
            for pair in loop:
                self._driver.thread = thread_module.get_ident()
                yield pair
        finally:
            loop.close()

    @property
    def waits_for(self):
        # type: () -> Tuple[Optional[int], float]
        """A descriptor to be read, None if the system's way to wait has none; and for how long."""
        return self._multiplexer.fileno(), self._multiplexer.time_left()

    @property
    def _may_end(self):
        # type: () -> bool
        """Whether the loop ends once there is no connection."""
        return self._close_deadline is not None

    def _is_over(self, own):
        # type: (List[Any]) -> bool
        """Return whether a loop ends, before each round; ``own`` is a list of its reference."""
        # Here, as another loop may be refused, and any thread may have this one go on.
        self._loop, self._driver.thread = own[0], thread_module.get_ident()
        if self._close_deadline is not None and monotonic() >= self._close_deadline:
            self._close_deadline = NEVER
            for websocket in self.websockets:
                websocket.force_disconnect()
        return not self._multiplexer and self._may_end

    # -- from any thread --

    @_of_pools
    def broadcast(self, message, websockets=None, compress=True):
        # type: (Union[text_type, BytesLike], Optional[Iterable[Any]], bool) -> int
        """Send a message to all members that are open, or to these; never wait.

        Returns how many took it: those that aren't open, or whose queue is full and doesn't drop,
        don't. (With ``overflow='block'`` it doesn't wait either.)

        Parameters: ``message``, text or bytes, as for `WebSocket.send_text` and
        `WebSocket.send_binary`; ``websockets``, None for all; ``compress``, whether to compress it
        where that was agreed on. Raises TypeError, and ValueError for a lone surrogate.
        """
        if websockets is None:
            websockets = self.websockets
        elif isinstance(websockets, (Endpoint, bytes, text_type)) \
                or not hasattr(websockets, '__iter__'):
            raise TypeError('the second argument must be a list of WebSockets, not {!r}: write '
                            'broadcast(message, [websocket])'.format(websockets))
        else:
            websockets = [check_endpoint('broadcast', websocket) for websocket in websockets]
        return send_to_all(map(self._writer_of, websockets), message, compress)

    @_of_pools
    def clear_outbox(self, websocket):
        # type: (Any) -> int
        """Drop what waits in a member's queue; return how many messages that were.

        A message of which a part has gone out is sent to its end.
        """
        writer = self._writer_of(check_endpoint('clear_outbox', websocket))
        return 0 if writer is None else writer.clear()

    def _writer_of(self, websocket):
        # type: (Any) -> Any
        """Return what sends for a member, None if it hasn't begun or isn't one."""
        session = websocket.session if websocket in self else None  # type: Any
        return session.writer if getattr(session, 'is_queued', False) else None

    @_of_pools
    def close(self, code=Status.GOING_AWAY, reason=u'', timeout=10.0):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Close all connections, and end the attempts to connect; the loop ends with the last.

        It doesn't wait: the loop goes on until each member's last event. Connections that are
        still there after ``timeout`` seconds (None: as long as it takes) are broken. The first call
        counts, unless a later one has an earlier end.

        Parameters: ``code`` and ``reason``, as for `WebSocket.close`, whose errors it raises.
        """
        encode_close(code, reason)      # raises
        seconds = check_seconds('timeout', timeout)
        deadline = NEVER if seconds is None else monotonic() + seconds
        if self._close_deadline is None or deadline < self._close_deadline:
            self._close_deadline = deadline
        for websocket in self.websockets:
            websocket.close(code, reason)
        self._multiplexer.look_again(self._close_deadline)

    def __enter__(self):
        # type: () -> Any
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        if not self.end_loop():
            self.close(timeout=0)
            return
        for websocket in self.websockets:       # no loop has come to them
            self.remove(websocket)

    def end_loop(self):
        # type: () -> bool
        """End the loop, which breaks all connections; False if another thread iterates."""
        loop = None if self._loop is None else self._loop()
        if loop is None or loop.gi_frame is None:       # it has ended
            return True
        if loop.gi_running or self._driver.thread != thread_module.get_ident():
            return False
        try:
            loop.close()
        except ValueError:      # another thread has just had it go on
            return False
        return True
