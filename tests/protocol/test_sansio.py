"""`lomond.sansio`: both ends against each other, whole and byte by byte; states and misuse."""

from __future__ import absolute_import, division, print_function

import copy
import itertools
import pickle

import pytest

from lomond import errors
from lomond.errors import FrameBuildError, WebSocketClosed, WebSocketClosing, WebSocketUnavailable
from lomond.extensions import DeflateOptions, Extension, PermessageDeflate
from lomond.sansio import CLIENT, SERVER, Client, Connection, RejectedPart, Request, Server
from tests.protocol.examples import Checksum, Doubled
from tests.protocol.harness import story
from tests.support import accept_for, get_header, make_close, make_frame

URL = u'ws://example.org/feed?a=1'
KEY = b'\x37\xfa\x21\x3d'

BIG = u'{"price": 1.5, "caf\xe9": 1} ' * 200


def cut(data, size):
    """Cut bytes into pieces of a size, None for one piece."""
    if size is None:
        return [data] if data else []
    return [data[start:start + size] for start in range(0, len(data), size)]


def feed(end, data, size=None, handle=None):
    """Feed an end and return its events; each is given to `handle`."""
    happened = []
    for piece in cut(data, size):
        for event in end.receive(piece):
            happened.append(event)
            if handle is not None:
                handle(end, event)
    return happened


class Pair(object):
    """A client and a server, and what happened at each."""

    def __init__(self, client=None, server=None, size=None, accept=None):
        self.client = Client(URL, **(client or {}))
        self.server = Server(**(server or {}))
        self.size = size
        self._accept = accept or {}
        self.at_client = []
        self.at_server = []

    def _handle(self, end, event):
        if event.name == 'request':
            end.accept(**self._accept)

    def run(self):
        """Carry bytes to and fro until there are none; return what happened since the last time."""
        at_client, at_server = [], []
        while True:
            forth = self.client.data_to_send()
            at_server += feed(self.server, forth, self.size, self._handle)
            back = self.server.data_to_send()
            at_client += feed(self.client, back, self.size)
            if not forth and not back:
                break
        self.at_client += at_client
        self.at_server += at_server
        return story(at_client), story(at_server)

    def open(self):
        at_client, at_server = self.run()
        assert [entry[0] for entry in at_client] == ['ready']
        assert [entry[0] for entry in at_server] == ['request', 'ready']
        return self


def open_pair(client=None, server=None, size=None, accept=None):
    return Pair(client, server, size, accept).open()


def request_bytes(**options):
    return Client(URL, **options).data_to_send()


def ask(size=None, **options):
    """Return a server that was asked."""
    server = Server(**options)
    event, = feed(server, request_bytes(protocols=['a', 'b'], compress=True), size)
    assert isinstance(event, Request) and event.request is server.request
    return server


def answer(client, *lines):
    """Build the right answer to a client."""
    accept = accept_for(get_header(client.data_to_send(), b'Sec-WebSocket-Key'))
    return b'\r\n'.join((
        b'HTTP/1.1 101 Switching Protocols', b'Upgrade: websocket', b'Connection: Upgrade',
        b'Sec-WebSocket-Accept: ' + accept) + lines) + b'\r\n\r\n'


SIZES = pytest.mark.parametrize('size', [None, 1, 7])


# -- opening --

@SIZES
def test_both_ends_open(size):
    pair = Pair(size=size)
    assert (pair.client.state, pair.server.state) == ('connecting', 'connecting')
    at_client, at_server = pair.run()
    assert [entry[0] for entry in at_client] == ['ready']
    assert [entry[0] for entry in at_server] == ['request', 'ready']
    assert (pair.client.state, pair.server.state) == ('open', 'open')
    request = pair.server.request
    assert (request.path, request.query, request.get('Host')) == (u'/feed', u'a=1', u'example.org')
    assert pair.at_server[1].response is request
    assert pair.at_client[0].response.status_code == 101
    assert pair.client.stats.connections == pair.server.stats.connections == 1


@SIZES
@pytest.mark.parametrize('offered, spoken, chosen, expected', [
    (['a', 'b'], ['b', 'c'], None, u'b'),
    (['a', 'b'], ['b', 'a'], None, u'b'),
    (['a', 'b'], [], u'a', u'a'),
    (['a', 'b'], ['b'], u'a', u'a'),
    (['a'], ['b'], None, None),
    ([], ['b'], None, None),
])
def test_a_subprotocol_is_agreed_on(size, offered, spoken, chosen, expected):
    pair = open_pair({'protocols': offered}, {'protocols': spoken}, size, {'protocol': chosen})
    assert pair.client.protocol == pair.server.protocol == expected
    assert pair.at_client[0].protocol == pair.at_server[1].protocol == expected


@SIZES
@pytest.mark.parametrize('client, server, agreed', [
    (True, True, {u'permessage-deflate'}),
    (True, False, set()),
    (False, True, set()),
    (DeflateOptions(server_max_window_bits=9), DeflateOptions(client_no_context_takeover=True),
     {u'permessage-deflate'}),
])
def test_compression_is_agreed_on_and_used(size, client, server, agreed):
    pair = open_pair({'compress': client}, {'compress': server}, size)
    assert pair.client.extensions == pair.server.extensions == agreed
    for compress in (True, False, True):
        pair.client.send_text(BIG, compress)
        pair.server.send_binary(BIG.encode('utf-8'), compress)
        assert pair.run() == ([('binary', BIG.encode('utf-8'))], [('text', BIG)])
    assert (pair.client.stats.sent.wire_bytes < 3 * len(BIG)) == bool(agreed)


EXTENSIONS = [PermessageDeflate, Checksum, Doubled]


@pytest.mark.parametrize('offered', list(itertools.permutations(EXTENSIONS)))
@pytest.mark.parametrize('size', [None, 5])
def test_extensions_are_agreed_on_in_any_order(offered, size):
    pair = open_pair({'extensions': offered}, {'extensions': EXTENSIONS}, size)
    assert pair.client.extensions == pair.server.extensions == {
        extension.name for extension in EXTENSIONS}
    pair.client.send_text(u'caf\xe9 ' * 100)
    pair.server.send_binary(b'\x00\x01' * 300)
    assert pair.run() == ([('binary', b'\x00\x01' * 300)], [('text', u'caf\xe9 ' * 100)])


