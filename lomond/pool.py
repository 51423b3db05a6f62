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

from functools import partial

from lomond import errors
from lomond._checks import check_count, check_flag, check_rate
from lomond._compat import TYPE_CHECKING
from lomond._crowd import Crowd, check_endpoint
from lomond._endpoint import Endpoint
from lomond._hints import takes_options
from lomond._multiplexer import Member
from lomond.engine.gate import Gate
from lomond.engine.outbox import MAX_QUEUE, Overflow
from lomond.engine.policy import check_policy
from lomond.engine.reconnect import PersistentSession
from lomond.engine.renewal import RenewedSession
from lomond.engine.stepped import QueuedClientSession, QueuedSession, begin_client
from lomond.net.ways import WAYS, find_way
from lomond.websocket import WebSocket, check_timing

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        Generator,
        List,
        Optional,
        Sequence,
        Tuple,
        TypeVar,
    )

    from typing_extensions import Literal

    from lomond.engine.outbox import Outbox, OverflowName  # noqa: F401
    from lomond.engine.policy import ReconnectPolicy  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.websocket import Timing  # noqa: F401

    Poller = Literal['epoll', 'kqueue', 'poll', 'select']
    AnyWebSocket = TypeVar('AnyWebSocket', bound=Endpoint)

__all__ = ['Pool']


