"""The session without a socket: its timers by a made-up clock, and calls before it runs."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import WebSocket, errors
from lomond.session import WebsocketSession, _Timers

NEVER = float('inf')


def make_timers(now=100.0, poll=None, ping_rate=None, ping_timeout=None):
    return _Timers(now, poll, ping_rate, ping_timeout)


def test_poll_is_due_after_its_interval_and_then_again():
    timers = make_timers(poll=5)
    assert not timers.poll_is_due(104.9)
    assert timers.poll_is_due(105.0)
    assert not timers.poll_is_due(105.0)
    assert timers.poll_is_due(110.0)


def test_a_late_poll_does_not_shift_the_next():
    timers = make_timers(poll=5)
    assert timers.poll_is_due(107.0)
    assert timers.next_poll == 110.0


def test_missed_polls_are_not_made_up_for():
    timers = make_timers(poll=5)
    assert timers.poll_is_due(1000.0)
    assert timers.next_poll == 1005.0


@pytest.mark.parametrize('never', [None, 0, 0.0])
def test_none_and_0_mean_never(never):
    timers = make_timers(poll=never, ping_rate=never, ping_timeout=never)
    assert not timers.poll_is_due(1e12)
    assert not timers.ping_is_due(1e12)
    timers.asked(1e12)
    assert not timers.is_silent(1e15)
    assert timers.verdict == NEVER


def test_ping_is_due_after_its_interval_whatever_poll_is():
    timers = make_timers(poll=1000, ping_rate=30)
    assert not timers.ping_is_due(129.9)
    assert timers.ping_is_due(130.0)
    assert not timers.ping_is_due(159.9)
    assert timers.ping_is_due(160.0)


def test_a_late_ping_sets_the_next_a_whole_interval_later():
    timers = make_timers(ping_rate=30)
    assert timers.ping_is_due(200.0)
    assert timers.next_ping == 230.0


def test_silence_counts_from_the_last_byte_heard():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.heard = 110.0
    timers.asked(130.0)
    assert not timers.is_silent(169.9)
    assert timers.is_silent(170.0)


def test_silence_is_none_before_a_ping_asked():
    timers = make_timers(ping_rate=30, ping_timeout=5)
    assert not timers.is_silent(129.0)
    timers.asked(130.0)
    assert not timers.is_silent(134.9)
    assert timers.is_silent(135.0)


def test_a_peer_that_was_asked_late_has_its_time_to_answer():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(1000.0)
    assert not timers.is_silent(1029.9)
    assert timers.is_silent(1030.0)


def test_a_second_ping_does_not_prolong_the_wait():
    timers = make_timers(ping_rate=10, ping_timeout=25)
    timers.asked(110.0)
    timers.asked(120.0)
    assert timers.verdict == 125.0


def test_any_byte_after_the_ping_is_an_answer():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    timers.heard = 140.0
    assert not timers.is_silent(10000.0)
    assert timers.verdict == NEVER


def test_an_answer_in_the_same_tick_of_the_clock_is_one():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    timers.heard = 130.0
    assert not timers.is_silent(10000.0)


def test_a_ping_after_an_answer_asks_anew():
    timers = make_timers(ping_rate=30, ping_timeout=60)
    timers.asked(130.0)
    timers.heard = 131.0
    timers.asked(160.0)
    assert timers.verdict == 191.0


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
    session.reply(10, b'pong')


@pytest.mark.parametrize('call', ['close', 'force_disconnect', 'dispose'])
def test_ending_a_session_that_never_ran_is_harmless(call):
    _websocket, session = make_session()
    getattr(session, call)()
    getattr(session, call)()


@pytest.mark.parametrize('call', ['close', 'force_disconnect'])
def test_ending_it_before_the_first_step_ends_it_before_the_network(call):
    websocket = WebSocket('ws://localhost/')
    loop = websocket.connect()
    getattr(websocket.session, call)()
    connecting, fail = loop
    assert connecting.name == 'connecting'
    assert fail.name == 'connect_fail'
    assert 'closed by the application' in fail.reason
    assert websocket.is_closed


def test_trace_without_a_tracer_does_nothing():
    _websocket, session = make_session()
    session.trace('stage', field=1)