def test_accept_may_name_other_extensions_than_the_constructor():
    pair = open_pair({'extensions': [Checksum], 'compress': True}, {'compress': True},
                     accept={'extensions': [Checksum]})
    assert pair.server.extensions == {u'x-checksum'}
    pair = open_pair({'extensions': [Checksum], 'compress': True}, {'compress': True},
                     accept={'extensions': ()})
    assert pair.server.extensions == pair.client.extensions == set()


@SIZES
def test_further_headers_go_both_ways(size):
    pair = open_pair({'headers': {'X-One': u'1'}, 'agent': 'me'}, {}, size,
                     {'headers': [('Set-Cookie', 'a=1'), (u'Set-Cookie', b'b=2')]})
    assert pair.server.request.get('x-one') == u'1'
    assert pair.server.request.get('user-agent') == u'me'
    assert pair.at_client[0].response.headers.get_all('Set-Cookie') == [u'a=1', u'b=2']


def test_headers_of_a_client_may_come_from_a_function_and_its_password_from_the_url():
    client = Client(u'wss://user:secret@example.org:444/', headers=lambda: {'X-Two': '2'})
    request = client.data_to_send()
    assert get_header(request, b'x-two') == b'2'
    assert get_header(request, b'authorization') == b'Basic dXNlcjpzZWNyZXQ='
    assert (client.host, client.port, client.is_secure) == (u'example.org', 444, True)
    assert repr(client) == "Client('wss://example.org:444/')"


@SIZES
def test_frames_that_come_with_the_answer_are_not_lost(size):
    client = Client(URL)
    data = answer(client) + make_frame(1, b'one') + make_frame(9, b'two') + make_close(1000)
    happened = story(feed(client, data, size))
    assert [entry[0] for entry in happened] == ['ready', 'text', 'ping', 'closing']
    assert client.state == 'closed'


def test_every_cut_of_the_answer_gives_the_same_events():
    for place in range(1, 200):
        client = Client(URL)
        data = answer(client) + make_frame(1, b'one') + make_frame(2, b'two')
        happened = feed(client, data[:place]) + feed(client, data[place:])
        assert [event.name for event in happened] == ['ready', 'text', 'binary'], place
    assert place > len(data)


@pytest.mark.parametrize('when', ['in the loop', 'after it', 'by accept'])
@SIZES
def test_frames_that_come_with_the_request_are_not_lost(size, when):
    server = Server()
    data = request_bytes() + make_frame(1, b'one', key=KEY) + make_frame(2, b'two', key=KEY)
    happened = []

    def handle(end, event):
        if event.name == 'request' and when == 'in the loop':
            end.accept()

    happened += feed(server, data, size, handle)
    if when != 'in the loop':
        assert [event.name for event in happened] == ['request']
        assert server.state == 'connecting'
        rest = server.accept()
        happened += server.events() if when == 'after it' else rest
    assert [event.name for event in happened] == ['request', 'ready', 'text', 'binary']
    assert list(server.events()) == []


def test_every_cut_of_the_request_gives_the_same_events():
    data = request_bytes() + make_frame(1, b'one', key=KEY) + make_close(1000, key=KEY)
    for place in range(1, len(data)):
        server = Server()
        happened = []
        for piece in (data[:place], data[place:]):
            happened += feed(server, piece, None, lambda end, event: (
                end.accept() if event.name == 'request' else None))
        assert [event.name for event in happened] == [
            'request', 'ready', 'text', 'closing'], place
        assert server.data_to_send().endswith(b'\x88\x02\x03\xe8')


def test_interim_responses_are_skipped():
    client = Client(URL)
    data = b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n' + answer(client)
    assert [event.name for event in feed(client, data, 3)] == ['ready']


def test_a_loop_that_is_left_early_loses_nothing():
    pair = open_pair()
    for text in (u'one', u'two', u'three'):
        pair.client.send_text(text)
    data = pair.client.data_to_send()
    for event in pair.server.receive(data[:10]):
        assert event.text == u'one'
        break
    assert story(pair.server.receive(data[10:])) == [('text', u'two'), ('text', u'three')]
    pair.client.send_text(u'four')
    pair.server.receive(pair.client.data_to_send())     # nobody iterates
    assert story(pair.server.events()) == [('text', u'four')]


@pytest.mark.parametrize('place', [0, 1, 63, 64, 300, 999])
def test_a_loop_within_a_loop_goes_on_where_that_is(place):
    pair = open_pair()
    texts = [str(number) for number in range(1000)]
    data = b''.join(make_frame(1, text.encode('ascii')) for text in texts)
    received = []
    for event in pair.client.receive(data):
        received.append(event.text)
        if len(received) == place + 1:
            received.extend(event.text for event in pair.client.receive(data))
    assert received == texts * 2


def test_bytes_of_any_type_are_taken():
    pair = open_pair()
    for kind in (bytes, bytearray, memoryview):
        pair.client.send_binary(kind(b'x'))
        assert story(pair.server.receive(kind(pair.client.data_to_send()))) == [('binary', b'x')]


# -- messages --

@SIZES
def test_messages_go_both_ways(size):
    pair = open_pair(size=size)
    pair.client.send_text(u'caf\xe9')
    pair.client.send_binary(b'')
    pair.client.send_json(a=1)
    pair.client.send_json([1, 2])
    pair.client.send_utf8(b'\xc3\xa9', message_finished=False)
    pair.client.send_utf8(b'')
    pair.server.send_text(u'')
    pair.server.send_binary(bytearray(b'\xff'))
    at_client, at_server = pair.run()
    assert at_server == [
        ('text', u'caf\xe9'), ('binary', b''), ('text', u'{"a": 1}'), ('text', u'[1, 2]'),
        ('text', u'\xe9')]
    assert at_client == [('text', u''), ('binary', b'\xff')]
    assert pair.client.stats.sent.messages == pair.server.stats.received.messages == 5


