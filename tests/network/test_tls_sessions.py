"""TLS sessions: resumed by the next connection, and never where that would skip a check."""

from __future__ import absolute_import, division, print_function

import socket
import ssl

import pytest

from lomond import WebSocket
from lomond.net import tls
from lomond.net.tls import client as tls_client
from lomond.persist import persist
from lomond.server import Server
from tests.programs import wait_until
from tests.support import (
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    needs_refcounts,
    read_frame,
)

pytestmark = [
    pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open'),
    pytest.mark.skipif(not hasattr(ssl, 'SSLSession'), reason='needs Python 3.6'),
]


def test_a_session_is_kept_while_another_thread_takes_one():
    """A sender closes the last connection while the loop dials the next."""
    class Sessions(dict):
        def __iter__(self):
            for name in list(dict.__iter__(self)):
                dict.pop(self, name, None)      # the other thread
                yield name

        def __delitem__(self, name):
            dict.pop(self, name, None)
            dict.__delitem__(self, name)

    sessions = Sessions((number, object()) for number in range(tls_client.MAX_SESSIONS + 2))
    owner = object()
    kept = tls_client.TLSClient()
    kept.sessions = sessions
    kept.keep_session('new', owner)
    assert dict.get(sessions, 'new') is owner
    assert dict.__len__(sessions) <= tls_client.MAX_SESSIONS


def greet(websocket):
    """Say hello, then close when the client wants to."""
    for event in websocket:
        if event.name == 'ready':
            websocket.send_text(u'hello')


def context_for(authority, host, has_tls_1_3=True):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(host).configure_cert(context)
    if not has_tls_1_3:
        if hasattr(context, 'maximum_version'):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        else:
            context.options |= ssl.OP_NO_TLSv1_3
    return context


class Client(object):
    """A WebSocket, and whether each of its handshakes resumed."""

    def __init__(self, url, **options):
        self.resumed = []
        self.websocket = WebSocket(url, trace=self._trace, **options)

    def _trace(self, record):
        if record['stage'] == 'tls':
            self.resumed.append(record['resumed'])

    def live(self, end='close'):
        """Go through a connection, ended after the first message; return the events."""
        events = []
        for event in self.websocket:
            events.append(event)
            if event.name == 'text':
                if end == 'break':
                    break
                getattr(self.websocket, end)()
        return events

    @property
    def kept(self):
        """The sessions that the next connection could resume."""
        return self.websocket.dialer.tls.sessions


def change_and_keep(websocket, option, value):
    """Set an option of TLS, but keep the sessions, which that forgets."""
    sessions = websocket.dialer.tls.sessions
    setattr(websocket, option, value)
    assert not websocket.dialer.tls.sessions
    websocket.dialer.tls.sessions = sessions


def by_name(server):
    return server.url.replace(u'127.0.0.1', u'localhost')


@pytest.fixture
def server(server_tls):
    with Server(greet, ssl_context=server_tls) as server:
        yield server


@pytest.fixture
def client(server, authority_file):
    return Client(server.url, ssl_cafile=authority_file)


# -- it resumes --

@pytest.mark.parametrize('has_tls_1_3', [False, True])
@pytest.mark.parametrize('has_context', [False, True])
def test_next_connection_resumes(authority, authority_file, has_tls_1_3, has_context):
    context = context_for(authority, u'127.0.0.1', has_tls_1_3)
    options = {'ssl_cafile': authority_file}
    if has_context:
        options = {'ssl_context': ssl.create_default_context(cafile=authority_file)}
    with Server(greet, ssl_context=context) as server:
        client = Client(server.url, **options)
        for _ in range(3):
            assert client.live()[-1].graceful
    assert client.resumed == [False, True, True]


@pytest.mark.parametrize('end', [
    pytest.param('break', marks=needs_refcounts), 'force_disconnect'])
def test_end_of_our_own_making_keeps_the_session(client, end):
    client.live(end)
    client.live(end)
    assert client.resumed == [False, True]


def test_reconnection_of_persist_resumes(client):
    for event in persist(client.websocket, min_wait=0, max_wait=0):
        if event.name == 'text':
            if len(client.resumed) < 3:
                client.websocket.session.force_disconnect()
            else:
                client.websocket.close()
    assert client.resumed == [False, True, True]


def test_two_websockets_share_nothing(server, authority_file):
    for _ in range(2):
        client = Client(server.url, ssl_cafile=authority_file)
        client.live()
        assert client.resumed == [False]


# -- it falls back --

def test_server_that_knows_the_session_no_more_is_a_full_handshake(client, authority):
    """A restart, or another machine behind the same name."""
    client.live()
    with Server(greet, ssl_context=context_for(authority, u'127.0.0.1')) as other:
        client.websocket.url = other.url
        assert client.kept
        assert client.live()[-1].graceful
        assert client.live()[-1].graceful
    assert client.resumed == [False, False, True]


def test_session_of_another_version_of_tls_is_a_full_handshake(client, authority):
    client.live()
    context = context_for(authority, u'127.0.0.1', has_tls_1_3=False)
    with Server(greet, ssl_context=context) as other:
        client.websocket.url = other.url
        assert client.kept
        assert client.live()[-1].graceful
    assert client.resumed == [False, False]


