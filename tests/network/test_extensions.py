"""Odd offers and odd answers in Sec-WebSocket-Extensions: what is declined, what is refused.

RFC 6455 9.1: what breaks the grammar fails the handshake. What keeps to it and isn't known is
declined by a server; a client fails, as it can't have offered that.
"""

from __future__ import absolute_import, division, print_function

import base64
import re
import socket

import pytest

from lomond import WebSocket
from lomond.server import Server
from tests.network.driving import drain, read_to_close
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    get_header,
    make_close,
    names,
    read_exactly,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

DEFLATE = b'permessage-deflate'

LONG = b'x' * 8000

#: Well-formed, and nothing that either end knows.
STRANGE = [
    [b'x-other'],
    [b'x-other; a="b,c"'],
    [b'x-other; a="b,permessage-deflate,c"'],
    [b'x-other; a="b c"; d=""'],
    [b'x-other; a="\\"; permessage-deflate"'],
    [b'x-other; a="\\\\"'],
    [b'x-other; a="caf\xe9 \xff"'],
    [b'x-other; a; a; a=1; a="1"'],
    [b'x-other;a=1\t;\tb  =  "2"'],
    [b'x-other; a="' + LONG + b',"'],
    [b'x-' + LONG],
    [b'x-other; ' + LONG],
    [b'x-one', b'x-two; a="b,c"'],
    [b'x-one, x-two', b'', b' , ', b'x-three'],
    [b'Permessage-Deflate'],
    [b'PERMESSAGE-DEFLATE'],
    [b'permessage-deflate-frame'],
    [b'deflate; permessage-deflate'],
]

#: Of the known extension, but nothing that it has.
WRONG = [
    b'; x', b'; x="a,b"', b'; x=""', b'; server_max_window_bits="10,11"',
    b'; server_max_window_bits=""', b'; server_max_window_bits=" 10"',
    b'; server_max_window_bits="1\\ 0"', b'; server_max_window_bits=16',
    b'; server_max_window_bits="\xb9"', b'; client_max_window_bits=010',
    b'; client_max_window_bits=10; client_max_window_bits="10"',
    b'; server_no_context_takeover=""', b'; server_no_context_takeover="true"',
    b'; SERVER_NO_CONTEXT_TAKEOVER', b'; server_max_window_bits="' + LONG + b'"', b'; ' + LONG,
    b'; x="' + LONG + b'"',
]

#: No header by RFC 6455 9.1.
MALFORMED = [
    [b'x-other; a="b'],
    [b'x-other; a="b\\"'],
    [b'x-other; a="b"c'],
    [b'x-other;; a'],
    [b'x-other;'],
    [b'; a'],
    [b'=a'],
    [b'x-other; =a'],
    [b'x-other; a='],
    [b'x-other a'],
    [b'"x-other"'],
    [b'x-other; "a"'],
    [b'x-other; a=b c'],
    [b'x-other; a=b,;'],
    [b'x-\xe9'],
    [b'x-other; a=\xe9'],
    [b'x-other; a="\x01"'],
    [b'x-other; a="\x7f"'],
    [b'permessage-deflate', b'x-other; a="b'],
    [b'permessage-deflate;;'],
    [b'x-other; a="' + LONG],
]


def ids(lines):
    text = b' | '.join(lines) if isinstance(lines, list) else lines
    return re.sub('[^!-~ ]', '?', text.decode('latin-1'))[:60]


# -- offers to a server --

def ask(offers, compress=True):
    """Offer extensions, one header for each line; return the status and the server's answer."""
    with Server(lambda websocket: [None for _event in websocket], compress=compress) as server:
        sock = socket.create_connection((server.host, server.port), PATIENCE)
        try:
            sock.sendall(b'\r\n'.join([
                b'GET / HTTP/1.1', b'Host: x', b'Upgrade: websocket', b'Connection: Upgrade',
                b'Sec-WebSocket-Version: 13',
                b'Sec-WebSocket-Key: ' + base64.b64encode(b'0' * 16)]
                + [b'Sec-WebSocket-Extensions: ' + offer for offer in offers] + [b'', b'']))
            head = read_head(sock)
            status = int(head.split()[1])
            if status == 101:
                sock.sendall(make_close(1000, key=b'1234'))
                assert read_frame(sock)[0] == 0x88
            else:
                body = read_exactly(sock, int(get_header(head, b'Content-Length')))
                assert b'Sec-WebSocket-Extensions is malformed' in body
                assert len(body) < 1000
            drain(sock)
        finally:
            sock.close()
    return status, get_header(head, b'Sec-WebSocket-Extensions')


