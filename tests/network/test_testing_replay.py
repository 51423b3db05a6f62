"""replay and replay_server: what a browser has recorded, as events and as a server."""

from __future__ import absolute_import, division, print_function

import base64
import io
import json

import pytest

from lomond import WebSocket, events
from lomond._compat import monotonic, native_to_text
from lomond.persist import persist
from lomond.testing import redirect, replay, replay_server
from tests.support import PATIENCE, names

pytestmark = pytest.mark.usefixtures('nothing_is_left_open', 'clean_environment')

BEGAN = 1700000000.0


def message(kind, time, data, opcode=1):
    if opcode != 1:
        data = base64.b64encode(data).decode('ascii')
    return {'type': kind, 'time': BEGAN + time, 'opcode': opcode, 'data': data}


def entry(url, *messages):
    return {
        'startedDateTime': '2023-11-14T22:13:20.000Z', '_resourceType': 'websocket',
        'request': {'url': url, 'headers': []},
        'response': {'status': 101, 'headers': [
            {'name': 'Sec-WebSocket-Protocol', 'value': 'chat'}]},
        '_webSocketMessages': list(messages)}


#: As a browser writes it: one connection, which subscribes.
FEED = entry(
    u'wss://api.example.com/feed', message('send', 0, u'subscribe'), message('receive', 1, u'ok'),
    message('receive', 61, b'\0\1', 2), message('send', 62, u'thanks'),
    message('receive', 63, u'last'))

AGAIN = entry(u'wss://api.example.com/feed', message('receive', 100, u'again'))

OTHER = entry(
    u'ws://other.example/', message('receive', 0, b'ping!', 9),
    message('receive', 1, b'\x03\xe9away', 8))

BROKEN = entry(u'ws://broken.example/', message('receive', 0, u'a'),
               {'type': 'error', 'time': BEGAN + 1, 'opcode': -1, 'data': u'cut off'},
               message('receive', 2, u'never'))


@pytest.fixture
def save(tmpdir):
    """Write connections into a HAR file; return its path."""
    def save(*entries):
        path = str(tmpdir.join('session.har'))
        with io.open(path, 'w', encoding='utf-8') as har:
            har.write(native_to_text(json.dumps({'log': {'entries': entries}})))
        return path
    return save


# -- events --

def test_events_are_what_the_client_received_with_their_times(save):
    websocket = replay(save(FEED))
    seen = list(websocket)
    assert seen[1:] == [
        events.Text(u'ok'), events.Binary(b'\0\1'), events.Text(u'last'),
        events.Disconnected(u'the recording ends here')]
    assert [event.received_time - BEGAN for event in seen] == [0, 1, 61, 63, 63]
    assert (websocket.url, websocket.protocol) == (u'wss://api.example.com/feed', u'chat')


def test_connections_to_one_url_follow_each_other(save):
    websocket = replay(save(FEED, OTHER, AGAIN))
    seen = []
    for event in persist(websocket):
        seen.append(event)
        if event.name == 'ready':
            websocket.send_text(u'subscribe')
    assert [event.text for event in seen if event.name == 'text'] == [u'ok', u'last', u'again']
    websocket.assert_sent(u'subscribe', u'subscribe')


def failed(url, status):
    """An attempt to connect that failed, as `lomond record --persist` writes it."""
    return dict(entry(url), response={'status': status, 'headers': []})


@pytest.mark.parametrize('status', [0, 503])
def test_attempts_that_failed_are_left_out(save, status):
    url = u'wss://api.example.com/feed'
    path = save(failed(u'ws://b/', status), failed(url, status), AGAIN, failed(url, status), AGAIN)
    assert names(persist(replay(path))).count('ready') == 2
    with replay_server(path) as server:
        for _ in range(2):
            websocket = WebSocket(server.url)
            for event in websocket:
                if event.name == 'text':
                    websocket.close()
            assert websocket.stats.received.messages == 1


def test_a_connection_without_messages_is_played_as_one(save):
    path = save(entry(u'wss://api.example.com/feed'), FEED)
    assert names(list(replay(path))) == ['ready', 'disconnected']


