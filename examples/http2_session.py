"""Send lines to an echo server over HTTP/2 (RFC 8441), print its replies, and close.

    python http2_session.py [--protocol NAME] URL LINE [LINE ...]

It shows `lomond.sansio` on a stream of HTTP/2, over a blocking socket. It needs h2: `pip install
h2`. With wss://, TLS agrees on HTTP/2 (ALPN); with ws://, the server must expect HTTP/2. The exit
status is 0 if all lines came back, 1 if the connection failed, 2 for wrong arguments, and 130 with
Ctrl-C.
"""

from __future__ import print_function

import argparse
import contextlib
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import six

from lomond import WebSocket, errors, extensions
from lomond.examples import cli
from lomond.opcode import Opcode
from lomond.sansio import CLIENT, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Iterator, List, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401

EXTENSIONS = 'sec-websocket-extensions'
PROTOCOL = 'sec-websocket-protocol'
FACTORIES = [extensions.PermessageDeflate]
ENDS = (h2.events.StreamEnded, h2.events.StreamReset, h2.events.ConnectionTerminated)


class Stream(object):
    """One end of a WebSocket, a client's or a server's, on a stream of HTTP/2.

    Parameters: h2's connection, the number of the stream, and an open `Connection` of lomond.
    """

    def __init__(self, http, number, websocket):
        # type: (h2.connection.H2Connection, int, Connection) -> None
        self.websocket = websocket
        self._http = http
        self._number = number
        self._output = bytearray()
        self._is_ended = False

    def send(self, frame):
        # type: (bytes) -> None
        """Send a frame, now or when the peer's flow control allows it (RFC 9113 5.2)."""
        self._output += frame
        self._flush()

    def _flush(self):
        # type: () -> None
        try:
            while self._output:
                size = min(self._http.local_flow_control_window(self._number),
                           self._http.max_outbound_frame_size)
                if size <= 0:
                    return
                self._http.send_data(self._number, bytes(self._output[:size]))
                del self._output[:size]
            if self.websocket.state in ('closed', 'failing') and not self._is_ended:
                self._is_ended = True
                self._http.end_stream(self._number)
        except h2.exceptions.ProtocolError:
            del self._output[:]     # the peer ended the stream: h2's event is still to come

    def receive(self, event):
        # type: (h2.events.Event) -> Iterator[AnyEvent]
        """Yield the WebSocket's events in an event of h2, on this stream or for all streams."""
        if isinstance(event, h2.events.DataReceived):
            for message in self.websocket.receive(event.data):
                yield message
                self._reply()
            self._reply()
            self._http.acknowledge_received_data(event.flow_controlled_length, self._number)
        elif isinstance(event, ENDS):
            self.websocket.disconnect()
        self._flush()       # the peer may allow more now

    def _reply(self):
        # type: () -> None
        pending = self.websocket.take_pending()
        if pending is not None:
            self.send(self.websocket.encode(*pending))


def make_http(is_client):
    # type: (bool) -> h2.connection.H2Connection
    http = h2.connection.H2Connection(
        h2.config.H2Configuration(client_side=is_client, header_encoding='utf-8'))
    http.initiate_connection()
    return http


def receive_from(sock, http):
    # type: (socket.socket, h2.connection.H2Connection) -> Iterator[h2.events.Event]
    """Send what h2 has to send and yield the events in what arrives, until TCP ends."""
    while True:
        sock.sendall(http.data_to_send())
        data = sock.recv(65536)
        if not data:
            return
        for event in http.receive_data(data):
            yield event


def get_value(headers, name):
    # type: (Iterable[Tuple[str, str]], str) -> str
    """Return a header's value, empty if there is none; several are joined (RFC 9110 5.3)."""
    return u', '.join(value for header, value in headers if header == name)


def wait_for(event_class, received):
    # type: (type, Iterator[h2.events.Event]) -> h2.events.Event
    for event in received:
        if isinstance(event, event_class):
            return event
        if isinstance(event, ENDS):
            break
    raise errors.HandshakeError('the server ended the connection')


