"""FakeWebSocket: a WebSocket whose events a test gives, wherever a WebSocket goes."""

from __future__ import absolute_import, division, print_function

import re

import pytest

from lomond import errors, events
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.response import Response
from lomond.testing import FakeWebSocket, skip_back_offs
from tests.support import names

READY = events.Ready(Response(b'HTTP/1.1 101 Switching Protocols\r\n\r\n'), None, set())


# -- in a loop --

def test_events_come_as_given_and_what_is_left_out_is_added():
    given = [u'a', b'\0', {'b': [1]}, events.Ping(b'x')]
    assert list(FakeWebSocket(given)) == [
        READY, events.Text(u'a'), events.Binary(b'\0'), events.Text(u'{"b": [1]}'),
        events.Ping(b'x'), events.Disconnected(u'this FakeWebSocket has no more events')]


@pytest.mark.parametrize('given', [
    [events.Connecting(u'ws://a/'), events.Connected(u'ws://a/'), READY, events.Text(u'a'),
     events.Disconnected(u'cut off')],
    [events.ConnectFail(u'no network')],
    [events.Rejected(Response(b'HTTP/1.1 503 No\r\n\r\n'), u'no'), events.Disconnected(u'no')],
    [READY, events.Poll(), events.Unresponsive(), events.Disconnected(u'silent')],
    [READY, events.Closing(1001, u'away'), events.Disconnected(graceful=True)],
])
def test_whole_life_comes_as_given(given):
    seen = list(FakeWebSocket(given))
    assert all(one is other for one, other in zip(seen, given))
    assert len(seen) == len(given)


@pytest.mark.parametrize('given, added', [
    ([], [READY, events.Disconnected(u'this FakeWebSocket has no more events')]),
    ([events.Rejected(None, u'no')], [events.Disconnected(u'no')]),
    ([events.Closing(1001, u'')], [events.Disconnected(graceful=True)]),
    ([events.Connecting(u'ws://a/')],
     [READY, events.Disconnected(u'this FakeWebSocket has no more events')])])
def test_end_is_added(given, added):
    seen = list(FakeWebSocket(given))
    assert seen[-len(added):] == added


def test_states_are_those_of_a_connection():
    websocket = FakeWebSocket([u'a', events.Closing(4000, u'bye')])
    states = []
    for event in websocket:
        states.append((event.name, websocket.state, websocket.is_open))
    assert states == [
        ('ready', 'open', True), ('text', 'open', True), ('closing', 'peer_closing', False),
        ('disconnected', 'closed', False)]
    assert websocket.close_received == (4000, u'bye')
    assert websocket.close_sent == (4000, u'')


def test_close_of_the_program_is_answered():
    websocket = FakeWebSocket([u'a', u'b'])
    seen = []
    for event in websocket:
        seen.append(event)
        if event.name == 'text':
            websocket.close(4000, u'enough')
    assert seen[1:] == [
        events.Text(u'a'), events.Closed(4000, u'enough'), events.Disconnected(graceful=True)]
    assert websocket.close_sent == (4000, u'enough')


def test_no_event_comes_after_a_close_while_the_function_runs():
    def server(websocket):
        yield u'a'
        websocket.close()       # as another thread of the program would
        yield u'b'

    assert names(FakeWebSocket(server)) == ['ready', 'text', 'closed', 'disconnected']


def test_connection_that_the_program_breaks_ends():
    websocket = FakeWebSocket([u'a', u'b'])
    seen = []
    for event in websocket:
        seen.append(event)
        if event.name == 'text':
            websocket.force_disconnect()
    assert seen[-1] == events.Disconnected(u'disconnected by the application')
    assert len(seen) == 3


def test_attempt_that_the_program_gives_up_fails():
    websocket = FakeWebSocket([events.Connecting(u'ws://a/'), u'a'])
    seen = []
    for event in websocket:
        seen.append(event)
        websocket.close()
    assert [event.name for event in seen] == ['connecting', 'connect_fail']


def test_function_answers_what_the_program_sends():
    def server(websocket):
        yield u'who?'
        yield u'hello ' + websocket.sent[-1]

    websocket = FakeWebSocket(server)
    for event in websocket:
        if event == events.Text(u'who?'):
            websocket.send_text(u'me')
    websocket.assert_sent(u'me')
    assert event.name == 'disconnected'


def test_json_and_utf8_are_read_as_the_options_say():
    text, = [event for event in FakeWebSocket([u'[1]'], json_loads=lambda text: 'read ' + text)
             if event.name == 'text']
    assert text.json == 'read [1]'
    text, = [event for event in FakeWebSocket([u'\xe9'], text_as_bytes=True)
             if event.name == 'text']
    assert text.data == u'\xe9'.encode('utf-8')


