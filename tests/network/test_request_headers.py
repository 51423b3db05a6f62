"""What goes with the request on real connections: fresh tokens, cookies, passwords."""

from __future__ import absolute_import, division, print_function

import logging
import threading

import pytest

from lomond import WebSocket, errors
from lomond.http.url import basic_authorization
from lomond.persist import persist
from tests.network.driving import drain, read_to_close, wait_for
from tests.support import RawServer, answer_upgrade, get_header, make_close, names, read_head

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')


class Visits(object):
    """A script that sends one answer to each connection in turn, and keeps the requests."""

    def __init__(self, *answers):
        self._answers = list(answers)
        self.requests = []

    def __call__(self, sock):
        answer = self._answers.pop(0)
        if isinstance(answer, bytes):
            self.requests.append(read_head(sock))
            sock.sendall(answer)
            drain(sock)
        else:
            self.requests.append(answer_upgrade(sock, *answer))
            sock.sendall(make_close(1000))
            read_to_close(sock)

    def headers(self, name):
        return [get_header(request, name) for request in self.requests]


SECRETS = {
    'Authorization': 'Bearer hunter2', 'Cookie': 'session=hunter2', 'X-API-Key': 'hunter2',
    'X-Device': 'thermometer 7'}


def test_a_logged_trace_shows_no_secret(link, caplog):
    caplog.set_level(logging.DEBUG, 'lomond')
    visits = Visits([b'Set-Cookie: a=hunter2'])
    with link.serve(visits) as server:
        list(link.connect(server.url, headers=SECRETS, trace=True))
    assert visits.headers(b'Authorization') == [b'Bearer hunter2']
    assert 'thermometer 7' in caplog.text
    assert 'Authorization: ***' in caplog.text
    for record in caplog.records:
        assert 'hunter2' not in record.getMessage()
        assert 'hunter2' not in repr(record.args)
        assert b'hunter2' not in (record.args if isinstance(record.args, dict) else {}).get(
            'head', b'')


def test_a_tracer_gets_the_head_as_sent_and_one_to_show(link):
    records = []
    visits = Visits([])
    with link.serve(visits) as server:
        url = server.url.replace(u'//', u'//me:hunter2@')
        headers = {name: SECRETS[name] for name in SECRETS if name != 'Authorization'}
        list(link.connect(url, headers=headers, trace=records.append))
    record, = [record for record in records if record['stage'] == 'request']
    assert record['head'] == visits.requests[0]
    lines = record['redacted_head'].split(b'\r\n')
    assert len(lines) == record['head'].count(b'\r\n') + 1
    for line, shown in zip(record['head'].split(b'\r\n'), lines):
        name = line.partition(b':')[0]
        if name in (b'Authorization', b'Cookie', b'X-API-Key'):
            assert shown == name + b': ***'
        else:
            assert shown == line
    assert 'hunter2' not in ''.join(map(repr, records))


def test_a_request_goes_without_a_user_agent_that_is_none(link):
    visits = Visits([])
    with link.serve(visits) as server:
        events = list(link.connect(server.url, headers={'User-Agent': None}))
    assert events[-1].graceful
    assert b'user-agent' not in visits.requests[0].lower()


def test_a_token_is_fetched_for_each_attempt_as_late_as_possible(link):
    calls = []

    def make_headers():
        calls.append('asked')
        return {'Authorization': 'Bearer {}'.format(calls.count('asked'))}

    visits = Visits([], b'HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n', [])
    with link.serve(visits) as server:
        websocket = link.connect(
            server.url, headers=make_headers, trace=lambda record: calls.append(record['stage']))
        events = websocket.connect()
        assert calls == []
        for expected in ('ready', 'rejected', 'ready'):
            assert expected in names(events)
            events = websocket.connect()
        events.close()
    assert visits.headers(b'Authorization') == [b'Bearer 1', b'Bearer 2', b'Bearer 3']
    first = calls[:calls.index('request') + 1]
    assert first[-3:] == [first[-3], 'asked', 'request']
    assert first[-3] in ('connect', 'tls')


def test_a_function_that_fails_is_a_connect_fail_and_the_socket_is_closed(link):
    failure = RuntimeError('no token today')
    is_closed = threading.Event()

    def make_headers():
        raise failure

    def script(sock):
        assert drain(sock) == b''       # no request
        is_closed.set()

    with link.serve(script) as server:
        events = list(link.connect(server.url, headers=make_headers))
        wait_for(is_closed)
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'request'
    assert events[-1].cause is failure
    assert 'no token today' in events[-1].reason


