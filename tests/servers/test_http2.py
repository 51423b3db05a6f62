"""A WebSocket over HTTP/2 (RFC 8441) on one side of a front, and over HTTP/1.1 on the other."""

from __future__ import absolute_import, division, print_function

import os
import warnings
from contextlib import contextmanager

import pytest

from lomond import errors
from tests.network.test_examples import Program as Example
from tests.peers import PING, SERVER_CLOSE
from tests.peers.test_servers import LARGE, MESSAGES
from tests.servers import fronts
from tests.support import PATIENCE

with warnings.catch_warnings():
    warnings.simplefilter('ignore')     # BytesWarning, on 3.6
    pytest.importorskip('h2')
    from tests.servers import http2

# Older versions of h2 compare bytes with text.
pytestmark = pytest.mark.filterwarnings('ignore::BytesWarning')

CLOSE = (4001, u'sch\u00f6n')
NOISE = [os.urandom(1024 * 1024)]       # compression leaves it as large as it is

#: The scheme of each front's URL, and what makes its `Program`.
FRONTS = {
    'haproxy': (u'wss', fronts.haproxy_http2),
    'nghttpx': (u'ws', fronts.nghttpx_http2),
}

#: The server, whether it speaks HTTP/2, and the client, which speaks the other version.
WAYS = {
    'from HTTP/2': (http2.serve_http1, False, http2.talk_http2),
    'to HTTP/2': (http2.serve_http2, True, http2.talk_http1),
}


@pytest.fixture(params=sorted(FRONTS))
def front(request):
    return FRONTS[request.param]


@pytest.fixture(params=sorted(WAYS))
def visit(request, front, server_pem, authority_file, monkeypatch):
    """``with visit() as (talk, closed)`` starts a server, and a front before it.

    ``talk(path, messages, ...)`` is one of the clients, ``closed`` the server's queue.
    """
    monkeypatch.setenv('SSL_CERT_FILE', authority_file)
    scheme, make_program = front
    serve, is_http2, talk = WAYS[request.param]

    @contextmanager
    def visit(compress=True):
        with serve(compress) as (port, closed), make_program(port, is_http2, server_pem) as program:
            base = u'{}://localhost:{}'.format(scheme, program.port)
            yield (lambda path, *args, **options: talk(base + path, *args, **options)), closed
    return visit


@pytest.mark.parametrize('compress', [False, True])
def test_messages_small_and_large_come_back(visit, compress):
    messages = MESSAGES + LARGE + NOISE
    with visit(compress) as (talk, _closed):
        talked = talk('/', messages, CLOSE)
    assert talked.messages == messages
    assert talked.extensions == ({u'permessage-deflate'} if compress else set())
    assert talked.is_graceful


def test_pings_are_answered_both_ways(visit):
    with visit() as (talk, _closed):
        talked = talk('/ping', [u'your turn'], CLOSE)
    assert talked.messages == [u'ponged']
    assert talked.pongs == [PING]


@pytest.mark.parametrize('offered, chosen', [
    ([], None), (['superchat'], None), (['superchat', 'chat'], http2.PROTOCOL)])
def test_the_subprotocol_is_agreed_on(visit, offered, chosen):
    with visit() as (talk, _closed):
        assert talk('/', [u'x'], CLOSE, protocols=offered).protocol == chosen


def test_the_client_closes(visit):
    with visit() as (talk, closed):
        talked = talk('/', [u'x'], CLOSE)
        assert closed.get(timeout=PATIENCE) == CLOSE
    assert talked.closed[0] == CLOSE[0]
    assert talked.is_graceful


def test_the_server_closes(visit):
    with visit() as (talk, closed):
        talked = talk('/close', [u'x'])
        assert closed.get(timeout=PATIENCE)[0] == SERVER_CLOSE[0]
    assert talked.closed == SERVER_CLOSE
    assert talked.is_graceful


def test_a_connection_that_is_cut_is_not_closed(visit):
    with visit() as (talk, _closed):
        talked = talk('/cut', [u'x'])
    assert talked.closed is None
    assert not talked.is_graceful


def test_a_refusal_arrives_with_its_status(visit):
    with visit() as (talk, _closed), pytest.raises(errors.HandshakeError) as raised:
        talk('/refused', [])
    assert '403' in str(raised.value)


# -- the example --

EXAMPLE = 'examples/http2_session.py'


def test_the_example_prints_the_replies(front, server_pem, authority_file):
    scheme, make_program = front
    with http2.serve_http1(compress=True) as (port, _closed), \
            make_program(port, False, server_pem) as program:
        url = '{}://localhost:{}/'.format(scheme, program.port)
        with Example(EXAMPLE, '--protocol', 'chat', url, 'one', 'x' * 100000,
                     environ={'SSL_CERT_FILE': authority_file}) as example:
            assert example.finish() == (0, ['one', 'x' * 100000], [])


@pytest.mark.parametrize('path, words', [
    ('/refused', 'the server answered 403'), ('/close', 'the server ended the session'),
    ('/cut', 'the server ended the session')])
def test_the_example_reports_that_the_server_ended_it(path, words):
    with http2.serve_http2(compress=False) as (port, _closed):
        with Example(EXAMPLE, 'ws://localhost:{}{}'.format(port, path), 'one') as example:
            assert example.finish() == (1, [], [words])


def test_the_example_reports_a_server_without_http2():
    with http2.serve_http1(compress=False) as (port, _closed):
        with Example(EXAMPLE, 'ws://localhost:{}/'.format(port), 'one') as example:
            assert example.finish() == (1, [], ['the server ended the connection'])


def test_the_example_reports_that_it_could_not_connect(dead_port):
    with Example(EXAMPLE, 'ws://127.0.0.1:{}/'.format(dead_port), 'one') as example:
        status, output, lines = example.finish()
    assert (status, output) == (1, [])
    assert 'refused' in lines[0]


def test_the_example_takes_the_url_of_a_websocket():
    with Example(EXAMPLE, 'x://localhost/', 'one') as example:
        status, _output, lines = example.finish()
    assert status == 2
    assert 'a WebSocket URL must start with ws://' in lines[-1]
