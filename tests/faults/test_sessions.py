"""Any bytes, from the handshake on, in any pieces: the documented events, and a whole end.

Through the session, the transport and `feed`; `run` looks at the order of the
events, at what graceful says, and at what is left.
"""

from __future__ import absolute_import, division, print_function

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lomond import WebSocket
from lomond.errors import CriticalProtocolError
from lomond.http.answer import ResponseReader
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.testing import Inside
from tests.faults.scripted import (
    BLOCKING,
    CLIENT,
    END,
    HANDSHAKE_KEY,
    HEAD_LINES,
    QUEUED,
    RESET,
    SERVER,
    run,
)
from tests.property.strategies import conversations, cuts
from tests.protocol.harness import bytewise

roles = st.sampled_from([CLIENT, SERVER])
drivers = st.sampled_from([BLOCKING, QUEUED])

_FIRST_LINES = st.sampled_from([
    b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols', b'HTTP/1.1 200 OK',
    b'HTTP/1.1 302 Found', b'HTTP/1.0 101 Switching Protocols', b'HTTP/1.1 404', b'HTTP/1.1 1 1',
    b'POST / HTTP/1.1', b'GET /\xff HTTP/1.1', b'GET / HTTP/1.0', b''])

_MORE_LINES = st.sampled_from([
    b'Sec-WebSocket-Extensions: permessage-deflate', b'Content-Length: 4',
    b'Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7',
    b'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=9',
    b'Sec-WebSocket-Extensions: ;', b'Sec-WebSocket-Protocol: chat', b'Set-Cookie: a=b',
    b'Transfer-Encoding: chunked', b'Location: ws://localhost/', b'Location: http://[', b': x',
    b'X-Latin: caf\xe9', b' folded', b'no header', b'Upgrade: h2c', b'Connection: close'])


@st.composite
def heads(draw, role):
    """An opening handshake as the peer of an end may send it, right or wrong."""
    lines = list(HEAD_LINES[role])
    if draw(st.integers(0, 3)) == 3:
        lines[0] = draw(_FIRST_LINES)
    if draw(st.integers(0, 7)) == 7:
        del lines[draw(st.integers(0, len(lines) - 1))]
    for line in draw(st.lists(_MORE_LINES, max_size=2)):
        lines.insert(draw(st.integers(1, max(1, len(lines)))), line)
    return b'\r\n'.join(lines) + b'\r\n\r\n'


@st.composite
def refusals(draw):
    """An answer of a server that doesn't upgrade, with more or less of a body than it says."""
    lines = draw(st.lists(st.sampled_from([
        b'Content-Length: 4', b'Content-Length: 9', b'Transfer-Encoding: chunked']), max_size=2))
    return b'\r\n'.join(
        [draw(st.sampled_from([b'HTTP/1.1 200 OK', b'HTTP/1.1 404', b'HTTP/1.1 204 ']))] + lines
        + [b'', b'']) + draw(st.sampled_from([
            b'bodymore', b'4\r\nbody\r\n0\r\n\r\nmore', b'4\r\nbo', b'x\r\nbody']))


@st.composite
def streams(draw, role):
    """All that a peer sends: a handshake and frames, or anything; a byte of it spoilt, perhaps."""
    data = draw(heads(role)) + draw(conversations(role))
    spoilt = draw(st.integers(0, 4 * len(data)))
    if spoilt < len(data):
        data = data[:spoilt] + draw(st.binary(max_size=2)) + data[spoilt + 1:]
    return data


@pytest.fixture(scope='module')
def ready_fd():
    """A descriptor that is always readable and writable."""
    descriptor = os.open(os.devnull, os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def _run(ready_fd, driver, role, pieces, end):
    """Run a session; return what there is to see of it."""
    # No bytes would be the end.
    outcome = run(
        ready_fd, role, [piece for piece in pieces if piece] + [end], driver=driver)
    if ('ready',) in outcome.events:
        return outcome.events, outcome.frames
    return outcome.events, outcome.sock.sent if role == SERVER else None


@settings(max_examples=150)
@given(st.data(), drivers, roles, st.sampled_from([END, RESET]))
def test_any_stream_in_any_pieces_gives_the_same_documented_events(
        ready_fd, data, driver, role, end):
    stream = data.draw(streams(role))
    whole = _run(ready_fd, BLOCKING, role, [stream], end)
    pieces = data.draw(cuts(stream))
    assert _run(ready_fd, driver, role, pieces, end) == whole


@given(refusals(), drivers)
def test_refusal_byte_by_byte_is_told_the_same(ready_fd, refusal, driver):
    """Its body is what the head says, however much has come."""
    whole = _run(ready_fd, BLOCKING, CLIENT, [refusal], END)
    assert _run(ready_fd, driver, CLIENT, bytewise(refusal), END) == whole


@given(st.binary(max_size=300), drivers, roles)
def test_any_bytes_for_a_handshake_give_documented_events(ready_fd, data, driver, role):
    events, _sent = _run(ready_fd, driver, role, [data], END)
    assert ('ready',) not in events


@given(st.data())
def test_nothing_comes_out_of_feed_but_events(data):
    """Without a session, too: for who drives a WebSocket by other means."""
    websocket = WebSocket('ws://localhost/', compress=data.draw(st.booleans()))
    Inside(websocket).key = HANDSHAKE_KEY
    stream = data.draw(streams(CLIENT) | st.binary(max_size=100))
    for piece in data.draw(cuts(stream)):
        for event in websocket.feed(piece):
            assert repr(event)


@given(st.data())
def test_handshake_holds_no_more_than_its_limits_and_one_read(data):
    limits = DEFAULT_LIMITS._replace(head=200, body=20)
    reader = ResponseReader(limits.head, limits.body)
    for piece in data.draw(cuts(data.draw(streams(CLIENT)) + b'x' * 300)):
        try:
            found = reader.feed(piece)
        except CriticalProtocolError:
            found = True
        if reader.response is None:
            assert reader.held <= limits.head + len(piece)
        else:
            assert reader.held <= limits.body
        if found:
            break
    if reader.response is not None:
        assert len(reader.response.body) <= limits.body
