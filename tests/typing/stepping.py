"""A driver of one's own."""

from functools import partial
from typing import List, Optional

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.drivers import READ, WRITE, QueuedClientSession


def wake() -> None:
    pass


def drive(websocket: WebSocket) -> None:
    session: QueuedClientSession = websocket.new_session(QueuedClientSession)
    session.begin(poll=1, ping_timeout=None, wake=wake, heartbeat=20)
    while not session.is_finished:
        for event in session.step():
            if event.name == 'text':
                assert_type(event.text, str)
        assert_type([fd for fd, mask in session.interest if mask & (READ | WRITE)], List[int])
        assert_type(session.time_left(), Optional[float])
    session.wake()
    session.dispose()
    websocket.new_session(partial(QueuedClientSession, max_queue=None))


def wrong(session: QueuedClientSession) -> None:
    session.begin(wake=5)  # error: arg-type reportArgumentType
    session.begin(poll='1')  # error: arg-type reportArgumentType
