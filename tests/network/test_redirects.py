"""Redirects on real connections: where they lead, what goes along, how they end."""

from __future__ import absolute_import, division, print_function

import socket
import threading

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.http.redirects import REDIRECT_STATUSES
from lomond.http.url import basic_authorization
from lomond.persist import persist
from lomond.testing import Clock
from tests.network.driving import accept_and_hang_up, drain, read_to_close, wait_for
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    get_header,
    make_close,
    names,
    needs_refcounts,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

ONCE = ['connecting', 'connected', 'redirected']
TO_READY = ['connecting', 'connected', 'ready', 'closing', 'disconnected']
REFUSED = ['connecting', 'connected', 'rejected', 'disconnected']


def build_redirect(location, status=302, *more):
    lines = [u'HTTP/1.1 {} Moved'.format(status).encode('ascii')]
    if location is not None:
        lines.append(b'Location: ' + location.encode('ascii'))
    lines.extend(more or [b'Content-Length: 0'])
    return b'\r\n'.join(lines) + b'\r\n\r\n'


class Site(object):
    """A script that answers by path: with the given bytes, or by accepting. Keeps the requests."""

    def __init__(self, pages=None):
        self.pages = pages or {}
        self.requests = []

    def __call__(self, sock):
        request = read_head(sock)
        self.requests.append(request)
        page = self.pages.get(request.split(b' ')[1].decode('ascii'))
        if page is None:
            answer_upgrade(Replay(sock, request))
            sock.sendall(make_close(1000))
            read_to_close(sock)
        else:
            sock.sendall(page)
            drain(sock)

    @property
    def paths(self):
        return [request.split(b' ')[1].decode('ascii') for request in self.requests]


class Replay(object):
    """A socket whose request was read already."""

    def __init__(self, sock, request):
        self._request = request
        self.sendall = sock.sendall

    def recv(self, count):
        data, self._request = self._request[:count], self._request[count:]
        return data


def in_turn(*scripts):
    """Make a script that does the first of these with the first connection, and so on."""
    scripts = list(scripts)

    def script(sock):
        scripts.pop(0)(sock)
    return script


def localhost(url):
    """Return the URL of another origin that is the same server."""
    return url.replace(u'127.0.0.1', u'localhost')


# -- followed --

@pytest.mark.parametrize('status', sorted(REDIRECT_STATUSES))
def test_a_redirect_is_followed(link, status):
    site = Site({'/': build_redirect(u'/feed?a=b', status)})
    with link.serve(site) as server:
        websocket = link.connect(server.url)
        events = list(websocket)
        assert names(events) == ONCE + TO_READY
        redirected, connecting, connected = events[2:5]
        assert redirected.url == connecting.url == connected.url == server.url + u'feed?a=b'
        assert redirected.response.status_code == status
        assert events[-1].graceful
        assert websocket.resource == u'/feed?a=b'
        assert websocket.url == server.url
    assert site.paths == ['/', '/feed?a=b']
    keys = [get_header(request, b'Sec-WebSocket-Key') for request in site.requests]
    assert keys[0] != keys[1]


def test_a_chain_leads_over_two_hosts(link):
    site = Site()
    with link.serve(site) as server:
        here, there = server.url, localhost(server.url)
        site.pages.update({
            '/': build_redirect(u'a/b'),
            '/a/b': build_redirect(u'../c', 301),
            '/c': build_redirect(there + u'd', 307),
            '/d': build_redirect(u'//' + there.split(u'//')[1] + u'e', 308),
        })
        events = list(link.connect(server.url))
        assert [event.url for event in events if event.name == 'connected'] == [
            here, here + u'a/b', here + u'c', there + u'd', there + u'e']
    assert events[-1].graceful
    host = there.split(u'/')[2].encode('ascii')
    assert [get_header(request, b'Host') == host for request in site.requests] == [
        False, False, False, True, True]


def test_http_and_https_mean_ws_and_wss(link):
    site = Site()
    with link.serve(site) as server:
        site.pages['/'] = build_redirect(server.url.replace(u'ws', u'http', 1) + u'x#fragment')
        assert names(link.connect(server.url)) == ONCE + TO_READY
    assert site.paths == ['/', '/x']