@pytest.mark.parametrize('offers', STRANGE, ids=ids)
def test_server_declines_an_offer_that_it_does_not_know(offers):
    assert ask(offers) == (101, None)
    assert ask(offers, compress=False) == (101, None)


@pytest.mark.parametrize('offers', STRANGE, ids=ids)
def test_server_takes_the_offer_it_knows_beside_one_that_it_does_not_know(offers):
    assert ask(offers + [DEFLATE]) == (101, DEFLATE)
    assert ask([DEFLATE] + offers) == (101, DEFLATE)
    assert ask([b', '.join([DEFLATE] + offers)]) == (101, DEFLATE)


@pytest.mark.parametrize('parameters', WRONG, ids=ids)
def test_server_declines_a_known_offer_with_what_it_does_not_have_and_takes_the_next(parameters):
    assert ask([DEFLATE + parameters]) == (101, None)
    for offers in ([DEFLATE + parameters, DEFLATE], [DEFLATE + parameters + b', ' + DEFLATE]):
        assert ask(offers) == (101, DEFLATE)


@pytest.mark.parametrize('offers, answer', [
    ([b'permessage-deflate; server_max_window_bits="10"'],
     b'permessage-deflate; server_max_window_bits=10'),
    ([b'permessage-deflate; server_max_window_bits="\\1\\0"'],
     b'permessage-deflate; server_max_window_bits=10'),
    ([b',permessage-deflate ,,', b', ,'], b'permessage-deflate'),
    ([b'\tpermessage-deflate\t;\tserver_no_context_takeover\t'],
     b'permessage-deflate; server_no_context_takeover'),
    ([b''], None),
    ([b' , ,', b''], None),
])
def test_server_takes_an_offer_however_it_is_written(offers, answer):
    assert ask(offers) == (101, answer)


@pytest.mark.parametrize('offers', MALFORMED, ids=ids)
def test_server_answers_400_to_what_breaks_the_grammar(offers):
    assert ask(offers) == (400, None)


@pytest.mark.parametrize('offers', MALFORMED, ids=ids)
def test_server_without_extensions_has_no_use_for_offers_and_reads_none(offers):
    assert ask(offers, compress=False) == (101, None)


# -- answers to a client --

def answer(lines, compress=True):
    """Answer a client's offer, by one header for each line; return its events."""
    def script(sock):
        answer_upgrade(sock, *[b'Sec-WebSocket-Extensions: ' + line for line in lines])
        sock.sendall(make_close(1000))
        read_to_close(sock)

    with RawServer(script) as server:
        return list(WebSocket(server.url, compress=compress))


def refuse(lines, compress=True):
    """Answer a client that doesn't have this; return its reason."""
    events = answer(lines, compress)
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[-2].response.status_code == 101
    assert len(events[-2].reason) < 500
    return events[-2].reason


@pytest.mark.parametrize('compress', [True, False])
@pytest.mark.parametrize('lines', STRANGE, ids=ids)
def test_client_refuses_an_extension_that_it_did_not_offer(lines, compress):
    assert 'not offered' in refuse(lines, compress)
    assert 'not offered' in refuse([DEFLATE] + lines, compress)


@pytest.mark.parametrize('parameters', WRONG, ids=ids)
def test_client_refuses_its_extension_with_what_it_does_not_have(parameters):
    assert 'malformed' not in refuse([DEFLATE + parameters])


@pytest.mark.parametrize('lines', MALFORMED, ids=ids)
def test_client_refuses_what_breaks_the_grammar(lines):
    assert 'Sec-WebSocket-Extensions is malformed' in refuse(lines)


@pytest.mark.parametrize('lines', [
    [b'permessage-deflate'], [b'permessage-deflate; server_max_window_bits="10"'],
    [b',permessage-deflate;\tclient_max_window_bits = 9 ,', b' '],
    [b'', b'permessage-deflate; server_no_context_takeover'],
])
def test_client_takes_an_answer_however_it_is_written(lines):
    events = answer(lines)
    ready, = [event for event in events if event.name == 'ready']
    assert ready.extensions == {u'permessage-deflate'}
    assert events[-1].graceful


@pytest.mark.parametrize('lines', [[b''], [b' , ', b','], []])
def test_client_takes_an_empty_answer_for_none(lines):
    ready, = [event for event in answer(lines) if event.name == 'ready']
    assert ready.extensions == set()
