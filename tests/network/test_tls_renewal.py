"""Certificates that are renewed while a program runs: the next connection goes by them."""

from __future__ import absolute_import, division, print_function

import gc
import os
import shutil
import socket
import ssl
import threading
import weakref

import pytest
import trustme

from lomond import WebSocket
from lomond.net import tls
from lomond.persist import persist
from lomond.server import Server
from tests.network.driving import drain, wait_for
from tests.network.test_tls import make_directory
from tests.support import (
    RawServer,
    answer_upgrade,
    make_close,
    names,
    needs_refcounts,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

needs_sessions = pytest.mark.skipif(
    not hasattr(ssl, 'SSLSession'), reason='needs Python 3.6')

#: How a program may replace a file: by a new one, or by writing into the old one.
WAYS = ['rename', 'in place']


def replace(path, data, way='rename'):
    if way == 'rename':
        with open(path + '.new', 'wb') as file:
            file.write(data)
        os.rename(path + '.new', path)
    else:
        with open(path, 'r+b') as file:
            file.truncate()
            # A comment of another length: within a few milliseconds a system's clock may not go on.
            file.write(b'#' * (os.path.getsize(path) % 7 + 1) + b'\n' + data)


def say_bye(sock):
    answer_upgrade(sock)
    sock.sendall(make_close(1000))
    read_frame(sock)
    sock.unwrap()


def context_for(certificate, authority=None):
    """Make a server's context; with an authority it wants a certificate of its clients."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    if authority is not None:
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class Shop(object):
    """A server that notes who its clients are, and files of certificates for these."""

    def __init__(self, authority, tmpdir):
        self.certificates = [
            authority.issue_cert(u'client-{}.example'.format(number)) for number in range(3)]
        self.path = str(tmpdir.join('client.pem'))
        self.key_path = str(tmpdir.join('key.pem'))
        self.seen = []
        context = context_for(authority.issue_cert(u'127.0.0.1'), authority)
        self.server = RawServer(self._script, context)

    def _script(self, sock):
        self.seen.append(dict(sock.getpeercert()['subjectAltName'])['DNS'])
        say_bye(sock)

    def renew(self, number, way='rename'):
        replace(self.path, self.certificates[number].private_key_and_cert_chain_pem.bytes(), way)


@pytest.fixture
def shop(authority, tmpdir):
    shop = Shop(authority, tmpdir)
    with shop.server:
        yield shop


# -- the client's own --

@pytest.mark.parametrize('way', WAYS)
def test_persist_shows_a_certificate_that_was_renewed_while_it_ran(shop, authority_file, way):
    shop.renew(0)
    websocket = WebSocket(shop.server.url, ssl_cafile=authority_file, ssl_certfile=shop.path)
    told = []
    for event in persist(websocket, min_wait=0, max_wait=0):
        told.append(event)
        if event.name == 'back_off':
            if len(shop.seen) == 6:
                break
            shop.renew(len(shop.seen) // 2, way)
    assert 'connect_fail' not in names(told)
    assert shop.seen == ['client-{}.example'.format(number) for number in (0, 0, 1, 1, 2, 2)]


def test_certificate_and_key_that_are_renewed_one_after_the_other_do_not_end_persist(
        shop, authority_file):
    """In between the key is another certificate's: that is a failure, and no more than that."""
    def write(path, number, what):
        replace(path, getattr(shop.certificates[number], what).bytes())

    write(shop.key_path, 0, 'private_key_pem')
    replace(shop.path, shop.certificates[0].cert_chain_pems[0].bytes())
    websocket = WebSocket(shop.server.url, ssl_cafile=authority_file, ssl_certfile=shop.path,
                          ssl_keyfile=shop.key_path)
    steps = iter([
        lambda: replace(shop.path, shop.certificates[1].cert_chain_pems[0].bytes()),
        lambda: write(shop.key_path, 1, 'private_key_pem'),
    ])
    ends = []
    for event in persist(websocket, min_wait=0, max_wait=0):
        if event.name in ('connect_fail', 'disconnected'):
            ends.append(event)
        elif event.name == 'back_off':
            step = next(steps, None)
            if step is None:
                break
            step()
    assert names(ends) == ['disconnected', 'connect_fail', 'disconnected']
    assert shop.seen == ['client-0.example', 'client-1.example']
    failure = ends[1]
    assert failure.phase == 'tls'
    assert shop.path in failure.reason
    assert shop.key_path in failure.reason


@pytest.mark.parametrize('share', [None, 0.0, 0.3, 0.7], ids=['gone', 'empty', 'key', 'more'])
def test_file_that_is_being_replaced_is_a_connect_fail_that_names_it(shop, authority_file, share):
    shop.renew(0)
    websocket = WebSocket(shop.server.url, ssl_cafile=authority_file, ssl_certfile=shop.path)
    assert names(websocket)[-1] == 'disconnected'
    whole = shop.certificates[1].private_key_and_cert_chain_pem.bytes()
    if share is None:
        os.remove(shop.path)
    else:
        replace(shop.path, whole[:int(len(whole) * share)])
    for _again in range(2):
        events = list(websocket)
        assert names(events) == ['connecting', 'connect_fail']
        assert events[-1].phase == 'tls'
        assert shop.path in events[-1].reason
    replace(shop.path, whole)
    assert names(websocket)[-1] == 'disconnected'
    assert shop.seen == ['client-0.example', 'client-1.example']


def test_connection_that_is_open_lives_on_when_its_certificate_is_renewed(
        authority, authority_file, shop):
    """The renewed one is for the next connection."""
    renewed = threading.Event()

    def script(sock):
        answer_upgrade(sock)
        wait_for(renewed)
        sock.sendall(make_close(1000))
        read_frame(sock)

    shop.renew(0)
    with RawServer(script, context_for(authority.issue_cert(u'127.0.0.1'), authority)) as server:
        websocket = WebSocket(server.url, ssl_cafile=authority_file, ssl_certfile=shop.path)
        for event in websocket:
            if event.name == 'ready':
                old = websocket.dialer.tls.context(websocket.net_options.tls)
                shop.renew(1)
                assert websocket.dialer.tls.context(websocket.net_options.tls) is not old
                del old
                gc.collect()
                renewed.set()
    assert event.graceful


# -- whom to trust --

class Town(object):
    """Two authorities, and a server with a certificate of the second."""

    def __init__(self, tmpdir):
        self.first, self.second = trustme.CA(), trustme.CA()
        self.path = str(tmpdir.join('authorities.pem'))
        context = context_for(self.second.issue_cert(u'127.0.0.1'))
        self.server = RawServer(say_bye, context)

    def trust(self, *authorities):
        replace(self.path, b''.join(authority.cert_pem.bytes() for authority in authorities))


@pytest.fixture
def town(tmpdir):
    town = Town(tmpdir)
    with town.server:
        yield town


def assert_refused(websocket):
    events = list(websocket)
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls'
    assert 'certificate verify failed' in events[-1].reason


@pytest.mark.parametrize('where', ['option', 'environment'])
def test_authorities_are_those_of_the_file_as_it_is_now(town, where, monkeypatch):
    town.trust(town.first)
    options = {'ssl_cafile': town.path} if where == 'option' else {}
    if where == 'environment':
        monkeypatch.setenv('SSL_CERT_FILE', town.path)
    websocket = WebSocket(town.server.url, **options)
    for _again in range(2):
        assert_refused(websocket)
        town.trust(town.first, town.second)
        for _connection in range(2):
            assert names(websocket)[-1] == 'disconnected'
        # It could resume a session now, for which nobody looks at a certificate.
        town.trust(town.first)
        assert_refused(websocket)


def test_authorities_are_those_of_the_environment_as_it_is_now(town, tmpdir, monkeypatch):
    town.trust(town.second)
    websocket = WebSocket(town.server.url)
    assert_refused(websocket)                           # by certifi's
    monkeypatch.setenv('SSL_CERT_FILE', town.path)
    assert names(websocket)[-1] == 'disconnected'
    other = tmpdir.join('other.pem')
    other.write_binary(town.first.cert_pem.bytes())
    monkeypatch.setenv('SSL_CERT_FILE', str(other))
    assert_refused(websocket)
    monkeypatch.delenv('SSL_CERT_FILE')
    assert_refused(websocket)


def test_authority_that_was_taken_from_a_directory_is_trusted_no_more(town, tmpdir, monkeypatch):
    """OpenSSL itself keeps what it found there once."""
    folder = tmpdir.mkdir('authorities')
    monkeypatch.setenv('SSL_CERT_DIR', str(folder))
    websocket = WebSocket(town.server.url)
    for _again in range(2):
        assert_refused(websocket)
        make_directory(folder, town.second)
        assert names(websocket)[-1] == 'disconnected'
        for path in folder.listdir():
            path.remove()


def test_authorities_for_a_proxy_and_for_a_stranger_are_looked_at_too(town):
    """The options made from others: for a proxy, and for where a redirect leads."""
    def script(sock):
        read_head(sock)
        sock.sendall(u'HTTP/1.1 302 Found\r\nLocation: {}\r\n\r\n'.format(
            town.server.url).encode('ascii'))
        drain(sock)

    def refuse(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')

    town.trust(town.first)
    with RawServer(script, context_for(town.first.issue_cert(u'127.0.0.1'))) as home, \
            RawServer(refuse, context_for(town.second.issue_cert(u'127.0.0.1'))) as proxy:
        websocket = WebSocket(home.url, ssl_cafile=town.path)
        proxied = WebSocket(u'wss://127.0.0.1/', ssl_cafile=town.path, proxies={
            'https': proxy.url.replace(u'wss:', u'https:')})
        assert names(websocket)[-2:] == ['connecting', 'connect_fail']
        failure = list(proxied)[-1]
        assert failure.phase == 'proxy'
        assert 'certificate verify failed' in failure.reason
        town.trust(town.first, town.second)
        assert names(websocket)[-1] == 'disconnected'
        assert list(proxied)[-1].response.status_code == 403        # it was reached


# -- sessions --

@needs_refcounts
@needs_sessions
def test_session_is_not_resumed_with_a_context_made_since(shop, authority_file):
    """It was made with another certificate; and OpenSSL takes it for its own context alone."""
    resumed = []

    def trace(record):
        if record['stage'] == 'tls':
            resumed.append(record['resumed'])

    shop.renew(0)
    websocket = WebSocket(
        shop.server.url, ssl_cafile=authority_file, ssl_certfile=shop.path, trace=trace)
    sessions = websocket.dialer.tls.sessions
    for _ in range(2):
        assert names(websocket)[-1] == 'disconnected'
    old = weakref.ref(next(iter(sessions))[0])
    shop.renew(1)
    for _ in range(2):
        assert names(websocket)[-1] == 'disconnected'
    assert resumed == [False, True, False, True]
    assert shop.seen == ['client-0.example'] * 2 + ['client-1.example'] * 2
    assert {key[0] for key in sessions} == {websocket.dialer.tls.context(websocket.net_options.tls)}
    assert old() is None


@needs_sessions
def test_connection_of_the_old_context_that_ends_late_leaves_nothing_to_resume(
        authority, authority_file, tmpdir):
    """Its session comes when the new context is there already."""
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(1000))
        read_frame(sock)
        sock.unwrap()

    path = tmpdir.join('ca.pem')
    shutil.copy(authority_file, str(path))
    with RawServer(script, context_for(authority.issue_cert(u'127.0.0.1'))) as server:
        resumed = []
        websocket = WebSocket(server.url, ssl_cafile=str(path), trace=lambda record: (
            resumed.append(record['resumed']) if record['stage'] == 'tls' else None))
        tls, options = websocket.dialer.tls, websocket.net_options.tls
        for event in websocket:
            if event.name == 'ready':
                old = tls.context(options)
                replace(str(path), path.read_binary() * 2)
                assert tls.context(options) is not old
        assert [key[0] for key in tls.sessions] == [old]
        assert names(websocket)[-1] == 'disconnected'
    assert resumed == [False, False]
    assert old not in [key[0] for key in tls.sessions]


@needs_sessions
def test_websockets_that_share_a_context_resume_their_own_sessions_alone(
        server_tls, authority_file):
    with RawServer(say_bye, server_tls) as server:
        resumed = []
        websockets = [
            WebSocket(server.url, ssl_cafile=authority_file, trace=lambda record: (
                resumed.append(record['resumed']) if record['stage'] == 'tls' else None))
            for _ in range(3)]
        contexts = set()
        for _again in range(2):
            for websocket in websockets:
                assert names(websocket)[-1] == 'disconnected'
                contexts.add(websocket.dialer.tls.context(websocket.net_options.tls))
    assert len(contexts) == 1
    assert resumed == [False] * 3 + [True] * 3


# -- the server's --

def test_running_server_takes_a_certificate_that_is_loaded_into_its_context(authority, tmpdir):
    """What a daemon that serves does when its certificate was renewed."""
    first, second = tmpdir.join('first.pem'), tmpdir.join('second.pem')
    for path, name in ((first, u'127.0.0.1'), (second, u'localhost')):
        authority.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(str(path))
    authority_path = tmpdir.join('ca.pem')
    authority.cert_pem.write_to_path(str(authority_path))
    context = tls.server_context(str(first))
    with Server(lambda websocket: None, ssl_context=context) as server:
        by_address = WebSocket(server.url, ssl_cafile=str(authority_path))
        by_name = WebSocket(server.url.replace(u'127.0.0.1', u'localhost'),
                            ssl_cafile=str(authority_path),
                            resolver=lambda _host, *args: socket.getaddrinfo('127.0.0.1', *args))
        assert names(by_address)[-1] == 'disconnected'
        assert names(by_name)[-1] == 'connect_fail'
        context.load_cert_chain(str(second))
        assert names(by_name)[-1] == 'disconnected'
        assert names(WebSocket(server.url, ssl_cafile=str(authority_path)))[-1] == 'connect_fail'