@SIZES
@pytest.mark.parametrize('compress', [False, True])
def test_a_message_may_be_sent_in_parts(size, compress):
    pair = open_pair({'compress': compress}, {'compress': compress}, size)
    pair.client.send_text(u'one ', message_finished=False)
    assert pair.run() == ([], [])
    pair.client.send_ping(b'between')
    pair.client.send_text(u'', message_finished=False)
    pair.client.send_text(u'two')
    pair.client.send_binary(b'\x00', message_finished=False)
    pair.client.send_binary(b'', message_finished=True)
    at_client, at_server = pair.run()
    assert at_client == [('pong', b'between')]
    assert at_server == [('ping', b'between'), ('text', u'one two'), ('binary', b'\x00')]
    assert pair.client.stats.sent.messages == 2


def test_a_part_of_another_message_is_refused():
    pair = open_pair()
    pair.client.send_text(u'one', message_finished=False)
    for call in (lambda: pair.client.send_binary(b'two'),
                 lambda: pair.client.send_binary(b'two', message_finished=False)):
        with pytest.raises(FrameBuildError, match='finish it first'):
            call()
    pair.client.send_text(u'')
    assert pair.run() == ([], [('text', u'one')])


@pytest.mark.parametrize('finished', [True, False])
def test_large_messages_and_parts_are_sent_in_fragments(finished):
    pair = open_pair({'fragment_size': 4})
    pair.client.send_text(u'0123456789', message_finished=finished)
    data = pair.client.data_to_send()
    assert [bytearray(data)[place] for place in (0, 10, 20)] == [
        0x01, 0x00, 0x80 if finished else 0x00]
    pair.client.send_text(u'x') if not finished else None
    happened = story(pair.server.receive(data + pair.client.data_to_send()))
    assert happened == [('text', u'0123456789' if finished else u'0123456789x')]


def test_without_fragment_size_a_message_is_one_frame():
    pair = open_pair(server={'fragment_size': None})
    pair.server.send_binary(b'x' * 70000)
    pair.server.send_binary(b'y' * 70000, message_finished=False)
    data = pair.server.data_to_send()
    assert len(data) == 2 * (70000 + 10)


def test_messages_are_received_in_parts_if_asked():
    pair = open_pair(server={'message_parts': True})
    pair.client.send_text(u'one ', message_finished=False)
    assert pair.run()[1] == [('text', u'one ', True, False)]
    pair.client.send_text(u'two')
    assert pair.run()[1] == [('text', u'two', True, True)]


def test_options_of_messages_have_their_effect():
    pair = open_pair(
        {'json_dumps': lambda obj: b'"mine"', 'text_as_bytes': True},
        {'json_loads': lambda text: text.upper()})
    pair.client.send_json(1)
    pair.server.send_text(u'caf\xe9')
    pair.run()
    assert pair.at_server[-1].json == u'"MINE"'
    assert pair.at_client[-1].data == u'caf\xe9'.encode('utf-8')


@SIZES
def test_pings_are_answered(size):
    pair = open_pair(size=size)
    pair.client.send_ping(b'1')
    pair.client.send_ping(b'2')
    pair.server.send_pong(b'unasked')
    at_client, at_server = pair.run()
    assert at_server == [('ping', b'1'), ('ping', b'2')]
    assert [entry for entry in at_client if entry != ('pong', b'unasked')] == [
        ('pong', b'1'), ('pong', b'2')]


def test_a_pong_waits_together_with_its_ping():
    pair = open_pair()
    pair.client.send_ping(b'1')
    pair.client.send_text(u'later')
    for event in pair.server.receive(pair.client.data_to_send()):
        if event.name == 'ping':
            assert pair.server.data_to_send() == make_frame(10, b'1')
        else:
            assert pair.server.data_to_send() == b''


def test_pings_are_not_answered_without_auto_pong():
    pair = open_pair(server={'auto_pong': False})
    pair.client.send_ping(b'1')
    assert pair.run() == ([], [('ping', b'1')])


# -- closing --

@SIZES
@pytest.mark.parametrize('by_client', [True, False])
def test_one_end_closes_and_the_other_answers(size, by_client):
    pair = open_pair(size=size)
    first, second = (pair.client, pair.server) if by_client else (pair.server, pair.client)
    first.close(1001, u'bye')
    assert first.state == 'closing'
    assert first.close_sent == (1001, u'bye')
    happened = pair.run() if by_client else pair.run()[::-1]
    assert happened == ([('closed', 1001, u'')], [('closing', 1001, u'bye')])
    assert first.state == second.state == 'closed'
    assert second.close_received == (1001, u'bye') and second.close_sent == (1001, u'')
    for end in (first, second):
        assert story(end.receive(b'')) == [('disconnected', u'closed', True, 0)]


def test_both_close_at_once():
    pair = open_pair()
    pair.client.close(1000, u'a')
    pair.server.close(1001, u'b')
    assert pair.run() == ([('closed', 1001, u'b')], [('closed', 1000, u'a')])


@pytest.mark.parametrize('answer_with, code', [(None, 1000), (4002, 4002)])
def test_messages_may_be_sent_while_closing_is_handled_and_then_the_answer(answer_with, code):
    pair = open_pair()
    pair.client.close()
    for event in pair.server.receive(pair.client.data_to_send()):
        assert (event.name, pair.server.state) == ('closing', 'peer_closing')
        pair.server.send_text(u'last')
        if answer_with is not None:
            pair.server.close(answer_with, u'')
    assert story(pair.client.receive(pair.server.data_to_send())) == [
        ('text', u'last'), ('closed', code, u'')]
    assert pair.server.close_sent == (code, u'')


def test_a_close_frame_may_have_no_code():
    pair = open_pair()
    pair.client.close(None)
    assert pair.run() == ([('closed', 1005, u'')], [('closing', 1005, u'')])


def test_messages_arrive_until_the_answer_to_a_close_frame():
    pair = open_pair()
    pair.client.close()
    pair.server.send_text(u'crossing')
    assert pair.run()[0] == [('text', u'crossing'), ('closed', 1000, u'')]


@pytest.mark.parametrize('end_of_stream', [b'', None, bytearray()])
def test_the_end_of_the_stream_comes_once(end_of_stream):
    pair = open_pair()
    for end, subject in ((pair.client, u'the server'), (pair.server, u'the client')):
        assert story(end.receive(end_of_stream)) == [(
            'disconnected', subject + u' ended the connection without a Close frame', False, 0)]
        assert end.state == 'closed'
        for data in (b'', None, b'x'):
            with pytest.raises(WebSocketClosed, match='end of the stream'):
                end.receive(data)
        assert list(end.events()) == []