def test_ws_may_lead_to_wss_but_takes_no_password_along(server_tls, authority_file):
    secure = Site()
    with RawServer(secure, ssl_context=server_tls) as target:
        with RawServer(Site({'/': build_redirect(target.url)})) as server:
            websocket = WebSocket(
                server.url.replace(u'//', u'//me:pw@'), ssl_cafile=authority_file,
                headers={'X-Token': 'abc'})
            assert names(websocket) == ONCE + TO_READY
            assert websocket.is_secure
    assert get_header(secure.requests[0], b'Authorization') is None
    assert get_header(secure.requests[0], b'X-Token') is None


def test_secrets_stay_with_their_origin(link):
    site = Site()
    with link.serve(site) as server:
        site.pages['/'] = build_redirect(u'/again', 302, b'Set-Cookie: jar=secret')
        site.pages['/again'] = build_redirect(localhost(server.url) + u'there')
        websocket = link.connect(
            server.url.replace(u'//', u'//me:secret@'), cookies=True, agent=u'me',
            headers=lambda: [('X-Token', 'secret'), ('Cookie', 'mine=secret')])
        websocket.add_header('Origin', 'https://example.org')
        assert names(websocket)[-1] == 'disconnected'
    first, again, there = site.requests
    authorization = basic_authorization((u'me', u'secret')).encode('ascii')
    for request in (first, again):
        assert get_header(request, b'Authorization') == authorization
        assert get_header(request, b'X-Token') == b'secret'
    assert get_header(first, b'Cookie') == b'mine=secret'
    assert get_header(again, b'Cookie') == b'mine=secret; jar=secret'
    for name in (b'Authorization', b'X-Token', b'Cookie'):
        assert get_header(there, name) is None
    assert b'secret' not in there
    assert get_header(there, b'Origin') == b'https://example.org'
    assert get_header(there, b'User-Agent') == b'me'


@pytest.mark.parametrize('more', [
    [b'Content-Length: 1000000'],
    [b'Transfer-Encoding: chunked'],
    [b'Connection: close'],
], ids=lambda more: more[0].decode('ascii'))
def test_a_body_that_never_comes_does_not_hold_it_up(link, more):
    is_closed = threading.Event()

    def redirect(sock):
        read_head(sock)
        sock.sendall(build_redirect(u'/x', 302, *more))
        drain(sock)
        is_closed.set()

    with link.serve(in_turn(redirect, accept_and_hang_up())) as server:
        started = monotonic()
        assert 'ready' in names(link.connect(server.url))
        assert monotonic() - started < PATIENCE / 2
        wait_for(is_closed)


def test_a_body_without_end_does_not_hold_it_up(link):
    is_cut_off = threading.Event()

    def redirect(sock):
        read_head(sock)
        sock.sendall(build_redirect(u'/x', 302, b'Connection: close'))
        try:
            while True:
                sock.sendall(b'x' * 4096)
        except socket.error:
            is_cut_off.set()

    with link.serve(in_turn(redirect, accept_and_hang_up())) as server:
        assert 'ready' in names(link.connect(server.url))
        wait_for(is_cut_off)


def test_a_redirect_may_come_byte_by_byte_after_an_interim_answer():
    def redirect(sock):
        read_head(sock)
        data = b'HTTP/1.1 103 Early Hints\r\nLocation: /no\r\n\r\n' + build_redirect(u'/x')
        for i in range(len(data)):
            sock.sendall(data[i:i + 1])
        drain(sock)

    site = Site()
    with RawServer(in_turn(redirect, site)) as server:
        assert names(WebSocket(server.url)) == ONCE + TO_READY
    assert site.paths == ['/x']


