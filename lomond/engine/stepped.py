"""Sessions for drivers with many connections in one thread: neither a step nor a send waits."""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING, monotonic, thread_module
from lomond.engine.client import ClientSession
from lomond.engine.outbox import MAX_QUEUE, Outbox
from lomond.engine.phases import Phase
from lomond.engine.queued import QueuedWriter
from lomond.engine.server import ServerSession
from lomond.engine.session import Session, do_nothing

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional  # noqa: F401

    from lomond.engine.outbox import Driver  # noqa: F401
    from lomond.events import AnyEvent  # noqa: F401


class QueuedSession(Session):
    """What sessions of clients and servers share.

    Parameters: ``outbox``, where messages wait: a new one by default; that of an earlier session
    keeps its messages until Ready has been handled; ``max_queue``, bytes that may wait in a new one
    (1 MiB), beyond which a send raises OutboxFull; None for no limit. The others as for `Session`.
    """

    writer_class = QueuedWriter  # type: Callable[..., Any]

    #: Whether its writer takes what a pool sends to all.
    is_queued = True  # type: bool

    def __init__(self, websocket, outbox=None, clock=monotonic, max_queue=MAX_QUEUE):
        # type: (Any, Optional[Outbox], Callable[[], float], Optional[int]) -> None
        max_queue = check_count('max_queue', max_queue, 1, none_for='no limit')
        super(QueuedSession, self).__init__(websocket, clock)
        if outbox is None:
            outbox = Outbox(max_queue)
        outbox.hold()
        writer = self.writer  # type: Any
        writer.use(outbox)

    def _begun(self, poll):
        # type: (Optional[float]) -> None
        writer = self.writer  # type: Any
        writer.outbox.driver.thread = thread_module.get_ident()
        self.begins_with_poll = bool(poll)  # type: bool

    def _open(self):
        # type: () -> None
        super(QueuedSession, self)._open()
        # Thousands that began together would send together: the first of each comes earlier.
        self._timers.spread(self._clock(), 0.5 + 0.5 * self.random())
        self._set_deadline()

    # -- from one driver to another --

    # An item while no driver has the session: what pops that, which is atomic, has it from then on.
    _released = []  # type: List[bool]
    # What is left of the last driver's last step.
    _rest = ()  # type: Iterable[AnyEvent]

    @property
    def is_releasable(self):
        # type: () -> bool
        """True while it is open, and isn't to be replaced."""
        return self.phase == Phase.OPEN and self._websocket.is_open and not self.is_due

    @property
    def is_released(self):
        # type: () -> bool
        """True while it is open without a driver."""
        return bool(self._released)

    def release(self, rest):
        # type: (Iterable[AnyEvent]) -> None
        """Stay open without a driver, until one calls `take_over`.

        For the driver, between two steps, or while it has one event of a step: then ``rest`` is
        what is left of that.
        """
        self._enter(Phase.RELEASED)
        self._rest = rest
        self._wake_driver = do_nothing
        self.gate = None  # type: Any
        self.is_replaceable = False
        self._released = [True]
        if self._is_forced and self._claim():       # by another thread, a moment ago
            self.dispose()

    def take_over(self, wake, driver):
        # type: (Callable[[], Any], Driver) -> bool
        """Go on in another driver, which calls `step` next; False if it isn't released.

        Parameters: ``wake``, as for `begin`; ``driver``, the thread of the new one.
        """
        if not self._claim():
            return False
        writer = self.writer  # type: Any
        writer.outbox.driver = driver
        self._wake_driver = wake
        return True

    def _claim(self):
        # type: () -> bool
        """Return whether this was released, and isn't any more."""
        try:
            return self._released.pop()
        except IndexError:
            return False

    def _step_released(self):
        # type: () -> Iterable[AnyEvent]
        rest, self._rest = self._rest, ()
        self._enter(Phase.OPEN)
        self._needs_step = True
        return rest

    def force_disconnect(self):
        # type: () -> None
        super(QueuedSession, self).force_disconnect()
        if self._claim():
            self.dispose()      # as no driver does


class QueuedClientSession(QueuedSession, ClientSession):
    """Connects a websocket to its server, and drives the connection."""


def begin_client(websocket, outbox, timing, is_over, wake):
    # type: (Any, Outbox, Any, Callable[[], bool], Callable[[], Any]) -> QueuedClientSession
    """Begin a websocket's next connection; return its session.

    Parameters: ``outbox``, where its messages wait; ``timing``, a `lomond.websocket.Timing`;
    ``is_over``, which returns True once the user has closed the websocket, maybe before this;
    ``wake``, as for `Session.begin`.
    """
    session = websocket.new_session(
        partial(QueuedClientSession, outbox=outbox))  # type: QueuedClientSession
    session.begin_checked(wake, *timing)
    if is_over():       # that close() found no session
        session.close()
    return session


class QueuedServerSession(QueuedSession, ServerSession):
    """Answers a client's request, and drives the connection."""
