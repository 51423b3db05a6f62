"""`lomond.sansio`: whatever the bytes, and however they are cut, the same events and output.

Without compression: the words about data that doesn't inflate depend on the cuts.
"""

from __future__ import absolute_import, division, print_function

from hypothesis import given
from hypothesis import strategies as st

from lomond.http.body import LAST_CHUNK, encode_chunk
from lomond.protocol.connection import CLIENT, SERVER
from lomond.sansio import Client, Server
from tests.property.strategies import conversations, cuts
from tests.protocol.harness import story
from tests.support import accept_for, get_header

URL = u'ws://example.org/'

REQUEST = (
    b'GET / HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n'
    b'Sec-WebSocket-Protocol: a, b\r\n\r\n')


def requests():
    """Make whole requests, good ones and bad ones, and bytes that are none."""
    good = REQUEST
    return st.sampled_from([
        good, good, good.replace(b'GET', b'PUT'), good.replace(b'websocket', b'h2c'),
        good.replace(b'HTTP/1.1', b'HTTP/1.0'), good.replace(b'Host', b'Ho st'), b'\x16\x03\x01',
        good[:40], b'hello']) | st.binary(min_size=1, max_size=80)


def serve(pieces, answer):
    """Feed a server; return what happened, and what it sent."""
    server = Server(protocols=['b'])
    happened, output = [], []
    for piece in pieces:
        if not piece:
            continue
        for event in server.receive(piece):
            happened.append(event)
            if event.name == 'request':
                answer(server)
    output.append(server.data_to_send())
    happened += server.receive(b'')
    output.append(server.data_to_send())
    shown = [
        event.reason if event.name == 'rejected' else story([event])[0]
        for event in happened if event.name not in ('request', 'ready')]
    return [event.name for event in happened], shown, output, server.state


@given(st.data(), st.sampled_from(['accept', 'reject', 'nothing']))
def test_any_cuts_give_a_server_the_same_events_and_the_same_output(data, answer):
    def decide(server):
        if answer == 'accept':
            server.accept()
        elif answer == 'reject':
            server.reject(403, body=b'no')

    sent = data.draw(requests()) + data.draw(conversations(SERVER))
    expected = serve([sent], decide)
    assert expected[3] == 'closed' and expected[0][-1] == 'disconnected'
    assert serve(data.draw(cuts(sent)), decide) == expected


def bodies():
    """Make a rejection's headers and body, whole, cut short or malformed."""
    chunks = st.lists(st.binary(min_size=1, max_size=20), max_size=5).map(
        lambda pieces: b''.join(map(encode_chunk, pieces)) + LAST_CHUNK)
    chunked = (chunks | st.binary(min_size=1, max_size=30)).map(
        lambda body: b'Transfer-Encoding: chunked\r\n\r\n' + body)
    sized = st.tuples(st.integers(0, 30), st.binary(min_size=1, max_size=40)).map(
        lambda pair: b'Content-Length: %d\r\n\r\n%s' % pair)
    return chunked | sized | st.binary(min_size=1, max_size=40).map(lambda body: b'\r\n' + body)


def read_answer(client, pieces):
    """Feed a client; return what happened, the parts of a body joined, and what it sent."""
    happened = []
    for piece in pieces:
        if piece:
            happened += client.receive(piece)
    happened += client.receive(None)
    names, body = [], []
    for event in happened:
        if event.name == 'rejected_part':
            body.append(event.data)
            if not event.message_finished:
                continue
        if event.name in ('ready', 'rejected'):
            names.append((event.name, getattr(event, 'reason', u''), event.response.body))
        else:
            names += story([event])
    return names, b''.join(body), client.state, client.close_sent


@given(st.data(), st.booleans())
def test_any_cuts_give_a_client_the_same_rejection(data, parts):
    sent = b'HTTP/1.1 403 No\r\n' + data.draw(bodies())
    expected = read_answer(Client(URL, rejected_parts=parts), [sent])
    assert expected[2] == 'closed' and expected[0][-1][0] == 'disconnected'
    assert read_answer(
        Client(URL, rejected_parts=parts), data.draw(cuts(sent))) == expected


@given(st.data())
def test_any_cuts_give_a_client_the_same_events(data):
    frames = data.draw(conversations(CLIENT))

    def answer(client):
        server = Server(protocols=['b'])
        request = client.data_to_send()
        for event in server.receive(request):
            if event.name == 'request':
                server.accept()
        answered = server.data_to_send()
        assert get_header(answered, b'Sec-WebSocket-Accept') == accept_for(
            get_header(request, b'Sec-WebSocket-Key'))
        return answered

    def make():
        return Client(URL, protocols=['a', 'b'])

    client, other = make(), make()
    expected = read_answer(client, [answer(client) + frames])
    assert expected[0][0][0] == 'ready'
    assert read_answer(other, data.draw(cuts(answer(other) + frames))) == expected