def test_a_redirect_is_traced_without_the_password():
    records = []
    site = Site()
    with RawServer(site) as server:
        site.pages['/'] = build_redirect(server.url.replace(u'//', u'//me:secret@') + u'x', 307)
        list(WebSocket(server.url, trace=records.append))
        stages = [record['stage'] for record in records]
        assert stages == [
            'resolve', 'connect', 'request', 'redirect',
            'resolve', 'connect', 'request', 'handshake', 'disconnected']
        assert records[3].pop('seconds') >= 0
        assert records[3] == {
            'stage': 'redirect', 'status': 307, 'location': server.url + u'x',
            'url': server.url + u'x'}


def test_a_proxy_is_looked_up_again_and_its_password_stays_there(monkeypatch):
    """127.0.0.1 is exempt, localhost isn't."""
    site = Site()
    tunnels = []

    def proxy(sock):
        tunnels.append(read_head(sock))
        sock.sendall(b'HTTP/1.1 200 OK\r\n\r\n')
        site(sock)

    with RawServer(site) as server, RawServer(proxy) as proxy_server:
        monkeypatch.setenv('HTTP_PROXY', str(proxy_server.url.replace(u'ws://', u'http://me:pw@')))
        monkeypatch.setenv('NO_PROXY', '127.0.0.1')
        site.pages['/'] = build_redirect(localhost(server.url) + u'there')
        events = list(WebSocket(server.url))
    assert names(events) == ONCE + TO_READY
    assert [event.proxy for event in events if event.name == 'connected'] == [
        None, proxy_server.url.replace(u'ws', u'http')[:-1]]
    assert len(tunnels) == 1
    assert get_header(tunnels[0], b'Proxy-Authorization') is not None
    assert not any(b'authorization' in request.lower() for request in site.requests)


# -- not followed --

def reject(websocket):
    """Connect; return the Rejected event of the only request."""
    events = list(websocket)
    assert names(events)[-4:] == REFUSED
    assert events[-1].reason == events[-2].reason
    return events[-2]


def test_wss_does_not_lead_to_ws(server_tls, authority_file):
    with RawServer(Site()) as target:
        site = Site({'/': build_redirect(target.url)})
        with RawServer(site, ssl_context=server_tls) as server:
            rejected = reject(WebSocket(server.url, ssl_cafile=authority_file))
        assert target.connections == 0
    assert 'from wss to ws' in rejected.reason
    assert rejected.response.status_code == 302


@pytest.mark.parametrize('limit', [1, 3])
def test_a_loop_ends_at_the_limit(link, limit):
    site = Site({'/': build_redirect(u'/')})
    with link.serve(site) as server:
        events = list(link.connect(server.url, max_redirects=limit))
    assert names(events) == ONCE * limit + REFUSED
    assert 'more than {} redirects'.format(limit) in events[-2].reason
    assert len(site.requests) == limit + 1


def test_a_limit_of_none_makes_it_an_ordinary_rejection():
    page = build_redirect(u'/x', 302, b'Content-Length: 4') + b'gone'
    with RawServer(Site({'/': page})) as server:
        rejected = reject(WebSocket(server.url, max_redirects=0))
    assert rejected.reason == u'the server answered 302 Moved'
    assert rejected.response.body == b'gone'


@pytest.mark.parametrize('location, words', [
    (None, 'the server answered 302'),
    (u'ftp://127.0.0.1/', 'ftp'),
    (u'ws://127.0.0.1:99999/', 'port'),
    (u'/x\r\nLocation: /y', 'more than one Location'),
])
def test_a_rejected_redirect_says_why_and_has_its_body(location, words):
    page = build_redirect(location, 302, b'Content-Length: 4') + b'gone'
    with RawServer(Site({'/': page})) as server:
        rejected = reject(WebSocket(server.url))
    assert words in rejected.reason
    assert rejected.response.body == b'gone'


def test_a_given_socket_is_not_left(link):
    """A function makes one for each request."""
    site = Site()

    def make_sock():
        return socket.create_connection(('127.0.0.1', server.port))

    with link.serve(site) as server:
        site.pages['/'] = build_redirect(u'/x')
        websocket = link.connect(localhost(server.url), sock=make_sock)
        assert names(websocket) == ONCE + TO_READY
        site.pages['/'] = build_redirect(server.url)
        assert 'socket' in reject(websocket).reason