@pytest.mark.parametrize('make', [lambda: Client(URL), Server])
@pytest.mark.parametrize('data', [b'', b'HTTP/1.', b'HTTP/1.1 101 OK\r\nUpgrade'])
def test_the_stream_ends_before_the_handshake_is_complete(make, data):
    end = make()
    data = data if isinstance(end, Client) else data.replace(b'HTTP/1.1 101', b'GET / HTTP/1.1')
    assert feed(end, data if isinstance(end, Client) else data[:4].replace(b'HTTP', b'GET ')) == []
    event, = end.receive(None)
    assert event.name == 'disconnected' and 'before the opening handshake' in event.reason
    assert not event.graceful and end.state == 'closed'
    with pytest.raises(WebSocketUnavailable):
        assert end.connection


def test_what_came_before_the_end_of_the_stream_comes_first():
    pair = open_pair()
    pair.client.send_text(u'last')
    pair.server.receive(pair.client.data_to_send())
    assert [event.name for event in pair.server.receive(b'')] == ['text', 'disconnected']


def test_the_client_is_gone_while_the_server_decides():
    server = ask()
    assert list(server.receive(make_frame(1, b'one', key=KEY))) == []
    assert [event.name for event in server.receive(b'')] == ['disconnected']
    for call in (server.accept, lambda: server.reject(403)):
        with pytest.raises(WebSocketClosed, match='too late'):
            call()
    assert server.data_to_send() == b''


# -- faults of the peer --

@SIZES
@pytest.mark.parametrize('frame, code', [
    (make_frame(3), 1002), (make_frame(1, b'\xff'), 1007), (make_frame(2, b'12345'), 1009),
    (make_frame(1, b'', rsv=0x40), 1002), (make_frame(8, b'1'), 1002),
    (make_frame(9, b'x' * 126), 1002), (make_frame(0), 1002)])
def test_a_fault_of_the_server_is_an_event_and_its_close_frame_waits(size, frame, code):
    client = Client(URL, max_message_size=4)
    happened = feed(client, answer(client) + make_frame(1, b'fine') + frame + make_frame(1), size)
    assert [event.name for event in happened] == ['ready', 'text', 'protocol_error']
    assert happened[-1].close_code == code and not happened[-1].critical
    assert client.state == 'failing'
    assert client.close_sent.code == code
    for call in SENDS:
        with pytest.raises(WebSocketClosing, match='broke the WebSocket protocol'):
            call(client)
    assert bytearray(client.data_to_send())[0] == 0x88
    event, = client.receive(b'')
    assert (event.name, event.graceful, event.reason) == (
        'disconnected', False, happened[-1].error)


def test_the_close_frame_waits_when_the_event_of_a_fault_comes():
    pair = open_pair()
    for event in pair.server.receive(make_frame(1, b'\xff', key=KEY)):
        assert event.name == 'protocol_error'
        assert pair.server.data_to_send()[2:4] == b'\x03\xef'


def test_an_unmasked_frame_from_the_client_is_a_fault():
    pair = open_pair()
    event, = pair.server.receive(make_frame(1, b'x'))
    assert (event.name, event.close_code) == ('protocol_error', 1002)


@pytest.mark.parametrize('data, words', [
    (b'SSH-2.0-OpenSSH\r\n', 'SSH'), (b'\x15\x03\x01\x00\x02\x02', 'TLS'),
    (b'HTTP/1.1 101 OK\r\nX-Long: ' + b'x' * 70000, 'too long'),
    (b'HTTP/1.1 101 OK\r\nno colon\r\n\r\n', 'malformed')])
def test_what_is_no_http_is_an_event_with_nothing_to_send(data, words):
    client = Client(URL)
    client.data_to_send()
    event, = client.receive(data)
    assert (event.name, event.critical, event.close_code) == ('protocol_error', True, None)
    assert words in event.error
    assert client.state == 'closed' and client.data_to_send() == b''
    end, = client.receive(b'')
    assert (end.name, end.reason) == ('disconnected', event.error)


@pytest.mark.parametrize('rest', [b'', b'\r\n\r\n'])
def test_a_request_that_is_too_long_is_answered_with_431(rest):
    server = Server()
    event, = server.receive(b'GET / HTTP/1.1\r\nX: ' + b'x' * 70000 + rest)
    assert (event.name, event.response.status_code) == ('rejected', 431)
    assert server.state == 'rejecting'
    assert server.data_to_send().startswith(b'HTTP/1.1 431 Request Header Fields Too Large\r\n')
    assert server.state == 'closed'


def test_no_event_raises_when_it_is_shown():
    pair = open_pair(server={'message_parts': True})
    happened = []
    for byte in bytearray(make_frame(1, u'caf\xe9'.encode('utf-8'), key=KEY)):
        happened += pair.server.receive(bytes(bytearray([byte])))
    assert u''.join(event.text for event in happened) == u'caf\xe9'
    for event in pair.at_client + pair.at_server + happened:
        repr(event), str(event)
        assert pickle.loads(pickle.dumps(event.name)) == event.name
    assert repr(RejectedPart(b'\xff', True)) == 'RejectedPart(data={!r}, message_finished=True)' \
        .format(b'\xff')


# -- faults of an extension --

class Picky(Extension):
    """Fails to send what has a word in it."""

    name = u'x-picky'

    def frame_outbound(self, opcode, rsv, payload, fin):
        if b'bad' in payload:
            raise ValueError('no')
        return rsv, payload


def make_peers_frames(*frames):
    return b''.join(make_frame(opcode, payload) for opcode, payload in frames)


def test_what_cannot_be_answered_as_an_extension_has_failed_is_an_event_all_the_same():
    pair = open_pair({'extensions': [Picky]}, {'extensions': [Picky]})
    client = pair.client
    with pytest.raises(ValueError):
        client.send_text(u'bad')
    happened = feed(client, make_peers_frames(
        (9, b'hello'), (1, b'text'), (8, b'\x03\xe8bye'))) + list(client.receive(b''))
    assert story(happened) == [
        ('ping', b'hello'), ('text', u'text'), ('closing', 1000, u'bye'),
        ('disconnected', u'nothing can be sent any more, as an extension failed: ValueError: no',
         False, 0)]
    assert client.data_to_send() == b''


