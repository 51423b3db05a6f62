"""Extensions and messages in parts over real sockets: client and server, loop, pool and aio."""

from __future__ import absolute_import, division, print_function

import logging
from functools import partial

import pytest

from lomond import WebSocket, events
from lomond.errors import ProtocolError, WebSocketUnavailable
from lomond.extensions import Extension, PermessageDeflate
from lomond.opcode import Opcode
from lomond.pool import Pool
from lomond.server import Server
from tests.network.driving import (
    Background,
    accept_and_send,
    echo,
    echo_handler,
    read_to_close,
)
from tests.programs import wait_until
from tests.protocol.examples import Checksum, Doubled
from tests.support import (
    RawServer,
    accept_for,
    get_header,
    make_close,
    make_frame,
    names,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

BOTH = [Doubled, Checksum]
LARGE = b'0123456789abcdef' * 16384


def accept_with(extensions):
    """Make a script that accepts with these extensions, and closes."""
    def script(sock):
        request = read_head(sock)
        sock.sendall(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n'
                     b'Connection: Upgrade\r\nSec-WebSocket-Extensions: ' + extensions
                     + b'\r\nSec-WebSocket-Accept: '
                     + accept_for(get_header(request, b'Sec-WebSocket-Key')) + b'\r\n\r\n'
                     + make_close(1000))
        read_to_close(sock)
    return script


def talk(websocket, *messages):
    """Send messages, one after the other has come back, and close; return all events."""
    seen = []
    left = list(messages)
    for event in websocket:
        seen.append(event)
        if event.name == 'ready' or event.name in ('text', 'binary') and event.message_finished:
            if left:
                message = left.pop(0)
                (websocket.send_binary if isinstance(message, bytes) else websocket.send_text)(
                    message)
            else:
                websocket.close()
    return seen


@pytest.mark.parametrize('compress', [False, True])
def test_both_ends_use_the_extensions_that_they_agreed_on(compress):
    with Server(echo_handler, extensions=BOTH, compress=compress) as server:
        websocket = WebSocket(server.url, extensions=[Checksum, Doubled], compress=compress)
        seen = talk(websocket, u'caf\xe9', b'', LARGE)
    ready, = (event for event in seen if event.name == 'ready')
    assert ready.extensions == {u'x-checksum', u'x-doubled'} | (
        {u'permessage-deflate'} if compress else set())
    assert [getattr(event, 'text', getattr(event, 'data', None)) for event in seen
            if event.name in ('text', 'binary')] == [u'caf\xe9', b'', LARGE]
    assert seen[-1].graceful


def test_a_pool_and_a_server_with_one_thread_use_them_too():
    def serve():
        for websocket, event in server:
            if event.name == 'binary':
                websocket.send_binary(event.data)

    received = []
    with Server(threads=False, extensions=BOTH) as server:
        serving = Background(serve)
        pool = Pool()
        websocket = pool.add(WebSocket(server.url, extensions=BOTH))
        for _websocket, event in pool:
            if event.name == 'ready':
                websocket.send_binary(LARGE)
            elif event.name == 'binary':
                received.append(event.data)
                websocket.close()
        server.close()
        serving.result()
    assert received == [LARGE]


def test_a_server_that_knows_none_gets_an_offer_and_answers_nothing(link):
    with link.serve(echo) as server:
        seen = talk(link.connect(server.url, extensions=BOTH), u'plain')
    ready, = (event for event in seen if event.name == 'ready')
    assert ready.extensions == set()
    assert seen[-1].graceful


def test_each_request_offers_what_the_factories_make():
    heads = []

    def script(sock):
        heads.append(read_head(sock))

    made = []

    def factory():
        made.append(Checksum())
        return made[-1]

    with RawServer(script) as server:
        websocket = WebSocket(server.url, extensions=[factory, PermessageDeflate])
        list(websocket)
        websocket.extension_factories = []
        list(websocket)
    assert [get_header(head, b'Sec-WebSocket-Extensions') for head in heads] == [
        b'x-checksum, permessage-deflate; client_max_window_bits', None]
    assert len(made) == 1


def test_a_server_without_a_required_extension_is_refused(link):
    class Required(Checksum):
        is_required = True

    with link.serve(echo) as server:
        seen = list(link.connect(server.url, extensions=[Required]))
    assert names(seen) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert u'x-checksum, which is required' in seen[-2].reason


def test_a_factory_that_fails_is_a_connect_fail():
    def factory():
        raise ValueError('no table')

    with RawServer(echo) as server:
        seen = list(WebSocket(server.url, extensions=[factory]))
    assert names(seen) == ['connecting', 'connect_fail']
    assert seen[-1].phase == 'request' and u'no table' in seen[-1].reason
    assert isinstance(seen[-1].cause, ValueError)


def test_a_servers_factory_that_fails_is_logged_and_answered_with_500(caplog):
    def factory():
        raise ValueError('no table')

    with Server(echo_handler, extensions=[factory]) as server, caplog.at_level(logging.ERROR):
        seen = list(WebSocket(server.url))
    assert seen[-2].response.status_code == 500
    assert 'no table' in caplog.text


class Fussy(Extension):
    """An extension whose methods fail where it says."""

    name = u'x-fussy'
    fails_for = None

    def offer(self):
        return [(u'n', u'zz' if self.fails_for == 'accept' else u'1')]

    def accept(self, parameters):
        return [(u'n', str(int(dict(parameters)[u'n'])))]

    def frame_outbound(self, opcode, rsv, payload, fin):
        if opcode == self.fails_for:
            raise ValueError('no frame today')
        return rsv, payload


class Inept(Fussy):
    fails_for = 'accept'


class FailingClose(Fussy):
    fails_for = Opcode.CLOSE


def echo_in_one_thread(server):
    for websocket, event in server:
        if event.name == 'text':
            websocket.send_text(event.text)


class Failing(Fussy):
    """Fails for texts and for Close frames."""

    def frame_outbound(self, opcode, rsv, payload, fin):
        if opcode in (Opcode.TEXT, Opcode.CLOSE):
            raise ValueError('no frame today')
        return rsv, payload


def test_an_extension_that_fails_keeps_no_message_and_no_close_from_other_members(caplog):
    def receive(websocket):
        received.append(list(websocket.messages()))

    received = []
    with Server(receive, extensions=[Fussy]) as server:
        with Pool() as pool:
            for extension in (Failing, Fussy, Fussy):
                pool.add(WebSocket(server.url, extensions=[extension]), close_timeout=0.1)
            count = 0
            for _websocket, event in pool:
                if event.name == 'ready':
                    count += 1
                    if count == 3:
                        assert pool.broadcast(u'to all') == 2
                        pool.close(code=1000, timeout=0.5)
        wait_until(lambda: len(received) == 2, 'two have ended well')
    assert received == [[u'to all']] * 2
    assert 'a broadcast failed, and reached others only' in caplog.text


@pytest.mark.parametrize('threads', [True, False])
def test_a_servers_extension_that_fails_to_agree_is_logged_and_answered_with_500(threads, caplog):
    server = Server(echo_handler if threads else None, extensions=[Fussy], threads=threads)
    serving = Background(
        server.serve_forever if threads else partial(echo_in_one_thread, server))
    try:
        with caplog.at_level(logging.ERROR):
            rejected = list(WebSocket(server.url, extensions=[Inept]))[-2]
            seen = talk(WebSocket(server.url, extensions=[Fussy]), u'still here')
    finally:
        server.close()
    serving.result()
    assert (rejected.name, rejected.response.status_code) == ('rejected', 500)
    assert 'ValueError' in caplog.text and 'Traceback' in caplog.text
    assert seen[-1].graceful


def test_a_servers_extension_that_fails_for_the_close_frame_is_logged(caplog):
    with Server(lambda websocket: None, extensions=[FailingClose]) as server:
        seen = list(WebSocket(server.url, extensions=[Fussy]))
    assert not seen[-1].graceful
    assert 'no frame today' in caplog.text


def test_an_error_of_an_extension_closes_with_its_code():
    def script(sock):
        accept_and_send(make_frame(2, b'wrong', rsv=0x20))(sock)

    class Fails(Extension):
        name = u'x-fails'

        def frame_inbound_header(self, header):
            if header.opcode == Opcode.BINARY:
                raise ProtocolError('not today')

    def handler(websocket):
        websocket.send_binary(b'wrong')
        closed.extend(event.code for event in websocket if event.name == 'closing')

    closed = []
    with Server(handler, extensions=[Fails]) as server:
        seen = list(WebSocket(server.url, extensions=[Fails]))
    fault, = (event for event in seen if event.name == 'protocol_error')
    assert (fault.close_code, fault.error) == (1002, u'not today')
    assert closed == [1002]


@pytest.mark.parametrize('error', [ProtocolError('too odd'), ValueError('too odd')])
@pytest.mark.parametrize('is_in_pool', [False, True], ids=['loop', 'pool'])
def test_an_extension_that_fails_to_send_ends_the_connection(error, is_in_pool):
    class Fails(Extension):
        name = u'x-fails'

        def frame_outbound(self, opcode, rsv, payload, fin):
            if opcode == Opcode.BINARY:
                raise error
            return rsv, payload

    def loop(websocket):
        if not is_in_pool:
            return websocket
        pool = Pool()
        pool.add(websocket)
        return (event for _websocket, event in pool)

    seen = []
    with Server(echo_handler, extensions=[PermessageDeflate, Fails]) as server:
        websocket = WebSocket(server.url, extensions=[PermessageDeflate, Fails])
        for event in loop(websocket):
            seen.append(event)
            if event.name == 'ready':
                with pytest.raises(type(error), match='too odd'):
                    websocket.send_binary(b'odd')
                with pytest.raises(WebSocketUnavailable, match='too odd'):
                    websocket.send_text(u'even')
    assert names(seen)[-1] == 'disconnected'
    assert not seen[-1].graceful and u'too odd' in seen[-1].reason
    assert seen[-1].cause.cause is error


@pytest.mark.parametrize('is_in_pool', [False, True], ids=['loop', 'pool'])
def test_an_extension_that_fails_to_release_leaves_nothing_open(is_in_pool, caplog):
    class Fails(Extension):
        name = u'x-fails'

        def release(self):
            raise ValueError('not today')

    with Server(echo_handler, extensions=[Checksum]) as server:
        with RawServer(accept_with(b'x-fails')) as other:
            websocket = WebSocket(other.url, extensions=[Fails])
            if is_in_pool:
                pool = Pool()
                member = pool.add(WebSocket(server.url))
                pool.add(websocket)
                for of, event in pool:
                    if of is websocket and event.name == 'disconnected':
                        end = event
                        member.close()
            else:
                end = list(websocket)[-1]
    assert end.name == 'disconnected' and end.graceful
    assert 'not today' in caplog.text


# -- messages in parts --

def test_a_large_message_comes_in_parts(link):
    with link.serve(accept_and_send(make_frame(2, LARGE * 8), make_close(1000))) as server:
        websocket = link.connect(server.url, message_parts=True)
        parts = [event for event in websocket if event.name == 'binary']
    assert len(parts) > 3
    assert isinstance(parts[0], events.BinaryPart)
    assert b''.join(event.data for event in parts) == LARGE * 8
    assert [event.message_finished for event in parts] == [False] * (len(parts) - 1) + [True]
    assert websocket.stats.received.messages == 1


def test_a_server_gets_parts_if_it_asks_for_them():
    def handler(websocket):
        for event in websocket:
            if event.name == 'binary':
                sizes.append((len(event.data), event.message_finished))
                if event.message_finished:
                    websocket.send_text(u'all')

    sizes = []
    with Server(handler, message_parts=lambda opcode, size: size > 1000) as server:
        talk(WebSocket(server.url, fragment_size=10000), b'x' * 70000)
    assert sum(size for size, _is_last in sizes) == 70000
    assert len(sizes) >= 7
    assert [is_last for _size, is_last in sizes] == [False] * (len(sizes) - 1) + [True]


def test_a_body_that_breaks_off_between_parts_ends_the_connection(link):
    with link.serve(accept_and_send(make_frame(2, LARGE * 8))) as server:
        for event in link.connect(server.url, message_parts=True):
            if event.name == 'binary':
                assert not event.message_finished
                break


def test_texts_come_as_bytes_at_both_ends():
    def handler(websocket):
        for event in websocket:
            if event.name == 'text':
                received.append(event.data)
                websocket.send_text(event.text)

    received = []
    with Server(handler, text_as_bytes=True) as server:
        seen = talk(WebSocket(server.url, text_as_bytes=True), u'caf\xe9')
    assert received == [b'caf\xc3\xa9']
    assert [(event.data, event.text) for event in seen if event.name == 'text'] == [
        (b'caf\xc3\xa9', u'caf\xe9')]