@pytest.mark.skipif(not hasattr(socket, 'AF_UNIX'), reason='there are no Unix sockets here')
@pytest.mark.parametrize('location, words', [
    (u'x', None),
    (u'http://localhost/x', None),      # as servers make it of the Host header
    (u'ws://127.0.0.1/x', 'socket'),
])
def test_a_unix_socket_is_not_left(tmpdir, location, words):
    class UnixServer(RawServer):
        def __enter__(self):
            self._listener.close()
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(tmpdir.join('s')))
            self._listener.listen(16)
            return super(UnixServer, self).__enter__()

    with UnixServer(Site({'/': build_redirect(location)})):
        websocket = WebSocket(u'ws+unix://{}:/'.format(tmpdir.join('s')))
        if words is None:
            assert names(websocket) == ONCE + TO_READY
        else:
            assert words in reject(websocket).reason


def test_where_it_leads_may_be_dead(dead_port):
    site = Site({'/': build_redirect(u'ws://127.0.0.1:{}/'.format(dead_port))})
    with RawServer(site) as server:
        events = list(WebSocket(server.url))
    assert names(events) == ONCE + ['connecting', 'connect_fail']
    assert events[-1].phase == 'connect'


# -- the end, in the middle of it --

@pytest.mark.parametrize('at', ['redirected', 'connecting'])
@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_an_attempt_can_be_ended_in_the_middle(link, at, end):
    site = Site({'/': build_redirect(u'/x')})
    with link.serve(site) as server:
        websocket = link.connect(server.url)
        seen = []
        for event in websocket:
            seen.append(event.name)
            if event.name == at and 'redirected' in seen:
                getattr(websocket, end)()
    assert seen == ONCE + ['connecting', 'connect_fail']
    assert site.paths == ['/']


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_the_second_handshake_can_be_ended_by_a_thread(link, end):
    is_asked = threading.Event()

    def silence(sock):
        read_head(sock)
        is_asked.set()
        drain(sock)

    with link.serve(in_turn(Site({'/': build_redirect(u'/x')}), silence)) as server:
        websocket = link.connect(server.url)

        def run():
            wait_for(is_asked)
            getattr(websocket, end)()

        thread = threading.Thread(target=run)
        thread.start()
        assert names(websocket) == ONCE + ['connecting', 'connected', 'disconnected']
        thread.join(PATIENCE)


@needs_refcounts
@pytest.mark.parametrize('at', ['redirected', 'connecting', 'connected'])
def test_break_leaves_nothing_open(link, at):
    with link.serve(Site({'/': build_redirect(u'/x')})) as server:
        seen = []
        for event in link.connect(server.url):
            seen.append(event.name)
            if event.name == at and 'redirected' in seen:
                break


def test_one_deadline_holds_for_all():
    clock = Clock()

    def silence(sock):
        read_head(sock)
        drain(sock)

    with RawServer(in_turn(Site({'/': build_redirect(u'/x')}), silence)) as server:
        seen = []
        started = monotonic()
        for event in WebSocket(server.url).connect(session_class=clock.session):
            seen.append(event)
            if event.name == 'redirected':
                clock.ahead += 29.9
        assert monotonic() - started < PATIENCE / 2
    assert names(seen) == ONCE + ['connecting', 'connected', 'disconnected']
    assert 'longer than connect_timeout' in seen[-1].reason


def test_persist_begins_each_time_with_the_url():
    site = Site()
    with RawServer(site) as server:
        site.pages['/'] = build_redirect(localhost(server.url) + u'there')
        websocket = WebSocket(server.url, headers={'X-Token': 'abc'})
        urls = []
        for event in persist(websocket, min_wait=0, max_wait=0):
            if event.name == 'connecting':
                urls.append(event.url)
            elif event.name == 'ready' and len(urls) == 4:
                websocket.close()
        assert urls == [server.url, localhost(server.url) + u'there'] * 2
    assert [get_header(request, b'X-Token') for request in site.requests] == [
        b'abc', None, b'abc', None]