# -- it skips no check --

def test_session_serves_the_name_that_was_verified_and_no_other(authority, authority_file):
    with Server(greet, ssl_context=context_for(authority, u'localhost')) as server:
        client = Client(by_name(server), ssl_cafile=authority_file)
        client.live()
        assert client.kept
        client.websocket.url = server.url       # 127.0.0.1, for which the certificate isn't
        events = client.live()
        assert names(events) == ['connecting', 'connect_fail']
        assert events[-1].phase == 'tls'
        client.websocket.url = by_name(server)
        client.live()
    assert client.resumed == [False, True]


def test_session_made_without_a_check_does_not_replace_it(server):
    """The caller's context may become strict, in whatever order."""
    context = tls.client_context(verify=False)
    client = Client(server.url, ssl_context=context)
    client.live()
    assert client.kept
    context.verify_mode = ssl.CERT_REQUIRED
    events = client.live()
    assert names(events) == ['connecting', 'connect_fail']
    assert 'verify failed' in events[-1].reason


def test_fingerprint_is_checked_on_a_resumed_session(server, server_tls):
    client = Client(server.url, ssl_verify=False, ssl_fingerprint='0' * 64)
    found = client.live()[-1].reason.split()[-1]
    client.websocket.ssl_fingerprint = found
    client.live()
    client.live()
    assert client.resumed == [False, True]
    hits = server_tls.session_stats()['hits']
    change_and_keep(client.websocket, 'ssl_fingerprint', '0' * 64)
    events = client.live()
    assert names(events) == ['connecting', 'connect_fail']
    assert found in events[-1].reason
    # It was resumed, and refused all the same.
    wait_until(lambda: server_tls.session_stats()['hits'] == hits + 1, 'the server resumes')


# -- what is not kept --

def cut(sock):
    sock.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize('ends_tls, kept', [(True, 1), (False, 0)])
def test_connection_that_was_cut_leaves_no_session(server_tls, authority_file, ends_tls, kept):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'hi') + make_close(1000))
        read_frame(sock)
        if ends_tls:
            sock.unwrap()
    with RawServer(script, server_tls) as server:
        client = Client(server.url, ssl_cafile=authority_file)
        list(client.websocket)
    assert len(client.kept) == kept


def test_garbage_leaves_no_session(server_tls, authority_file):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'hi'))
        raw = socket.socket(fileno=sock.detach())
        raw.sendall(b'no TLS record at all')
        raw.close()
    with RawServer(script, server_tls) as server:
        client = Client(server.url, ssl_cafile=authority_file)
        list(client.websocket)
    assert client.resumed == [False]
    assert not client.kept


def test_failed_handshake_leaves_no_session(server, authority_file):
    client = Client(server.url)                 # trusts others
    assert client.live()[-1].phase == 'tls'
    pinning = Client(server.url, ssl_cafile=authority_file, ssl_fingerprint='0' * 64)
    assert pinning.live()[-1].phase == 'tls'
    assert not client.kept and not pinning.kept


def test_session_is_offered_once(client):
    """RFC 8446 C.4: who looks on could tell that it is the same client."""
    client.live()
    kept, = client.kept.values()
    with RawServer(cut) as other:
        client.websocket.url = other.url.replace(u'ws:', u'wss:')
        assert client.live()[-1].phase == 'tls'
    assert not client.kept


def test_few_sessions_are_kept(server):
    client = Client(server.url, ssl_verify=False)
    for number in range(tls_client.MAX_SESSIONS + 3):
        change_and_keep(client.websocket, 'ssl_server_hostname', 'host-{}'.format(number))
        client.live()
    assert len(client.kept) == tls_client.MAX_SESSIONS
    assert {key[1] for key in client.kept} == {
        'host-{}'.format(last) for last in range(number + 1 - tls_client.MAX_SESSIONS, number + 1)}


def test_where_each_resumption_leaks_they_are_few(client, monkeypatch):
    monkeypatch.setattr(tls_client, 'SESSIONS_LEAK', True)
    monkeypatch.setattr(tls_client, 'MAX_LEAKS', 2)
    for _ in range(5):
        assert client.live()[-1].graceful
    assert client.resumed == [False, True, True, False, False]


def test_where_none_leaks_there_may_be_many(client, monkeypatch):
    monkeypatch.setattr(tls_client, 'SESSIONS_LEAK', False)
    monkeypatch.setattr(tls_client, 'MAX_LEAKS', 0)
    client.live()
    client.live()
    assert client.resumed == [False, True]


def test_context_of_the_caller_is_not_changed(server, authority_file):
    context = ssl.create_default_context(cafile=authority_file)
    before = look(context)
    client = Client(server.url, ssl_context=context)
    client.live()
    client.live()
    assert client.resumed == [False, True]
    assert look(context) == before


def look(context):
    return {name: getattr(context, name) for name in (
        'options', 'verify_flags', 'verify_mode', 'check_hostname', 'sni_callback')
        if hasattr(context, name)}
