"""`lomond.sansio` against wsproto, in memory and in both roles, whole and byte by byte."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.extensions import DeflateOptions
from lomond.sansio import Client, Server

wsproto = pytest.importorskip('wsproto')

from wsproto import ConnectionType, WSConnection  # noqa: E402
from wsproto import events as theirs  # noqa: E402
from wsproto.extensions import PerMessageDeflate  # noqa: E402

URL = u'ws://example.org/feed?a=1'
TEXT = u'{"price": 1.5, "caf\xe9": 1} ' * 100
MESSAGES = [u'', u'\u20ac \U0001f600 \x00', TEXT, b'', b'\x00\xff', TEXT.encode('utf-8') * 9]

SIZES = pytest.mark.parametrize('size', [None, 1])


def cut(data, size):
    """Cut bytes into pieces of a size, None for one piece."""
    return [data[start:start + size] for start in range(0, len(data), size)] \
        if size else [data] * bool(data)


class Theirs(object):
    """A connection of wsproto, and how its examples use it.

    Parameters: its role; a function of its Request event that returns what to answer.
    """

    def __init__(self, role, answer=None):
        self._connection = WSConnection(role)
        self._output = []
        self._answer = answer
        self.events = []

    @property
    def state(self):
        return self._connection.state.name

    def send(self, event):
        self._output.append(bytes(self._connection.send(event)))

    def data_to_send(self):
        data = b''.join(self._output)
        del self._output[:]
        return data

    def receive(self, data):
        self._connection.receive_data(data)
        for event in self._connection.events():
            self.events.append(event)
            if isinstance(event, theirs.Request):
                for answer in self._answer(event):
                    self.send(answer)
            elif isinstance(event, theirs.Ping):
                self.send(event.response())
            elif isinstance(event, theirs.CloseConnection) and 'REMOTE' in self.state:
                self.send(event.response())

    def take(self):
        """Return the events since the last time, the parts of messages joined."""
        happened, parts = [], []
        for event in self.events:
            if isinstance(event, theirs.Message):
                parts.append(event.data)
                if not event.message_finished:
                    continue
                data = parts[0][:0].join([type(parts[0][:0])(part) for part in parts])
                happened.append(bytes(data) if isinstance(data, bytearray) else data)
                parts = []
            else:
                happened.append(event)
        self.events = []
        return happened


class Ours(object):
    """An end of lomond, and what happened at it."""

    def __init__(self, end, answer=None):
        self.end = end
        self._answer = answer
        self.events = []

    def data_to_send(self):
        return self.end.data_to_send()

    def receive(self, data):
        for event in self.end.receive(data):
            self.events.append(event)
            if event.name == 'request':
                self._answer(self.end)

    def take(self):
        happened = [
            event.text if event.name == 'text' else event.data if event.name == 'binary'
            else event for event in self.events]
        self.events = []
        return happened


def carry(one, other, size):
    """Carry bytes to and fro until there are none."""
    while True:
        forth, back = one.data_to_send(), other.data_to_send()
        for piece in cut(forth, size):
            other.receive(piece)
        for piece in cut(back, size):
            one.receive(piece)
        if not forth and not back:
            return


def our_client(size, answer, options):
    """Return an end of ours and of theirs after the handshake, their server answering."""
    ours = Ours(Client(URL, **options))
    server = Theirs(ConnectionType.SERVER, answer)
    carry(ours, server, size)
    return ours, server


def our_server(size, answer, options, **request):
    """Return an end of ours and of theirs after the handshake, our server answering."""
    ours = Ours(Server(**options), answer)
    client = Theirs(ConnectionType.CLIENT)
    client.send(theirs.Request(host=u'example.org', target=u'/feed?a=1', **request))
    carry(client, ours, size)
    return ours, client


def accept(server):
    server.accept()


def open_both(role, size, is_compressed):
    if role == 'client':
        extensions = [PerMessageDeflate()] if is_compressed else []
        ours, other = our_client(
            size, lambda request: [theirs.AcceptConnection(extensions=extensions)],
            {'compress': is_compressed})
        assert [event.name for event in ours.take()] == ['ready']
    else:
        extensions = [PerMessageDeflate()] if is_compressed else []
        ours, other = our_server(
            size, accept, {'compress': is_compressed}, extensions=extensions)
        assert [event.name for event in ours.take()] == ['request', 'ready']
    assert len(other.take()) == 1 and other.state == 'OPEN'
    assert ours.end.state == 'open'
    assert ours.end.extensions == ({u'permessage-deflate'} if is_compressed else set())
    return ours, other


ROLES = pytest.mark.parametrize('role', ['client', 'server'])
BOTH_WAYS = pytest.mark.parametrize('is_compressed', [False, True])


@ROLES
@SIZES
@BOTH_WAYS
def test_messages_go_both_ways(role, size, is_compressed):
    ours, other = open_both(role, size, is_compressed)
    for message in MESSAGES:
        if isinstance(message, bytes):
            ours.end.send_binary(message)
            other.send(theirs.BytesMessage(data=message))
        else:
            ours.end.send_text(message)
            other.send(theirs.TextMessage(data=message))
    carry(ours, other, size)
    assert ours.take() == MESSAGES
    assert other.take() == MESSAGES


@ROLES
@SIZES
@BOTH_WAYS
def test_messages_in_parts_go_both_ways(role, size, is_compressed):
    ours, other = open_both(role, size, is_compressed)
    for part, is_last in ((u'one ', False), (u'caf\xe9 ', False), (u'', True)):
        ours.end.send_text(part, message_finished=is_last)
        other.send(theirs.TextMessage(data=part, message_finished=is_last))
    ours.end.send_ping(b'between')
    for part, is_last in ((b'\x00', False), (b'\xff', True)):
        ours.end.send_binary(part, message_finished=is_last)
        other.send(theirs.BytesMessage(data=part, message_finished=is_last))
    carry(ours, other, size)
    assert [event for event in ours.take() if getattr(event, 'name', '') != 'pong'] == [
        u'one caf\xe9 ', b'\x00\xff']
    assert [event for event in other.take() if not isinstance(event, theirs.Ping)] == [
        u'one caf\xe9 ', b'\x00\xff']


@ROLES
@SIZES
def test_pings_go_both_ways(role, size):
    ours, other = open_both(role, size, False)
    ours.end.send_ping(b'1')
    other.send(theirs.Ping(payload=b'2'))
    carry(ours, other, size)
    assert sorted((event.name, event.data) for event in ours.take()) == [
        ('ping', b'2'), ('pong', b'1')]
    assert sorted(type(event).__name__ for event in other.take()) == ['Ping', 'Pong']


@ROLES
@SIZES
@pytest.mark.parametrize('code, reason', [(1000, u'bye'), (4001, u'\u20ac'), (1001, u'')])
def test_we_close(role, size, code, reason):
    ours, other = open_both(role, size, False)
    ours.end.close(code, reason)
    carry(ours, other, size)
    close, = other.take()
    assert (close.code, close.reason or u'', other.state) == (code, reason, 'CLOSED')
    event, = ours.take()
    assert (event.name, event.code, ours.end.state) == ('closed', code, 'closed')


@ROLES
@SIZES
@pytest.mark.parametrize('code, reason', [(1000, u'bye'), (4001, u'\u20ac'), (1001, None)])
def test_they_close(role, size, code, reason):
    ours, other = open_both(role, size, False)
    other.send(theirs.CloseConnection(code=code, reason=reason))
    carry(ours, other, size)
    event, = ours.take()
    assert (event.name, event.code, event.reason) == ('closing', code, reason or u'')
    assert (ours.end.state, other.state) == ('closed', 'CLOSED')
    end, = ours.end.receive(b'')
    assert end.graceful


@ROLES
@SIZES
def test_both_close_at_once(role, size):
    ours, other = open_both(role, size, False)
    ours.end.close(1000)
    other.send(theirs.CloseConnection(code=1001))
    carry(ours, other, size)
    assert [(event.name, event.code) for event in ours.take()] == [('closed', 1001)]
    assert (ours.end.state, other.state) == ('closed', 'CLOSED')


@SIZES
def test_our_client_sees_the_answer_of_their_server(size):
    def answer(request):
        assert (request.target, request.host) == (u'/feed?a=1', u'example.org')
        assert list(request.subprotocols) == [u'a', u'b']
        assert (b'x-one', b'1') in [
            (name.lower(), value) for name, value in request.extra_headers]
        yield theirs.AcceptConnection(
            subprotocol=u'b', extra_headers=[(b'X-Two', b'2')])

    ours, other = our_client(size, answer, {
        'protocols': ['a', 'b'], 'headers': {'X-One': '1'}, 'compress': True})
    ready, = ours.take()
    assert (ready.protocol, ready.extensions) == (u'b', set())
    assert ready.response.get('x-two') == u'2'
    assert other.state == 'OPEN'


@SIZES
def test_their_client_sees_the_answer_of_our_server(size):
    def answer(server):
        assert server.request.get('x-one') == u'1'
        server.accept(u'b', headers=[('X-Two', '2')])

    ours, client = our_server(
        size, answer, {'compress': True}, subprotocols=[u'a', u'b'],
        extra_headers=[(b'X-One', b'1')], extensions=[PerMessageDeflate()])
    accepted, = client.take()
    assert accepted.subprotocol == u'b'
    assert (b'x-two', b'2') in [
        (name.lower(), value) for name, value in accepted.extra_headers]
    assert [extension.name for extension in accepted.extensions] == [u'permessage-deflate']
    assert ours.end.protocol == u'b'


@SIZES
@pytest.mark.parametrize('options, parameters', [
    (DeflateOptions(server_max_window_bits=10), {}),
    (DeflateOptions(client_max_window_bits=10), {}),
    (DeflateOptions(server_no_context_takeover=True, client_no_context_takeover=True), {}),
    (True, {'client_no_context_takeover': True, 'server_no_context_takeover': True}),
    (True, {'client_max_window_bits': 9, 'server_max_window_bits': 11}),
])
@ROLES
def test_parameters_of_compression_are_agreed_on(role, size, options, parameters):
    theirs_too = PerMessageDeflate(**parameters)
    if role == 'client':
        ours, other = our_client(
            size, lambda request: [theirs.AcceptConnection(extensions=[theirs_too])],
            {'compress': options})
    else:
        ours, other = our_server(size, accept, {'compress': options}, extensions=[theirs_too])
    assert ours.end.extensions == {u'permessage-deflate'}
    ours.take(), other.take()
    for _ in range(3):
        ours.end.send_text(TEXT)
        other.send(theirs.TextMessage(data=TEXT))
    carry(ours, other, size)
    assert ours.take() == other.take() == [TEXT] * 3


@SIZES
@pytest.mark.parametrize('parts', [False, True])
def test_our_client_is_refused_by_their_server(size, parts):
    def answer(request):
        yield theirs.RejectConnection(
            status_code=403, headers=[(b'X-Why', b'no')], has_body=True)
        yield theirs.RejectData(data=b'two ', body_finished=False)
        yield theirs.RejectData(data=b'parts', body_finished=True)

    ours, _server = our_client(size, answer, {'rejected_parts': parts})
    happened = ours.take() + list(ours.end.receive(b''))
    rejected = happened[0]
    assert (rejected.name, rejected.response.status_code) == ('rejected', 403)
    assert rejected.response.get('X-Why') == u'no'
    assert happened[-1].name == 'disconnected'
    if parts:
        assert b''.join(event.data for event in happened[1:-1]) == b'two parts'
        assert happened[-2].message_finished
    else:
        assert rejected.response.body == b'two parts'


@SIZES
@pytest.mark.parametrize('parts', [False, True])
def test_their_client_is_refused_by_our_server(size, parts):
    def answer(server):
        if not parts:
            server.reject(403, {'X-Why': 'no'}, b'two parts')
            return
        server.reject(403, {'X-Why': 'no'}, None)
        server.reject_data(b'two ')
        server.reject_data(b'parts', finished=True)

    _server, client = our_server(size, answer, {})
    happened = client.take()
    assert happened[0].status_code == 403
    assert (b'x-why', b'no') in [
        (name.lower(), value) for name, value in happened[0].headers]
    assert b''.join(bytes(event.data) for event in happened[1:]) == b'two parts'
    assert happened[-1].body_finished


@SIZES
def test_a_fault_of_ours_is_one_to_them_and_theirs_to_us(size):
    ours, other = open_both('server', size, False)
    for piece in cut(b'\x83\x80abcd', size):
        ours.receive(piece)
    fault, = ours.take()
    assert (fault.name, fault.close_code) == ('protocol_error', 1002)
    carry(ours, other, size)
    close = other.take()[0]
    assert (close.code, close.reason) == (1002, fault.error)