def test_errors_name_a_file_with_any_letters(tmpdir):
    path = tmpdir.join(u'\u6f22.har')
    for content, words in [
            (b"{", "is not a HAR file"), (b"{\"log\": {\"entries\": []}}", "no WebSocket")]:
        path.write_binary(content)
        with pytest.raises(ValueError, match=words):
            replay(path.strpath)
    path.write_binary(json.dumps({'log': {'entries': [OTHER]}}).encode('ascii'))
    with pytest.raises(ValueError, match='no connection to'):
        replay(path.strpath, url=u'ws://\u6f22/')


def test_url_chooses_the_connections(save):
    seen = list(replay(save(FEED, OTHER), url=u'ws://other.example/'))
    assert seen[1:] == [
        events.Ping(b'ping!'), events.Closing(1001, u'away'), events.Disconnected(graceful=True)]
    with pytest.raises(ValueError, match='no connection to ws://x/, but to ws://other.example/'):
        replay(save(OTHER), url=u'ws://x/')


def test_recorded_error_ends_the_connection(save):
    assert list(replay(save(BROKEN)))[1:] == [events.Text(u'a'), events.Disconnected(u'cut off')]


def test_options_are_those_of_a_websocket(save):
    texts = [event.json for event in replay(save(AGAIN), json_loads=len) if event.name == 'text']
    assert texts == [5]


def test_events_come_at_a_pace(save):
    begun = monotonic()
    seen = list(replay(save(FEED), speed=630))      # 63 seconds
    assert monotonic() - begun >= 0.09
    assert names(seen)[-1] == 'disconnected'


@pytest.mark.parametrize('speed, error', [(0, ValueError), (-1, ValueError), (u'1', TypeError)])
def test_speed_is_checked(save, speed, error):
    with pytest.raises(error):
        replay(save(FEED), speed=speed)


# -- a server --

def main():
    """A program with a URL of its own, and with the manners of the one that was recorded."""
    websocket = WebSocket(u'wss://api.example.com/feed')
    seen = []
    for event in websocket.connect(close_timeout=PATIENCE):
        if event.name == 'ready':
            websocket.send_text(u'subscribe')
        elif event.name == 'binary':
            websocket.send_text(u'thanks')
        elif event == events.Text(u'last'):
            websocket.close()
        seen.append(event)
    return seen


def test_server_says_what_was_recorded_in_its_order(save):
    with replay_server(save(FEED), tls=True) as server, redirect(server):
        seen = main()
    assert [event for event in seen if event.name in ('text', 'binary')] == [
        events.Text(u'ok'), events.Binary(b'\0\1'), events.Text(u'last')]
    assert server.received == [u'subscribe', u'thanks']


def test_server_compares_what_the_client_sends(save):
    other = dict(FEED, _webSocketMessages=[message('send', 0, u'other')])
    with pytest.raises(AssertionError, match='another message came'):
        with replay_server(save(other), tls=True) as server, redirect(server):
            main()


def test_server_takes_any_message_of_the_client_if_it_is_to(save):
    other = dict(FEED, _webSocketMessages=[
        message('send', 0, u'other'), message('receive', 1, u'last')])
    with replay_server(save(other), check=False, tls=True) as server, redirect(server):
        assert main()[-1].graceful


def test_server_pings_closes_and_drops_as_recorded(save):
    with replay_server(save(OTHER)) as server:
        seen = names(WebSocket(server.url))
    assert seen[-3:] == ['ping', 'closing', 'disconnected']
    with replay_server(save(BROKEN)) as server:
        seen = list(WebSocket(server.url))
    assert not seen[-1].graceful
    assert events.Text(u'a') in seen


def test_server_drops_each_connection_but_the_last(save):
    with replay_server(save(AGAIN, AGAIN)) as server:
        websocket = WebSocket(server.url)
        assert not list(websocket)[-1].graceful
        for event in websocket:
            if event.name == 'text':
                websocket.close()
        assert event.graceful