def test_an_extension_that_fails_to_answer_loses_no_event():
    client = open_pair({'extensions': [Picky]}, {'extensions': [Picky]}).client
    with pytest.raises(ValueError):
        feed(client, make_peers_frames((9, b'bad'), (9, b'bad, too'), (1, b'text')))
    assert story(client.events()) == [
        ('ping', b'bad'), ('ping', b'bad, too'), ('text', u'text')]


# -- rejections, at the client --

REFUSAL = b'HTTP/1.1 403 Forbidden\r\nX-Why: no\r\n'

BODIES = [
    (b'Content-Length: 5\r\n\r\nwordsignored', False),
    (b'Content-Length: 0\r\n\r\n', False),
    (b'Transfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n2;a=b\r\nds\r\n0\r\n\r\n', False),
    (b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n', False),
    (b'\r\nwords', True),
    (b'\r\n', True),
]


@SIZES
@pytest.mark.parametrize('body, is_to_the_end', BODIES)
@pytest.mark.parametrize('parts', [False, True])
def test_a_rejection_is_whole_or_in_parts(size, body, is_to_the_end, parts):
    client = Client(URL, rejected_parts=parts)
    client.data_to_send()
    expected = b'words' if b'wor' in body else b''
    happened = feed(client, REFUSAL + body, size)
    if is_to_the_end:
        assert client.state == ('rejecting' if parts else 'connecting')
        happened += client.receive(b'')
    else:
        assert client.state == 'closed'
        happened += client.receive(None)
    rejected, end = happened[0], happened[-1]
    assert (rejected.name, rejected.response.status_code) == ('rejected', 403)
    assert rejected.response.get('X-Why') == u'no'
    assert (end.name, end.reason, end.graceful) == ('disconnected', rejected.reason, False)
    middle = happened[1:-1]
    if not parts:
        assert rejected.response.body == expected and not middle
        return
    assert b''.join(part.data for part in middle) == expected
    assert [part.message_finished for part in middle] == [False] * (len(middle) - 1) + [True]
    assert middle[-1].data == b''


def test_a_body_in_parts_has_no_limit_and_is_not_held():
    client = Client(URL, rejected_parts=True)
    feed(client, REFUSAL + b'Content-Length: 10000000\r\n\r\n')
    assert client.state == 'rejecting'
    for _ in range(1000):
        part, = client.receive(b'x' * 9999)
        assert len(part.data) == 9999
    assert story(client.receive(b'x' * 2000)) == [
        ('rejected_part', b'x' * 1000, False), ('rejected_part', b'', True)]


@pytest.mark.parametrize('body', [
    b'Content-Length: 5\r\n\r\nwor', b'Transfer-Encoding: chunked\r\n\r\n3\r\nwor\r\n'])
def test_a_body_that_is_cut_short_has_no_last_part(body):
    client = Client(URL, rejected_parts=True)
    happened = feed(client, REFUSAL + body) + list(client.receive(b''))
    assert story(happened)[1:-1] == [('rejected_part', b'wor', False)]
    assert happened[-1].name == 'disconnected' and client.state == 'closed'


@SIZES
@pytest.mark.parametrize('rest', [
    b'x\r\n', b'3\r\nworXX2\r\nds\r\n0\r\n\r\n', b'1;' + b'x' * 5000 + b'\r\n', b'1' * 9 + b'\r\n',
    b'1;' + b'x' * 5000])
def test_a_malformed_chunk_is_a_fault(size, rest):
    client = Client(URL, rejected_parts=True)
    happened = feed(client, REFUSAL + b'Transfer-Encoding: chunked\r\n\r\n' + rest, size)
    assert happened[-1].name == 'protocol_error' and happened[-1].critical
    assert 'chunk' in happened[-1].error
    assert client.state == 'closed'


@pytest.mark.parametrize('status', [b'302 Found', b'401 Unauthorized', b'500', b'200 OK'])
def test_redirects_and_other_answers_are_rejections(status):
    client = Client(URL)
    event, = client.receive(
        b'HTTP/1.1 ' + status + b'\r\nLocation: ws://other/\r\nContent-Length: 0\r\n\r\n')
    assert event.name == 'rejected'


@pytest.mark.parametrize('parts', [False, True])
@pytest.mark.parametrize('change', [
    lambda data: data.replace(b'Accept: ', b'Accept: x'),
    lambda data: data.replace(b'Upgrade: websocket\r\n', b''),
    lambda data: data[:-2] + b'Sec-WebSocket-Protocol: chat\r\n\r\n',
    lambda data: data[:-2] + b'Sec-WebSocket-Extensions: x-mine\r\n\r\n'])
def test_a_wrong_101_is_rejected(change, parts):
    client = Client(URL, rejected_parts=parts)
    happened = feed(client, change(answer(client)) + make_frame(1, b'x'))
    assert [event.name for event in happened] == ['rejected'] + ['rejected_part'] * parts
    assert client.state == 'closed'


def test_a_required_extension_that_is_not_accepted_is_a_rejection():
    class Needed(Checksum):
        is_required = True

    pair = Pair({'extensions': [Needed]})
    at_client, _at_server = pair.run()
    assert [entry[0] for entry in at_client] == ['rejected']
    assert 'required' in at_client[0][2]


# -- refusals, by the server --

@SIZES
@pytest.mark.parametrize('body', [b'words', u'words', b''])
def test_a_server_refuses(size, body):
    client = Client(URL)
    server = Server()
    request, = feed(server, client.data_to_send() + make_frame(1, b'x', key=KEY), size)
    server.reject(401, {'WWW-Authenticate': 'Basic', 'Content-Type': 'text/css'}, body)
    assert server.state == 'closed'
    data = server.data_to_send()
    assert b'\r\nConnection: close\r\n' in data
    event, = feed(client, data, size)
    assert (event.name, event.response.status_code) == ('rejected', 401)
    assert event.response.body == (b'words' if body else b'')
    assert event.response.get('www-authenticate') == u'Basic'
    assert event.response.get('content-type') == u'text/css'
    for call in (server.accept, lambda: server.reject(403)):
        with pytest.raises(WebSocketClosed, match='too late'):
            call()
    with pytest.raises(WebSocketUnavailable, match='body=None'):
        server.reject_data(b'x')
    assert story(server.receive(b'')) == [
        ('disconnected', u'rejected with HTTP 401', False, 0)]


@SIZES
def test_a_server_refuses_with_a_body_in_parts(size):
    client = Client(URL, rejected_parts=True)
    server = Server()
    feed(server, client.data_to_send())
    server.reject(503, body=None)
    assert server.state == 'rejecting'
    happened = feed(client, server.data_to_send(), size)
    assert story(happened)[0][0] == 'rejected' and client.state == 'rejecting'
    server.reject_data(b'')
    assert server.data_to_send() == b''
    for chunk in (b'one ', bytearray(b'two '), memoryview(b'x' * 300)):
        server.reject_data(chunk)
        part = feed(client, server.data_to_send(), size)
        assert b''.join(event.data for event in part) == bytes(bytearray(chunk))
    server.reject_data(b'end', finished=True)
    assert server.state == 'closed'
    assert [event.message_finished for event in feed(client, server.data_to_send())] == [
        False, True]
    assert client.state == 'closed'
    with pytest.raises(WebSocketUnavailable, match='finished'):
        server.reject_data(b'')


def test_a_body_in_parts_ends_with_the_connection():
    server = ask()
    server.reject(503, body=None)
    assert [event.name for event in server.receive(b'')] == ['disconnected']
    assert server.state == 'closed'
    with pytest.raises(WebSocketUnavailable):
        server.reject_data(b'x')


def test_a_client_of_http_1_0_gets_no_chunks():
    server = Server()
    event, = server.receive(b'GET / HTTP/1.0\r\nHost: a\r\n\r\n')
    assert event.name == 'rejected'
    server.reject(404, body=None)
    server.reject_data(b'words')
    server.reject_data(b'', finished=True)
    data = server.data_to_send()
    assert b'chunked' not in data and b'Content-Length' not in data
    assert data.endswith(b'\r\n\r\nwords')


BAD_REQUESTS = [
    (b'POST / HTTP/1.1\r\nHost: a\r\n\r\n', 405),
    (b'GET / HTTP/1.1\r\nHost: a\r\n\r\n', 426),
    (b'GET / HTTP/1.0\r\nHost: a\r\n\r\n', 426),
    (b'GET / HTTP/1.1\r\nbad line\r\n\r\n', 400),
    (b'hello', 400),
    (b'\x16\x03\x01\x00', 400),
    (b'GET /\r\n', 400),
]


@SIZES
@pytest.mark.parametrize('data, status', BAD_REQUESTS)
def test_a_bad_request_is_answered_and_an_event_has_the_answer(size, data, status):
    server = Server()
    event, = feed(server, data, size)
    assert (event.name, event.response.status_code) == ('rejected', status)
    assert event.reason in event.response.body.decode('utf-8')
    assert server.state == 'rejecting'
    with pytest.raises(WebSocketUnavailable, match='can not be accepted'):
        server.accept()
    assert server.data_to_send() == event.response.raw + event.response.body
    assert server.state == 'closed'
    assert feed(server, b'more') == []
    with pytest.raises(WebSocketClosed):
        server.reject(404)
    end, = server.receive(b'')
    assert (end.name, end.reason) == ('disconnected', event.reason)


@pytest.mark.parametrize('data, _status', BAD_REQUESTS)
def test_the_answer_to_a_bad_request_may_be_replaced(data, _status):
    server = Server()
    event, = server.receive(data)
    server.reject(404, {'X-Mine': '1'}, u'nothing here')
    assert server.state == 'closed'
    answered = server.data_to_send()
    assert answered.startswith(b'HTTP/1.1 404 ') and answered.endswith(b'\r\n\r\nnothing here')
    assert get_header(answered, b'x-mine') == b'1'
    with pytest.raises(WebSocketClosed):
        server.reject(404)


def test_a_malformed_offer_of_extensions_is_a_bad_request():
    data = request_bytes()[:-2] + b'Sec-WebSocket-Extensions: =\r\n\r\n'
    event, = Server().receive(data)
    assert (event.name, event.response.status_code) == ('rejected', 400)


# -- requests that were parsed elsewhere --

def headers_of(client):
    lines = client.data_to_send().decode('latin-1').split(u'\r\n')[1:-2]
    return [tuple(line.split(u': ', 1)) for line in lines]


@pytest.mark.parametrize('convert', [
    lambda headers: headers, dict,
    lambda headers: [(name.encode('ascii'), value.encode('ascii')) for name, value in headers]])
def test_a_server_is_made_from_a_request(convert):
    client = Client(URL, protocols=['a'], compress=True)
    server = Server.from_request(
        'GET', b'/feed?a=1', convert(headers_of(client)), protocols=['a'], compress=True)
    assert server.request.path == u'/feed'
    assert [event.name for event in server.events()] == ['request']
    assert [event.name for event in server.accept()] == ['ready']
    assert [event.name for event in client.receive(server.data_to_send())] == ['ready']
    assert client.protocol == u'a' and client.extensions == {u'permessage-deflate'}
    client.send_text(u'hi')
    assert story(server.receive(client.data_to_send())) == [('text', u'hi')]


def test_a_server_may_accept_a_request_before_its_event():
    client = Client(URL)
    server = Server.from_request(u'GET', u'/caf\xe9', headers_of(client) + [(u'X', u'\u20ac')])
    assert [event.name for event in server.accept()] == ['request', 'ready']
    assert server.request.resource == u'/caf\xe9'
    assert server.request.get('x').encode('latin-1') == u'\u20ac'.encode('utf-8')


@pytest.mark.parametrize('method, headers, status', [
    (u'POST', {}, 405), (u'GET', {u'Host': u'a'}, 426), (u'get', {}, 400),
    (u'GET', {u'bad name': u''}, 400)])
def test_a_bad_request_that_was_parsed_elsewhere_is_answered(method, headers, status):
    server = Server.from_request(method, u'/', headers)
    event, = server.events()
    assert (event.name, event.response.status_code) == ('rejected', status)
    assert server.state == 'rejecting'


@pytest.mark.parametrize('arguments, error', [
    ((u'GET', u'/\r\nX: y', {}), ValueError), ((u'GET', u'/', {u'a': u'b\nc'}), ValueError),
    ((u'GET', u'/', {u'a\r': u'b'}), ValueError), ((u'GET', u'/', {u'a': b'\0'}), ValueError),
    ((u'GET', u'/', {u'a': 1}), TypeError), ((None, u'/', {}), TypeError),
    ((u'GET', u'/', None), TypeError), ((u'GET', u'/', u'a: b'), TypeError)])
def test_what_can_not_have_been_parsed_raises(arguments, error):
    with pytest.raises(error):
        Server.from_request(*arguments)


# -- handshakes that were made elsewhere --

def test_a_connection_alone_is_the_protocol_after_the_handshake():
    ends = [Connection(CLIENT), Connection(SERVER)]
    for end in ends:
        end.accept()
    client, server = ends
    assert story(server.receive(client.encode(9, b'1'))) == [('ping', b'1')]
    reply = server.take_pending()
    assert reply == (10, b'1') and server.take_pending() is None
    assert story(client.receive(server.encode(*reply))) == [('pong', b'1')]
    assert story(server.receive(client.encode_close(1001, u'bye'))) == [('closing', 1001, u'bye')]
    assert story(client.receive(server.encode(*server.take_pending()))) == [('closed', 1001, u'')]
    assert client.is_close_complete and server.is_close_complete


@pytest.mark.parametrize('end_it', [
    lambda server: server.encode_close(1000, u'bye'), lambda server: server.disconnect()],
    ids=['closed', 'disconnected'])
@pytest.mark.parametrize('sent, event', [
    (make_frame(9, b'1', key=b'key!'), 'ping'), (b'\xff\xff', 'protocol_error')],
    ids=['ping', 'fault'])
def test_a_connection_has_nothing_to_reply_once_the_handler_has_closed_it(sent, event, end_it):
    server = Connection(SERVER)
    server.accept()
    assert [happened.name for happened in server.receive(sent)] == [event]
    end_it(server)
    assert server.take_pending() is None


# -- misuse --

SENDS = [
    lambda end: end.send_text(u'x'), lambda end: end.send_binary(b'x'),
    lambda end: end.send_utf8(b'x'), lambda end: end.send_json(1),
    lambda end: end.send_ping(), lambda end: end.send_pong(b''),
    lambda end: end.send_text(u'x', message_finished=False), lambda end: end.close()]


def in_state(state):
    """Return an end that was led to a state."""
    if state == 'connecting client':
        return Client(URL)
    if state == 'connecting server':
        return Server()
    if state == 'asked':
        return ask()
    if state == 'rejecting client':
        client = Client(URL, rejected_parts=True)
        feed(client, REFUSAL + b'\r\n')
        return client
    if state == 'rejecting server':
        server = ask()
        server.reject(403, body=None)
        return server
    pair = open_pair()
    if state == 'closing':
        pair.client.close()
    elif state == 'failing':
        feed(pair.client, make_frame(3))
    elif state == 'closed':
        pair.client.close()
        pair.run()
    elif state == 'disconnected':
        list(pair.client.receive(b''))
    return pair.client


@pytest.mark.parametrize('state, error, words', [
    ('connecting client', WebSocketUnavailable, 'after the Ready event'),
    ('connecting server', WebSocketUnavailable, 'after the Ready event'),
    ('asked', WebSocketUnavailable, 'after the Ready event'),
    ('rejecting client', WebSocketClosed, 'closed'),
    ('rejecting server', WebSocketClosed, 'closed'),
    ('closing', WebSocketClosing, 'nothing may follow'),
    ('failing', WebSocketClosing, 'broke'),
    ('closed', WebSocketClosed, 'closed'),
    ('disconnected', WebSocketClosed, 'closed')])
@pytest.mark.parametrize('send', SENDS)
def test_nothing_can_be_sent_in_a_state_that_forbids_it(state, error, words, send):
    end = in_state(state)
    end.data_to_send()
    with pytest.raises(error, match=words):
        send(end)
    assert end.data_to_send() == b''


@pytest.mark.parametrize('state', ['connecting client', 'connecting server', 'asked',
                                   'rejecting client', 'rejecting server'])
def test_there_is_no_connection_before_ready(state):
    with pytest.raises(WebSocketUnavailable, match='from Ready on'):
        assert in_state(state).connection


@pytest.mark.parametrize('state', ['open', 'closing', 'failing', 'closed', 'disconnected'])
def test_there_is_a_connection_from_ready_on(state):
    end = in_state(state)
    assert isinstance(end.connection, Connection)
    assert end.connection.stats is end.stats


@pytest.mark.parametrize('state', ['connecting client', 'connecting server', 'asked'])
def test_close_before_ready_says_how_to_give_up(state):
    with pytest.raises(WebSocketUnavailable, match='close.* after the Ready event.* end TCP'):
        in_state(state).close()


@pytest.mark.parametrize('send', [
    lambda end: end.send_json(a=1), lambda end: end.send_binary(b'x'),
    lambda end: end.send_utf8(b'x' * 9, message_finished='no'),
    lambda end: end.send_text(u'x', message_finished=2)])
def test_no_other_message_comes_between_parts_and_a_wrong_flag_changes_nothing(send):
    pair = open_pair(client={'fragment_size': 4})
    pair.client.send_text(u'a', message_finished=False)
    with pytest.raises((FrameBuildError, TypeError), match='finish'):
        send(pair.client)
    pair.client.send_text(u'b')
    assert pair.run()[1] == [('text', u'ab')]


@pytest.mark.parametrize('flag', [None, 0, False])
def test_a_false_flag_leaves_a_message_unfinished(flag):
    pair = open_pair()
    pair.client.send_text(u'a', message_finished=flag)
    pair.client.send_text(u'b', message_finished=1)
    assert pair.run()[1] == [('text', u'ab')]


def test_a_part_of_a_body_after_the_clients_end_says_that_the_client_is_gone():
    server = in_state('rejecting server')
    list(server.receive(b''))
    with pytest.raises(WebSocketClosed, match='client has ended'):
        server.reject_data(b'x')


def test_reject_with_the_body_in_the_place_of_the_headers_says_what_to_write():
    server = ask()
    with pytest.raises(TypeError, match=r"reject\(404, body=u?'no such path'\)"):
        server.reject(404, u'no such path')
    server.reject(404, body=u'no such path')


def test_a_server_can_not_answer_before_the_request():
    server = Server()
    for call, name in ((server.accept, 'accept'), (lambda: server.reject(403), 'reject')):
        with pytest.raises(WebSocketUnavailable, match=r'call {}\(\) after'.format(name)):
            call()
    with pytest.raises(WebSocketUnavailable, match='body=None'):
        server.reject_data(b'x')
    assert server.state == 'connecting'


def test_a_server_answers_once():
    server = ask()
    server.accept()
    for call in (server.accept, lambda: server.reject(403)):
        with pytest.raises(WebSocketClosed, match='too late'):
            call()


@pytest.mark.parametrize('arguments, error, words', [
    ({'protocol': u'c'}, ValueError, 'did not offer'),
    ({'protocol': u'a, b'}, ValueError, 'subprotocol name'),
    ({'protocol': 1}, ValueError, 'subprotocol name'),
    ({'headers': {'X': 'a\r\nb'}}, ValueError, 'CR, LF or NUL'),
    ({'headers': {'X': b'a\0'}}, ValueError, 'CR, LF or NUL'),
    ({'headers': {'X: y': 'z'}}, ValueError, 'header name'),
    ({'headers': {'Sec-WebSocket-Accept': 'z'}}, ValueError, 'set by the handshake'),
    ({'headers': {'connection': 'z'}}, ValueError, 'set by the handshake'),
    ({'headers': {'Content-Length': '1'}}, ValueError, 'set by the server'),
    ({'headers': 'X: y'}, TypeError, 'headers'),
    ({'extensions': [1]}, TypeError, 'factories'),
    ({'extensions': Checksum}, TypeError, 'factories'),
    ({'extensions': [dict]}, TypeError, 'Extension')])
def test_accept_checks_its_arguments_and_the_request_still_waits(arguments, error, words):
    server = ask()
    with pytest.raises(error, match=words):
        server.accept(**arguments)
    assert (server.state, server.data_to_send()) == ('connecting', b'')
    assert [event.name for event in server.accept(u'b')] == ['ready']


@pytest.mark.parametrize('arguments, error', [
    ((200,), ValueError), (('403',), TypeError), ((403, {'Content-Length': '1'}), ValueError),
    ((403, {'X': 'a\nb'}), ValueError), ((403, {'Upgrade': 'x'}), ValueError),
    ((403, (), 1), TypeError)])
def test_reject_checks_its_arguments_and_the_request_still_waits(arguments, error):
    server = ask()
    with pytest.raises(error):
        server.reject(*arguments)
    assert (server.state, server.data_to_send()) == ('connecting', b'')
    server.reject(403)


@pytest.mark.parametrize('call, error, words', [
    (lambda end: end.send_text(b'x'), TypeError, 'send_binary'),
    (lambda end: end.send_text([u'x']), TypeError, 'send_text takes'),
    (lambda end: end.send_text(iter([u'x'])), TypeError, 'message_finished=False'),
    (lambda end: end.send_binary(iter([b'x'])), TypeError, 'message_finished=False'),
    (lambda end: end.send_binary([b'x']), TypeError, 'message_finished=False'),
    (lambda end: end.send_text(u'x', message_finished='no'), TypeError, 'message_finished'),
    (lambda end: end.close(None, u'bye'), ValueError, 'no reason'),
    (lambda end: end.send_text(u'\ud800'), ValueError, 'surrogate'),
    (lambda end: end.send_binary(u'x'), TypeError, 'send_text'),
    (lambda end: end.send_utf8(b'\xc3'), ValueError, 'UTF-8'),
    (lambda end: end.send_utf8(u'x'), TypeError, 'send_text'),
    (lambda end: end.send_json({}, a=1), TypeError, 'not both'),
    (lambda end: end.send_json(float('nan')), ValueError, 'NaN'),
    (lambda end: end.send_ping(b'x' * 126), ValueError, '125'),
    (lambda end: end.send_pong(u'x'), TypeError, 'encode it'),
    (lambda end: end.close(1005), ValueError, '1005'),
    (lambda end: end.close('x'), TypeError, 'close code'),
    (lambda end: end.receive(u'x'), TypeError, 'encode it'),
    (lambda end: end.receive(1), TypeError, 'receive takes')])
def test_wrong_arguments_raise_and_change_nothing(call, error, words):
    pair = open_pair()
    for end in (pair.client, pair.server):
        with pytest.raises(error, match=words):
            call(end)
        assert (end.state, end.data_to_send()) == ('open', b'')


@pytest.mark.parametrize('options, error', [
    ({'protocols': 'chat'}, TypeError), ({'protocols': ['a b']}, ValueError),
    ({'compress': 1.5}, TypeError), ({'max_message_size': 0}, ValueError),
    ({'json_loads': 1}, TypeError), ({'json_dumps': 1}, TypeError),
    ({'fragment_size': 0}, ValueError), ({'extensions': [1]}, TypeError),
    ({'message_parts': 'yes'}, TypeError), ({'text_as_bytes': 'yes'}, TypeError),
    ({'auto_pong': 'yes'}, TypeError), ({'nonsense': 1}, TypeError)])
@pytest.mark.parametrize('make', [lambda **options: Client(URL, **options), Server])
def test_options_are_checked(make, options, error):
    with pytest.raises(error):
        make(**options)


@pytest.mark.parametrize('options, error', [
    ({'url': u'http://example.org'}, ValueError), ({'agent': 1}, TypeError),
    ({'headers': {'Upgrade': 'x'}}, ValueError), ({'rejected_parts': 'yes'}, TypeError),
    ({'headers': lambda: 1}, errors.ConnectFail), ({'extensions': [dict]}, TypeError)])
def test_options_of_a_client_are_checked(options, error):
    with pytest.raises(error):
        Client(**dict({'url': URL}, **options))


def test_a_headers_function_that_fails_is_logged(caplog):
    with pytest.raises(errors.ConnectFail):
        Client(URL, headers=lambda: 1 // 0)


@pytest.mark.parametrize('end', [Client(URL), Server()])
def test_ends_can_not_be_copied(end):
    for call in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match='copied'):
            call(end)


def test_ends_show_what_they_are():
    server = Server()
    assert repr(server) == 'Server()'
    feed(server, request_bytes())
    assert repr(server) == 'Server(<request GET /feed?a=***>)'