def test_persist_goes_on_when_a_function_fails(caplog):
    tokens = iter([RuntimeError('not yet'), 5, {'X-Token': 'fresh'}])

    def make_headers():
        token = next(tokens)
        if isinstance(token, Exception):
            raise token
        return token

    visits = Visits([], [], [])
    with RawServer(visits) as server:
        seen = []
        websocket = WebSocket(server.url, headers=make_headers)
        for event in persist(websocket, min_wait=0, max_wait=0):
            seen.append(event.name)
            if event.name == 'ready':
                websocket.close()
    assert [name for name in seen if name in ('connect_fail', 'ready')] == [
        'connect_fail', 'connect_fail', 'ready']
    assert visits.headers(b'X-Token') == [b'fresh']
    assert 'the headers function failed' in caplog.text


def test_ctrl_c_in_a_function_goes_through():
    def make_headers():
        raise KeyboardInterrupt

    with RawServer(drain) as server:
        with pytest.raises(KeyboardInterrupt):
            list(WebSocket(server.url, headers=make_headers))


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_a_function_may_end_the_attempt(end):
    def make_headers():
        getattr(websocket, end)()
        return {}

    with RawServer(drain) as server:
        websocket = WebSocket(server.url, headers=make_headers)
        assert names(websocket)[-1] in ('connect_fail', 'disconnected')


def test_cookies_of_every_answer_are_sent_when_it_reconnects(link):
    """wss counts as https to a cookie that is secure."""
    visits = Visits(
        b'HTTP/1.1 403 No\r\nSet-Cookie: refused=1\r\nContent-Length: 0\r\n\r\n',
        [b'Set-Cookie: accepted=1; Path=/', b'Set-Cookie: safe=1; Secure'], [])
    with link.serve(visits) as server:
        websocket = link.connect(server.url, cookies=True)
        for expected in ('rejected', 'ready', 'ready'):
            assert expected in names(websocket)
    cookies = [set((value or b'').split(b'; ')) for value in visits.headers(b'Cookie')]
    last = {b'refused=1', b'accepted=1'}
    if server.url.startswith(u'wss'):
        last.add(b'safe=1')
    assert cookies[:2] == [{b''}, {b'refused=1'}]
    # Set over ws, a secure cookie is not sent back over ws.
    assert cookies[2] == last


def test_a_password_comes_from_netrc_at_each_attempt(tmpdir):
    path = tmpdir.join('netrc')
    visits = Visits([], [])
    with RawServer(visits) as server:
        path.write('machine 127.0.0.1 login me password one\n')
        websocket = WebSocket(server.url, netrc=str(path))
        list(websocket)
        path.write('machine 127.0.0.1 login me password two\n')
        list(websocket)
    assert visits.headers(b'Authorization') == [
        basic_authorization((u'me', password)).encode('ascii') for password in (u'one', u'two')]


def test_a_broken_netrc_is_a_connect_fail(tmpdir):
    path = tmpdir.join('netrc')
    path.write('machine 127.0.0.1 pass sesame')
    with RawServer(drain) as server:
        events = list(WebSocket(server.url, netrc=str(path)))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'request'
    assert 'netrc' in events[-1].reason
    assert 'sesame' not in repr(events[-1])


# -- the URL, between two connections --

def test_another_url_may_be_set_between_two_connections():
    visits = Visits([], [])
    with RawServer(visits) as server:
        websocket = WebSocket(server.url + u'one')
        list(websocket)
        websocket.url = server.url.replace(u'ws://', u'ws://me:pw@') + u'two'
        assert websocket.resource == u'/two'
        events = list(websocket)
    assert events[0].url == server.url + u'two'
    assert [request.split(b' ')[1] for request in visits.requests] == [b'/one', b'/two']
    assert visits.headers(b'Authorization') == [
        None, basic_authorization((u'me', u'pw')).encode('ascii')]


def test_no_url_can_be_set_while_a_loop_runs_nor_a_wrong_one_at_all():
    visits = Visits([])
    with RawServer(visits) as server:
        websocket = WebSocket(server.url)
        for event in websocket:
            if event.name != 'disconnected':
                with pytest.raises(errors.WebSocketUnavailable):
                    websocket.url = u'ws://example.org/'
        for wrong in (u'http://example.org/', u''):
            with pytest.raises(ValueError):
                websocket.url = wrong
        with pytest.raises(TypeError):
            websocket.url = None
        assert websocket.url == server.url
        assert websocket.target.url == server.url
