"""The session without a socket: calls before it runs."""

from __future__ import absolute_import, division, print_function

import sys

import pytest

from lomond import WebSocket, errors
from lomond.drivers import QueuedClientSession
from lomond.session import WebsocketSession
from tests.support import needs_sizes


def make_session(clock=lambda: 0.0):
    websocket = WebSocket('ws://localhost/')
    made = []

    def session_class(websocket):
        made.append(WebsocketSession(websocket, clock=clock))
        return made[0]

    websocket.connect(session_class=session_class)
    return websocket, made[0]


def test_session_time_counts_from_the_beginning():
    now = [50.0]
    _websocket, session = make_session(lambda: now[0])
    assert session.session_time == 0.0
    now[0] = 57.5
    assert session.session_time == 7.5


def test_session_is_made_with_the_websocket_alone():
    websocket = WebSocket('ws://localhost/')
    session = WebsocketSession(websocket)
    assert session.session_time >= 0
    assert session.sent_close_time is None
    assert not session.is_running


@needs_sizes
@pytest.mark.skipif(sys.version_info < (3,), reason='on 2.7 objects share no names')
def test_a_session_shares_the_names_of_its_attributes_with_others():
    """With 30 attributes instead of 29 it would be five times as large."""
    class Untouched(QueuedClientSession):
        """No test has set another attribute of an instance, which ends the sharing for all."""

    sessions = [WebSocket('ws://localhost/').new_session(Untouched) for _ in range(3)]
    assert sys.getsizeof(vars(sessions[-1])) < 600


def test_repr_names_the_websocket():
    _websocket, session = make_session()
    assert repr(session) == "<WebsocketSession WebSocket('ws://localhost/')>"


@pytest.mark.parametrize('call', [
    lambda session: session.write(b'data'),
    lambda session: session.send(1, b'data'),
    lambda session: session.send_compressed(1, b'data'),
])
def test_sending_before_the_connection_is_unavailable(call):
    _websocket, session = make_session()
    with pytest.raises(errors.WebSocketUnavailable) as caught:
        call(session)
    assert not isinstance(
        caught.value, (errors.WebSocketClosed, errors.WebSocketClosing))


def test_a_reply_that_cannot_be_sent_does_not_raise():
    _websocket, session = make_session()
    session.writer.reply(10, b'pong')


@pytest.mark.parametrize('call', ['close', 'force_disconnect', 'dispose'])
def test_ending_a_session_that_never_ran_is_harmless(call):
    _websocket, session = make_session()
    getattr(session, call)()
    getattr(session, call)()


def test_trace_without_a_tracer_does_nothing():
    _websocket, session = make_session()
    session.trace('stage', field=1)