class Pool(Crowd):
    """Drives many WebSockets in the thread that iterates over it.

    Iterating yields pairs of a WebSocket and its event until no member is left, or `close` was
    called. When the loop ends, in whatever way, no connection is left open.

    A send never waits in the pool's thread. What the system's send buffer doesn't take is queued,
    for each connection up to ``max_queue`` bytes; what a message beyond that does is ``overflow``:

    - 'raise': it raises `lomond.errors.OutboxFull`, and nothing of it is sent (the default).
    - 'block': it waits until there is space, or the connection ends; in the pool's own thread it
      raises.
    - 'drop_oldest': it drops the oldest messages of the queue.
    - 'latest': it drops all other messages of the queue.

    Dropped messages are counted in ``websocket.stats.dropped``. A message that is larger than
    ``max_queue`` alone raises OutboxFull always.

    Parameters:

    - ``max_queue``: bytes that may wait for each connection (1 MiB), with 64 for each message; None
      for no limit.
    - ``overflow``: what a message beyond that does: 'raise', 'block', 'drop_oldest' or 'latest'.
    - ``keep_outbox``: True to send what is left of a queue when a connection ends over the
      next one, after its Ready has been handled (False).
    - ``max_dialing``: how many attempts to connect may run at a time (100); the others wait.
    - ``dial_rate``: how many attempts a second may begin to one host; None for no limit.
    - ``ends_when_empty``: False to wait for more members once the last one has left (True).
    - ``poller``: how to wait: 'epoll', 'kqueue', 'poll' or 'select'; None for the first of these
      that the system has.

    Every method may be called from any thread, and by a signal's handler. Raises TypeError and
    ValueError.
    """

    @takes_options('Pool', 'Pool({}=...)')
    def __init__(
        self,
        max_queue=MAX_QUEUE,        # type: Optional[int]
        overflow=Overflow.RAISE,    # type: OverflowName
        keep_outbox=False,          # type: bool
        max_dialing=100,            # type: int
        dial_rate=None,             # type: Optional[float]
        ends_when_empty=True,       # type: bool
        poller=None,                # type: Optional[Poller]
    ):
        # type: (...) -> None
        if isinstance(max_queue, (WebSocket, list, tuple, set, frozenset)):
            raise TypeError('Pool() takes no WebSockets: add each by pool.add(websocket)')
        super(Pool, self).__init__(max_queue, overflow, _ways(poller))
        self._keep_outbox = check_flag('keep_outbox', keep_outbox)
        self._gate = Gate(
            check_count('max_dialing', max_dialing, 1), check_rate('dial_rate', dial_rate))
        self._ends_when_empty = check_flag('ends_when_empty', ends_when_empty)

    if TYPE_CHECKING:
        websockets = ()  # type: List[WebSocket]    # type: ignore[assignment]

        def __enter__(self):
            # type: () -> Pool
            raise NotImplementedError

        def __iter__(self):
            # type: () -> Generator[Tuple[WebSocket, AnyEvent], None, None]
            raise NotImplementedError

        def polling(self, seconds):
            # type: (float) -> Generator[Tuple[Optional[WebSocket], AnyEvent], None, None]
            raise NotImplementedError

    if not TYPE_CHECKING:       # for a type checker it is an error already
        def __aiter__(self):
            raise TypeError(
                'in an event loop write: from lomond import aio; async for websocket, event in '
                'aio.pool(pool): ...')

    @property
    def _may_end(self):
        # type: () -> bool
        return self._ends_when_empty or self._close_deadline is not None

    # -- members --

    @takes_options('add', 'pool.add(websocket, {}=...)')
    def add(
        self,
        websocket,              # type: AnyWebSocket
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
        heartbeat=None,         # type: Optional[float]
    ):
        # type: (...) -> AnyWebSocket
        """Drive a WebSocket: connect it, and yield its events; return it.

        Or a server's end that `lomond.wsgi.upgrade` has made, or that another driver's ``remove``
        has left open.

        Parameters:

        - ``websocket``: a `WebSocket` without a loop of its own, or a server's end as above.
        - ``policy``: a `lomond.persist.ReconnectPolicy` to connect again whenever a connection
          ends; None for one connection.
        - ``tag``: anything, for your own use: the WebSocket's ``tag`` from now on; None leaves it.
        - ``poll``: how often Poll comes for this WebSocket, in seconds (None: never).
        - ``ping_rate``, ``ping_timeout``, ``auto_pong``, ``close_timeout``, ``idle_timeout``,
          ``stale_disconnects``, ``heartbeat``: as for `WebSocket.connect`.
        - ``max_age``: how long after Ready, in seconds, to replace the connection (None: never).
          With a policy the new connection is Ready before the old one is closed, and messages of
          both come until then; what waits in the queue goes out over the old one. Without a policy
          the connection is closed.

        After `remove` with ``close=False`` it goes on with the open connection and the options that
        that has: those here are for the connections that a ``policy`` makes later.

        Nothing happens if a server's end was closed before, as by `lomond.wsgi.close_all`.

        Raises TypeError and ValueError for invalid arguments, and WebSocketUnavailable if a loop
        over the WebSocket is running, if it is a member of a pool, or after `close`.
        """
        timing = check_timing(
            poll, ping_rate, ping_timeout, auto_pong, close_timeout, idle_timeout,
            stale_disconnects, max_age, heartbeat)
        _check_websocket(websocket)
        check_policy(policy, ': a tag is passed by name, as tag=...')
        if policy is not None:
            websocket.check_may_reconnect()
        if self._close_deadline is not None:
            raise errors.WebSocketUnavailable('the pool was closed: make another one')
        is_released = _is_released(websocket)
        if websocket not in self:
            self._multiplexer.check_free(websocket)
            is_client = isinstance(websocket, WebSocket)
            if is_client and not (is_released or self._multiplexer.is_leaving(websocket)):
                websocket.check_idle()
            if tag is not None:
                websocket.tag = tag
            if not is_released and websocket.handover is not None \
                    and not self._claim(websocket, QueuedClientSession):
                return websocket
        close_before = websocket.last_close
        member = Member(websocket, partial(
            self._begin, websocket, policy, timing,
            lambda: websocket.last_close is not close_before))
        if is_released:
            self._multiplexer.begun(member)     # now: it has a connection to be freed
        self._multiplexer.add(member)
        if self._close_deadline is not None:    # by another thread, which may have missed this one
            websocket.close()
        return websocket

    def renew(self, websocket):
        # type: (WebSocket) -> bool
        """Replace a member's connection now, as at its ``max_age``.

        Returns False if it isn't open, or was added without a policy.
        """
        member = self._multiplexer.find(check_endpoint('renew', websocket))
        machine = None if member is None else member.machine
        if not isinstance(machine, PersistentSession) or not websocket.is_open:
            return False
        machine.renew()
        return True

    def clear_outbox(self, websocket):
        # type: (Any) -> int
        """Drop what waits in a member's queue; return how many messages that were.

        A message of which a part has gone out is sent to its end. If the member's connection was
        just replaced, what waits for the old one is dropped, too.
        """
        member = self._multiplexer.find(check_endpoint('clear_outbox', websocket))
        machine = None if member is None else member.machine
        count = machine.clear_retired() if isinstance(machine, PersistentSession) else 0
        return super(Pool, self).clear_outbox(websocket) + count

    def _begin(self, websocket, policy, timing, is_over, wake):
        # type: (Any, Optional[ReconnectPolicy], Timing, Callable[[], bool], Callable[[], None]) -> Any
        """Return a member's machine; in the pool's thread, or in `add` for an open connection.

        ``is_over()`` is true once the websocket was closed since it was added.
        """
        def begin_session(end=websocket, outbox=None):
            # type: (Any, Optional[Outbox]) -> Any
            session = end.session  # type: Any
            if isinstance(session, QueuedSession) and session.take_over(wake, self._driver):
                pass
            elif end.handover is not None:      # `add` has made it
                session.begin_checked(wake, *timing)
            else:
                session = begin_client(
                    end, self._new_outbox() if outbox is None else outbox, timing, is_over, wake)
            session.gate = self._gate
            return session

        if policy is None:
            return begin_session()

        def begin_attempt():
            # type: () -> Any
            before = self._writer_of(websocket) if self._keep_outbox else None
            return RenewedSession(
                websocket, begin_session(outbox=before and before.outbox), begin_session, is_over,
                self._keep_outbox)

        machine = PersistentSession(websocket, begin_attempt, policy, is_over, wake=wake)
        if _is_released(websocket):
            machine.go_on()
        return machine


def _ways(poller):
    # type: (Any) -> Sequence[str]
    if poller is None:
        return WAYS
    if poller not in WAYS:
        raise ValueError("poller must be 'epoll', 'kqueue', 'poll', 'select' or None, "
                         'not {!r}'.format(poller))
    find_way((poller,))     # raises
    return (poller,)


def _check_websocket(websocket):
    # type: (Any) -> None
    if not (isinstance(websocket, WebSocket) or _is_released(websocket)
            or getattr(websocket, 'handover', None) is not None):
        raise TypeError('a pool takes WebSockets, and those of lomond.wsgi.upgrade, not {!r}: '
                        'write pool.add(WebSocket(url))'.format(websocket))


def _is_released(websocket):
    # type: (Any) -> bool
    """Return whether a driver has let go of an open connection, and none goes on with it yet."""
    session = getattr(websocket, 'session', None)
    return isinstance(session, QueuedSession) and session.is_released