def open_stream(
    http,           # type: h2.connection.H2Connection
    received,       # type: Iterator[h2.events.Event]
    target,         # type: WebSocket
    protocols,      # type: Iterable[str]
):
    # type: (...) -> Stream
    """Ask for a WebSocket (RFC 8441 5); raises HandshakeError if the server doesn't accept."""
    wait_for(h2.events.RemoteSettingsChanged, received)
    if not http.remote_settings.enable_connect_protocol:
        raise errors.HandshakeError('the server does not offer WebSockets over HTTP/2')
    number = http.get_next_available_stream_id()
    host = '[{}]'.format(target.host) if ':' in target.host else target.host
    offer, offered = extensions.offer(FACTORIES)
    http.send_headers(number, [
        (':method', 'CONNECT'), (':protocol', 'websocket'),
        (':scheme', 'https' if target.is_secure else 'http'),
        (':authority', '{}:{}'.format(host, target.port)), (':path', target.resource),
        ('sec-websocket-version', '13'), (EXTENSIONS, offer),
    ] + [(PROTOCOL, protocol) for protocol in protocols])

    answer = wait_for(h2.events.ResponseReceived, received).headers
    if get_value(answer, ':status') != '200':
        raise errors.HandshakeError('the server answered {}', get_value(answer, ':status'))
    websocket = Connection(CLIENT)
    websocket.accept(extensions=extensions.accept(get_value(answer, EXTENSIONS), offered))
    websocket.protocol = get_value(answer, PROTOCOL) or None
    return Stream(http, number, websocket)


def events_of(stream, received):
    # type: (Stream, Iterator[h2.events.Event]) -> Iterator[AnyEvent]
    for event in received:
        for message in stream.receive(event):
            yield message
        if isinstance(event, ENDS):
            return


@contextlib.contextmanager
def session(target, protocols):
    # type: (WebSocket, Iterable[str]) -> Iterator[Tuple[Stream, Iterator[AnyEvent]]]
    """Open a WebSocket on a connection of its own; the context is its stream and its events."""
    sock = socket.create_connection((target.host, target.port), timeout=30)
    try:
        if target.is_secure:
            context = ssl.create_default_context()
            context.set_alpn_protocols(['h2'])
            sock = context.wrap_socket(sock, server_hostname=target.host)
        http = make_http(is_client=True)
        received = receive_from(sock, http)
        stream = open_stream(http, received, target, protocols)
        yield stream, events_of(stream, received)
    finally:
        sock.close()


def run(target, protocols, texts):
    # type: (WebSocket, List[str], List[str]) -> int
    """Run the session; return the exit status."""
    replies = 0
    with session(target, protocols) as (stream, events):
        websocket = stream.websocket
        for text in texts:
            stream.send(websocket.encode(Opcode.TEXT, text.encode('utf-8'), compress=True))
        for event in events:
            if event.name == 'text':
                cli.say(event.text)
                replies += 1
                if replies == len(texts):
                    stream.send(websocket.encode_close(1000, u'goodbye'))
    if replies < len(texts) or not websocket.is_close_complete:
        cli.complain(u'the server ended the session')
        return 1
    return 0


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--protocol', metavar='NAME', action='append', default=[])
    parser.add_argument('url', help='ws://... or wss://...')
    parser.add_argument('lines', metavar='LINE', nargs='+')
    options = parser.parse_args()
    # On Python 2 an argument is bytes.
    encoding = sys.stdin.encoding or 'utf-8'
    try:
        target = WebSocket(options.url)
    except ValueError as error:
        parser.error(str(error))
    try:
        return run(target, options.protocol,
                   [six.ensure_text(line, encoding) for line in options.lines])
    except (socket.error, errors.HandshakeError, h2.exceptions.ProtocolError) as error:
        cli.complain(str(error))
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(cli.run(main))
