"""WebSockets over HTTP/2 (RFC 8441) and over HTTP/1.1, clients and servers that do the same.

Those of HTTP/2 are made of parts of `examples/http2_session.py`. A server sends back what it gets,
except on these paths:

- ``/ping``: sends the ping `PING` when it gets a message, and the text 'ponged' after the pong.
- ``/close``: closes with `SERVER_CLOSE` when it gets a message.
- ``/cut``: ends the connection then, without a Close frame.
- ``/refused``: refuses the request with the status 403.

It knows the subprotocol `PROTOCOL`, and puts the code and the reason of each Close frame that it
gets into a queue.
"""

from __future__ import absolute_import, division, print_function

import os
import sys
from collections import namedtuple
from contextlib import contextmanager
from functools import partial

import h2.events
import h2.settings
from h2.errors import ErrorCodes
from six.moves import queue

from lomond import WebSocket, errors, extensions
from lomond.opcode import Opcode
from lomond.sansio import SERVER, Connection
from lomond.server import Refusal, Server
from tests.peers import PING, SERVER_CLOSE
from tests.support import RawServer

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__)))), 'examples')

sys.path.insert(0, EXAMPLES)
try:
    import http2_session
finally:
    sys.path.remove(EXAMPLES)

PROTOCOL = u'chat'

#: What a client got: messages, the payloads of pongs, the code and reason of a Close frame or None.
#: And the subprotocol or None, the names of the extensions, whether both ends had closed.
Talk = namedtuple(
    'Talk', ['messages', 'pongs', 'closed', 'protocol', 'extensions', 'is_graceful'])


class OverHTTP2(object):
    """A stream of the example as a WebSocket: with those methods of lomond's that are used here."""

    def __init__(self, stream, cut=None):
        self._stream = stream
        self._connection = stream.websocket
        self.force_disconnect = cut

    def _send(self, opcode, payload):
        self._stream.send(self._connection.encode(opcode, payload, compress=True))

    def send_text(self, text):
        self._send(Opcode.TEXT, text.encode('utf-8'))

    def send_binary(self, data):
        self._send(Opcode.BINARY, bytes(data))

    def send_ping(self, data):
        self._send(Opcode.PING, data)

    def close(self, code, reason):
        self._stream.send(self._connection.encode_close(code, reason))


def send(websocket, message):
    if isinstance(message, type(u'')):
        websocket.send_text(message)
    else:
        websocket.send_binary(message)


def message_in(event):
    return event.text if event.name == 'text' else event.data


# -- the clients --
#
# Parameters: the URL; the messages to send, after the ping `PING`; the code and reason to close
# with when as many messages came, None for the server to close; the subprotocols to offer.
# HandshakeError if the server refuses.

class _Part(object):
    """What both clients do once they are connected."""

    def __init__(self, websocket, messages, close):
        self._websocket = websocket
        self._expected = len(messages)
        self._close = close
        self.messages = []
        self.pongs = []
        self.closed = None
        websocket.send_ping(PING)
        for message in messages:
            send(websocket, message)

    def handle(self, event):
        if event.name in ('text', 'binary'):
            self.messages.append(message_in(event))
            if self._close is not None and len(self.messages) == self._expected:
                self._websocket.close(*self._close)
        elif event.name == 'pong':
            self.pongs.append(event.data)
        elif event.name in ('closing', 'closed'):
            self.closed = event.code, event.reason


def talk_http2(url, messages, close=None, protocols=()):
    with http2_session.session(WebSocket(url), protocols) as (stream, events):
        part = _Part(OverHTTP2(stream), messages, close)
        for event in events:
            part.handle(event)
    end = stream.websocket
    return Talk(part.messages, part.pongs, part.closed, end.protocol, end.extensions,
                end.is_close_complete)


def talk_http1(url, messages, close=None, protocols=()):
    websocket = WebSocket(url, proxies={}, protocols=protocols, compress=True)
    for event in websocket:
        if event.name == 'ready':
            ready = event
            part = _Part(websocket, messages, close)
        elif event.name == 'rejected':
            raise errors.HandshakeError('the server answered {}', event.response.status_code)
        elif event.name not in ('connecting', 'connected'):
            part.handle(event)
    return Talk(part.messages, part.pongs, part.closed, ready.protocol, ready.extensions,
                event.graceful)


# -- the servers --

def _handle(websocket, path, event, closed):
    """Do a server's part; ``websocket`` is one of lomond's, or `OverHTTP2`."""
    if event.name in ('text', 'binary'):
        if path == u'/close':
            websocket.close(*SERVER_CLOSE)
        elif path == u'/cut':
            websocket.force_disconnect()
        elif path == u'/ping':
            websocket.send_ping(PING)
        else:
            send(websocket, message_in(event))
    elif event.name == 'pong' and event.data == PING:
        websocket.send_text(u'ponged')
    elif event.name in ('closing', 'closed'):
        closed.put((event.code, event.reason))


@contextmanager
def serve_http1(compress):
    """Serve over HTTP/1.1; the context is the port, and the queue of Close frames."""
    def refuse(request):
        return Refusal(403) if request.path == u'/refused' else None

    def serve(websocket):
        for event in websocket:
            _handle(websocket, websocket.request.path, event, closed)

    closed = queue.Queue()
    with Server(serve, protocols=[PROTOCOL], compress=compress, on_request=refuse) as server:
        yield server.port, closed


@contextmanager
def serve_http2(compress):
    """Serve over HTTP/2: as `serve_http1`."""
    server = HTTP2Server([extensions.PermessageDeflate] if compress else [])
    with RawServer(server.serve) as listener:
        yield listener.port, server.closed


class HTTP2Server(object):

    def __init__(self, factories):
        self._factories = factories
        self.closed = queue.Queue()

    def serve(self, sock):
        """Serve the streams of one connection."""
        http = http2_session.make_http(is_client=False)
        http.update_settings({h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1})
        receivers = {}      # by the number of the stream
        for event in http2_session.receive_from(sock, http):
            number = getattr(event, 'stream_id', 0)
            if isinstance(event, h2.events.RequestReceived):
                receive = self._answer(http, number, event.headers)
                if receive is not None:
                    receivers[number] = receive
            elif not number:        # it is for the whole connection
                for receive in receivers.values():
                    receive(event)
            elif number in receivers:
                receivers[number](event)

    def _answer(self, http, number, headers):
        """Answer a request; return the function that takes the events of its stream, or None."""
        get_value = partial(http2_session.get_value, headers)
        path = get_value(u':path')
        if path == u'/refused' or get_value(u':protocol') != u'websocket':
            http.send_headers(number, [(u':status', u'403')], end_stream=True)
            return None
        answer, agreed = extensions.answer(
            get_value(http2_session.EXTENSIONS), self._factories)
        reply = [(u':status', u'200')]
        if answer:
            reply.append((http2_session.EXTENSIONS, answer))
        if PROTOCOL in get_value(http2_session.PROTOCOL).split(u', '):
            reply.append((http2_session.PROTOCOL, PROTOCOL))
        http.send_headers(number, reply)
        connection = Connection(SERVER)
        connection.accept(extensions=agreed)
        stream = http2_session.Stream(http, number, connection)
        websocket = OverHTTP2(stream, partial(http.reset_stream, number, ErrorCodes.CANCEL))

        def receive(event):
            for message in stream.receive(event):
                _handle(websocket, path, message, self.closed)
        return receive