# -- sending --

def test_what_was_sent_is_recorded():
    websocket = FakeWebSocket([])
    for event in websocket:
        if event.name == 'ready':
            websocket.send_text(u'a')
            websocket.send_binary(bytearray(b'b'))
            websocket.send_utf8(b'c')
            websocket.send_json(d=1)
            websocket.send_many([u'e', b'f'])
            websocket.send_text(iter([u'g', u'h']))
            websocket.send_ping(b'i')
            websocket.send_pong(b'j')
    assert websocket.sent == [u'a', b'b', u'c', u'{"d": 1}', u'e', b'f', u'gh']
    assert (websocket.pings, websocket.pongs) == ([b'i'], [b'j'])
    websocket.assert_sent(
        u'a', b'b', lambda text: text == u'c', {'d': 1}, re.compile(u'e'), None, u'gh')


def test_sends_are_refused_as_by_a_connection():
    websocket = FakeWebSocket([u'a'])
    with pytest.raises(errors.WebSocketUnavailable):
        websocket.send_text(u'too early')
    for event in websocket:
        if event.name == 'text':
            with pytest.raises(TypeError):
                websocket.send_text(b'bytes')
            with pytest.raises(ValueError):
                websocket.send_ping(b'x' * 126)
            websocket.close()
            with pytest.raises(errors.WebSocketClosing):
                websocket.send_text(u'too late')
    with pytest.raises(errors.WebSocketClosed):
        websocket.send_text(u'too late')
    assert websocket.sent == []


@pytest.mark.parametrize('expected, words', [
    ((u'a',), '1 messages were expected, and 2 sent'),
    ((u'a', u'c'), 'message 2 is .*, not '),
    ((u'a', u'b', u'c'), '2 messages were sent, and not .*c.* as the next one'),
    ((b'a', u'b'), 'message 1 is ')])
def test_assertion_says_what_was_sent_instead(expected, words):
    websocket = FakeWebSocket([])
    for event in websocket:
        if event.name == 'ready':
            websocket.send_many([u'a', u'b'])
    with pytest.raises(AssertionError, match=words):
        websocket.assert_sent(*expected)


# -- with what reconnects --

def test_persist_takes_one_script_after_the_other_without_waiting():
    websocket = FakeWebSocket(
        [u'a', events.Disconnected(u'cut off')], [events.ConnectFail(u'no')], [u'b'])
    seen = list(persist(websocket, min_wait=1000, max_wait=1000))
    assert names(seen) == [
        'ready', 'text', 'disconnected', 'back_off', 'connect_fail', 'back_off', 'ready', 'text',
        'disconnected', 'back_off']
    assert websocket.back_offs == [1000.0] * 3
    assert seen[3] == events.BackOff(1000.0, u'cut off')
    assert [event.connection for event in seen if event.name == 'ready'] == [1, 2]


def test_policy_gives_up_as_with_a_server():
    websocket = FakeWebSocket([events.Closing(4001, u'bye')], [u'never'])
    seen = list(persist(websocket, policy=ReconnectPolicy(stop_on_code=4001)))
    assert seen[-1].name == 'gave_up'


def test_persist_ends_when_the_program_closes():
    websocket = FakeWebSocket([u'a'], [u'b'])
    for event in persist(websocket):
        if event.name == 'text':
            websocket.close()
    assert event == events.Disconnected(graceful=True)


def test_skipped_back_offs_are_those_of_the_block():
    with skip_back_offs() as delays:
        list(persist(FakeWebSocket([u'a'], [u'b'])))
    assert len(delays) == 2


def test_pool_takes_it_beside_others():
    pool = Pool()
    one = pool.add(FakeWebSocket([u'a'], [u'b']), ReconnectPolicy(min_wait=1000, max_wait=2000))
    other = pool.add(FakeWebSocket([u'c'] * 3))
    seen = {one: [], other: []}
    for websocket, event in pool:
        seen[websocket].append(event)
        if event.name == 'ready' and websocket is other:
            assert pool.broadcast(u'all') >= 1
    assert names(seen[one]) == ['ready', 'text', 'disconnected', 'back_off'] * 2
    assert names(seen[other]) == ['ready', 'text', 'text', 'text', 'disconnected']
    other.assert_sent(u'all')


def test_script_without_an_end_leaves_the_others_of_a_pool_their_turns():
    def endless(_websocket):
        while True:
            yield u'x'

    pool = Pool()
    pool.add(FakeWebSocket(endless))
    other = pool.add(FakeWebSocket([u'a']))
    for websocket, event in pool:
        if websocket is other and event.name == 'disconnected':
            break
    assert other.is_closed


