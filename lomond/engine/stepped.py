"""Sessions for drivers with many connections in one thread: neither a step nor a send waits."""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING, monotonic, thread_module
from lomond.engine.client import ClientSession
from lomond.engine.outbox import MAX_QUEUE, Outbox
from lomond.engine.queued import QueuedWriter
from lomond.engine.server import ServerSession
from lomond.engine.session import Session

if TYPE_CHECKING:
    from typing import Any, Callable, Optional  # noqa: F401


class QueuedSession(Session):
    """What sessions of clients and servers share.

    Parameters: ``outbox``, where messages wait: a new one by default; that of an earlier session
    keeps its messages until Ready has been handled; ``max_queue``, bytes that may wait in a new one
    (1 MiB), beyond which a send raises OutboxFull; None for no limit. The others as for `Session`.
    """

    writer_class = QueuedWriter  # type: Callable[..., Any]

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
