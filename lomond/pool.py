"""Many WebSockets in one thread: one loop over the events of all of them.

    pool = Pool()
    for url in urls:
        pool.add(WebSocket(url), policy=ReconnectPolicy())
    for websocket, event in pool:
        if event.name == 'text':
            print(websocket.url, event.text)

How a connection lives is the business of `lomond.engine`; how many are waited for at once, of
`lomond._multiplexer`.
"""

from __future__ import absolute_import, division, print_function

import weakref
from functools import partial

from lomond import errors
from lomond._checks import check_count, check_seconds
from lomond._compat import TYPE_CHECKING, monotonic
from lomond._endpoint import message_of
from lomond._hints import takes_options
from lomond._multiplexer import Member, Multiplexer
from lomond.engine.gate import Gate
from lomond.engine.outbox import MAX_QUEUE, OVERFLOWS, Outbox, Overflow
from lomond.engine.policy import ReconnectPolicy
from lomond.engine.reconnect import PersistentSession
from lomond.engine.stepped import QueuedClientSession
from lomond.engine.timers import NEVER
from lomond.protocol.close import encode_close
from lomond.status import Status
from lomond.websocket import WebSocket, check_timing

if TYPE_CHECKING:
    from typing import Any, Callable, Generator, Iterable, List, Optional, Tuple, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond._endpoint import BytesLike  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.websocket import Timing  # noqa: F401

__all__ = ['Pool']