def test_it_stays_in_its_pool():
    pool = Pool()
    websocket = pool.add(FakeWebSocket([u'a', u'b']))
    for _websocket, event in pool:
        if event.name == 'text':
            with pytest.raises(errors.WebSocketUnavailable):
                pool.remove(websocket, close=False)
            pool.remove(websocket)


# -- with calls, and in a handler --

def test_calls_take_the_messages():
    with FakeWebSocket([u'a', b'b', events.Closing(1000, u'')]) as websocket:
        assert websocket.open(timeout=1).name == 'ready'
        assert websocket.receive(timeout=1) == u'a'
        assert websocket.ping(timeout=1) >= 0
        websocket.send_text(u'c')
        assert list(websocket.messages()) == [b'b']
    websocket.assert_sent(u'c')


def test_failure_is_an_error_of_open():
    with pytest.raises(errors.ConnectFail, match='no network'):
        FakeWebSocket([events.ConnectFail(u'no network')]).open()
    with pytest.raises(errors.Rejected):
        FakeWebSocket([events.Rejected(None, u'no')]).open()


def greet(websocket):
    """A handler of `lomond.server`."""
    name = websocket.request.query.partition(u'=')[2]
    for event in websocket:
        if event.name == 'ready':
            assert event.response is websocket.request
            websocket.send_text(u'hello ' + name)
        elif event.name == 'text':
            websocket.send_text(event.text)


def greet_by_calls(websocket):
    websocket.send_text(u'hello ' + websocket.request.query.partition(u'=')[2])
    for message in websocket.messages():
        websocket.send_text(message)


def test_handler_takes_it():
    for handler in (greet, greet_by_calls):
        websocket = FakeWebSocket(
            [u'a', u'b', events.Closing(1000, u'')], request=u'/chat?name=me')
        handler(websocket)
        websocket.assert_sent(u'hello me', u'a', u'b')


def test_handler_of_wsgi_finds_the_environ_that_the_test_sets():
    websocket = FakeWebSocket([], request=u'/')
    assert websocket.environ is None        # as on a Server
    websocket.environ = {'wsgi.url_scheme': 'http'}


def test_client_of_a_handler_may_be_a_function():
    def client(websocket):
        assert websocket.sent == [u'hello me']      # the handler has begun
        yield u'a'

    websocket = FakeWebSocket(client, request=u'/chat?name=me')
    greet(websocket)
    websocket.assert_sent(u'hello me', u'a')


def test_function_sees_what_is_sent_at_ready_after_an_event():
    seen = []

    def server(websocket):
        seen.append(list(websocket.sent))
        yield events.Poll()
        seen.append(list(websocket.sent))
        yield u'a'

    websocket = FakeWebSocket(server)
    for event in websocket:
        if event.name == 'ready':
            websocket.send_text(u'hello')
    assert seen == [[], [u'hello']]


# -- used wrongly --

def test_connection_without_events_is_an_error():
    websocket = FakeWebSocket([u'a'])
    list(websocket)
    with pytest.raises(AssertionError, match='has the events of 1 connections'):
        list(websocket)


@pytest.mark.parametrize('given', [u'a', {'a': 1}, 1, None, events.Text(u'a')])
def test_events_must_be_a_list(given):
    with pytest.raises(TypeError, match=r'FakeWebSocket\(\[...\]\)'):
        FakeWebSocket(given)
    # A function that does not yield, for example.
    with pytest.raises(TypeError, match='returns or yields events'):
        list(FakeWebSocket(lambda _websocket: given))


@pytest.mark.parametrize('given', [[1], [u'a', None], (events.Text,)])
def test_unknown_event_in_a_list_is_refused_at_once(given):
    with pytest.raises(TypeError, match='a message is text'):
        FakeWebSocket(given)
    with pytest.raises(TypeError, match='a message is text'):
        list(FakeWebSocket(lambda _websocket: given))


def test_unknown_option_is_refused():
    with pytest.raises(TypeError):
        FakeWebSocket([], poll=1)


def test_connection_that_could_not_begin_is_over():
    websocket = FakeWebSocket(lambda _websocket: 1 / 0, [u'a'])
    with pytest.raises(ZeroDivisionError):
        list(websocket)
    assert names(websocket) == ['ready', 'text', 'disconnected']
    for _time in range(2):
        with pytest.raises(AssertionError, match='has the events of 2 connections'):
            list(websocket)


def test_there_is_no_descriptor_and_no_address():
    websocket = FakeWebSocket([])
    for _event in websocket:
        assert websocket.peer_address is None
        with pytest.raises(errors.WebSocketUnavailable):
            websocket.fileno()