class Pool(object):
    """Drives many WebSockets in the thread that iterates over it.

    Iterating yields pairs of a WebSocket and its event until no member is left, or `close` was
    called. When the loop ends, in whatever way, no connection is left open.

    A send never waits in the pool's thread. What the system's send buffer doesn't take is queued,
    for each connection up to ``max_queue`` bytes; what a message beyond that does is ``overflow``:

    - 'raise': it raises `lomond.errors.OutboxFull`, and nothing of it is sent (the default).
    - 'block': it waits for space, for as long as ``write_timeout`` allows; in the pool's own thread
      it raises.
    - 'drop_oldest': it drops the oldest messages of the queue.
    - 'latest': it drops all other messages of the queue.

    Dropped messages are counted in ``websocket.stats.dropped``. A message that is larger than
    ``max_queue`` alone raises OutboxFull always.

    Parameters:

    - ``max_queue``: bytes that may wait for each connection (1 MiB), with 64 for each message; None
      for no limit.
    - ``overflow``: see above.
    - ``keep_outbox``: True to send what is left of a queue when a connection ends over the
      next one, after its Ready has been handled (False).
    - ``max_dialing``: how many attempts to connect may run at a time (100); the others wait.
    - ``dial_rate``: how many attempts a second may begin to one host; None for no limit.
    - ``ends_when_empty``: False to wait for more members once the last one has left (True).

    Every method may be called from any thread, and by a signal's handler. Raises TypeError and
    ValueError.
    """

    @takes_options('Pool', 'Pool({}=...)')
    def __init__(
        self,
        max_queue=MAX_QUEUE,        # type: Optional[int]
        overflow=Overflow.RAISE,    # type: str
        keep_outbox=False,          # type: bool
        max_dialing=100,            # type: int
        dial_rate=None,             # type: Optional[float]
        ends_when_empty=True,       # type: bool
    ):
        # type: (...) -> None
        self._max_queue = check_count('max_queue', max_queue, 1, none_for='no limit')
        if overflow not in OVERFLOWS:
            raise ValueError("overflow must be 'raise', 'block', 'drop_oldest' or 'latest', "
                             'not {!r}'.format(overflow))
        self._overflow = overflow
        self._keep_outbox = keep_outbox
        self._gate = Gate(
            check_count('max_dialing', max_dialing, 1), check_seconds('dial_rate', dial_rate))
        self._ends_when_empty = ends_when_empty
        self._multiplexer = Multiplexer()
        self._close_deadline = None  # type: Optional[float]    # once `close` was called
        self._loop = None  # type: Any      # a weak reference to the running loop

    # -- members --

    @takes_options('add', 'pool.add(websocket, {}=...)')
    def add(
        self,
        websocket,              # type: WebSocket
        policy=None,            # type: Optional[ReconnectPolicy]
        tag=None,               # type: Any
        poll=None,              # type: Optional[float]
        ping_rate=30.0,         # type: Optional[float]
        ping_timeout=None,      # type: Optional[float]
        auto_pong=True,         # type: bool
        close_timeout=30.0,     # type: Optional[float]
        idle_timeout=None,      # type: Optional[float]
        stale_disconnects=False,    # type: bool
        max_age=None,           # type: Optional[float]
    ):
        # type: (...) -> WebSocket
        """Drive a WebSocket: connect it, and yield its events; return it.

        Parameters:

        - ``policy``: a `lomond.persist.ReconnectPolicy` to connect again whenever a connection
          ends; None for one connection.
        - ``tag``: anything, for your own use: the WebSocket's ``tag`` from now on.
        - ``poll``: how often Poll comes for this WebSocket, in seconds (None: never).
        - ``ping_rate``, ``ping_timeout``, ``auto_pong``, ``close_timeout``, ``idle_timeout``,
          ``stale_disconnects``, ``max_age``: as for `WebSocket.connect`.

        Raises TypeError and ValueError for invalid arguments, and WebSocketUnavailable if a loop
        over the WebSocket is running, if it was added before, or after `close`.
        """
        timing = check_timing(
            poll, ping_rate, ping_timeout, auto_pong, close_timeout, idle_timeout,
            stale_disconnects, max_age)
        _check_websocket(websocket)
        if policy is not None and not isinstance(policy, ReconnectPolicy):
            raise TypeError('policy must be a ReconnectPolicy, not {!r}'.format(policy))
        if self._close_deadline is not None:
            raise errors.WebSocketUnavailable('the pool was closed: make another one')
        websocket.reset()       # raises if a loop is running
        websocket.tag = tag
        self._multiplexer.add(Member(websocket, partial(self._begin, websocket, policy, timing)))
        return websocket

    def _begin(self, websocket, policy, timing, wake):
        # type: (WebSocket, Optional[ReconnectPolicy], Timing, Callable[[], None]) -> Any
        """Return a member's machine; in the pool's thread."""
        outbox = self._new_outbox()

        def begin_session():
            # type: () -> QueuedClientSession
            session = websocket.new_session(partial(
                QueuedClientSession, outbox=outbox if self._keep_outbox else self._new_outbox()))
            session.gate = self._gate
            session.begin(wake=wake, **timing._asdict())
            return session  # type: ignore[no-any-return]

        if policy is None:
            return begin_session()
        close_before = websocket.last_close
        return PersistentSession(
            websocket, begin_session, policy, lambda: websocket.last_close is not close_before,
            wake=wake)

    def _new_outbox(self):
        # type: () -> Outbox
        return Outbox(self._max_queue, self._overflow)

    def remove(self, websocket):
        # type: (WebSocket) -> bool
        """Break a connection off, as a ``break`` does in its own loop; no event of it follows.

        Returns False if it isn't a member. ``websocket.close()`` is the polite way.
        """
        member = self._multiplexer.find(websocket)
        if member is None:
            return False
        self._multiplexer.remove(member)
        return True

    def __len__(self):
        # type: () -> int
        return len(self._multiplexer)

    def __contains__(self, websocket):
        # type: (object) -> bool
        return self._multiplexer.find(websocket) is not None

    @property
    def websockets(self):
        # type: () -> List[WebSocket]
        """The members, in a new list: connected ones, and those that connect or wait to."""
        return self._multiplexer.websockets

    # -- the loop --

    def __iter__(self):
        # type: () -> Generator[Tuple[WebSocket, AnyEvent], None, None]
        return self.iterate()   # type: ignore[no-any-return]

    def polling(self, seconds):
        # type: (float) -> Generator[Tuple[Optional[WebSocket], AnyEvent], None, None]
        """Iterate as over the pool, and yield ``(None, Poll())``, the pool's own, so often."""
        if not check_seconds('seconds', seconds):
            raise ValueError('seconds must be more than 0: for no Poll, iterate over the pool')
        return self.iterate(seconds)    # type: ignore[no-any-return]

    def iterate(self, poll=None, waits=True):
        # type: (Optional[float], bool) -> Any
        """Return the generator behind all ways to iterate; for drivers.

        With ``waits=False`` it yields ``(None, None)`` after each round: then wait for what
        `waits_for` says.
        """
        if self._multiplexer.is_running:
            raise errors.WebSocketUnavailable('a loop over this Pool is running already')
        loop = self._multiplexer.run(self._is_over, poll, waits)
        self._loop = weakref.ref(loop)
        return loop

    @property
    def waits_for(self):
        # type: () -> Tuple[Optional[int], float]
        """A descriptor to be read, None if the system's way to wait has none; and for how long."""
        return self._multiplexer.fileno(), self._multiplexer.time_left()

    def _is_over(self):
        # type: () -> bool
        if self._close_deadline is not None and monotonic() >= self._close_deadline:
            self._close_deadline = NEVER
            for websocket in self.websockets:
                websocket.force_disconnect()
        return not self._multiplexer and (self._ends_when_empty or self._close_deadline is not None)

    # -- from any thread --

    def broadcast(self, message, websockets=None, compress=True):
        # type: (Union[text_type, BytesLike], Optional[Iterable[WebSocket]], bool) -> int
        """Send a message to all members that are open, or to these; never wait.

        Returns how many took it: those that aren't open, or whose queue is full and doesn't drop,
        don't. (With ``overflow='block'`` it doesn't wait either.)

        Parameters: ``message``, text or bytes, as for `WebSocket.send_text` and
        `WebSocket.send_binary`; ``websockets``, None for all; ``compress``, whether to compress it
        where that was agreed on. Raises TypeError, and ValueError for a lone surrogate.
        """
        opcode, payload = message_of('broadcast', message)
        count = 0
        for websocket in self.websockets if websockets is None else list(websockets):
            writer = self._writer_of(websocket)
            if writer is None:
                continue
            try:
                writer.send(opcode, payload, compress, may_wait=False)
                count += 1
            except errors.WebSocketError:       # it isn't open, broken, or its queue is full
                pass
        return count

    def clear_outbox(self, websocket):
        # type: (WebSocket) -> int
        """Drop what waits in a member's queue; return how many messages that were.

        A message of which a part has gone out is sent to its end.
        """
        writer = self._writer_of(websocket)
        if writer is None:
            return 0
        with writer.lock:
            return writer.outbox.clear()    # type: ignore[no-any-return]

    def _writer_of(self, websocket):
        # type: (WebSocket) -> Any
        """Return what sends for a member, None if it hasn't begun or isn't one."""
        session = websocket.session
        return session.writer if session is not None and websocket in self else None

    def close(self, code=Status.GOING_AWAY, reason=u'', timeout=10.0):
        # type: (Optional[int], Union[bytes, text_type], Optional[float]) -> None
        """Close all connections, and end the attempts to connect; the loop ends with the last.

        It doesn't wait: the loop goes on until each member's last event. Connections that are
        still there after ``timeout`` seconds (None: as long as it takes) are broken.

        Parameters: ``code`` and ``reason``, as for `WebSocket.close`, whose errors it raises.
        """
        encode_close(code, reason)      # raises
        seconds = check_seconds('timeout', timeout)
        self._close_deadline = NEVER if seconds is None else monotonic() + seconds
        for websocket in self.websockets:
            websocket.close(code, reason)
        self._multiplexer.look_again(self._close_deadline)

    def __enter__(self):
        # type: () -> Pool
        return self

    def __exit__(self, *_exc_info):
        # type: (*Any) -> None
        loop = None if self._loop is None else self._loop()
        if loop is not None:
            loop.close()


def _check_websocket(websocket):
    # type: (Any) -> None
    if not isinstance(websocket, WebSocket):
        raise TypeError('a pool takes WebSockets, not {!r}: write pool.add(WebSocket(url))'.format(
            websocket))
