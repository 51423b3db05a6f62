"""The `tornado` package, versions 5 (on 2.7) and 6: handlers in its own loop."""

from __future__ import absolute_import, division, print_function

import threading

from six.moves import queue
from tornado import gen, httpclient, httpserver, ioloop, netutil, web, websocket

from ..support import PATIENCE
from . import BURST, PING, SERVER_CLOSE, Talk


class Server(object):

    def __init__(self, tls):
        self._tls = tls
        self.closed = queue.Queue()
        self.records = []
        self.port = None
        self._loop = None
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        assert self._started.wait(PATIENCE)
        assert self.port, 'the server failed'
        return self

    def __exit__(self, *_exc_info):
        self._loop.add_callback(self._loop.stop)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()

    def _run(self):
        self._loop = ioloop.IOLoop(make_current=False)
        try:
            app = web.Application(
                [('/(burst|ping|close|record)?', Handler,
                  {'closed': self.closed, 'records': self.records})],
                log_function=lambda handler: None)
            server = httpserver.HTTPServer(
                app, ssl_options=self._tls and self._tls.context)
            self._loop.add_callback(self._listen, server)
            self._loop.start()
            server.stop()
            self._loop.run_sync(server.close_all_connections)
        finally:
            self._started.set()
            self._loop.close(all_fds=True)

    def _listen(self, server):
        sock, = netutil.bind_sockets(0, '127.0.0.1')
        server.add_sockets([sock])
        self.port = sock.getsockname()[1]
        self._started.set()


class Handler(websocket.WebSocketHandler):

    def initialize(self, closed, records):
        self.closed = closed
        self.records = records

    def get_compression_options(self):
        return {}

    def select_subprotocol(self, subprotocols):
        return 'chat' if 'chat' in subprotocols else None

    def open(self, path):
        if path == 'burst':
            for number in range(BURST):
                self.write_message(str(number))
        elif path == 'ping':
            self.ping(PING)
        elif path == 'record':
            self.record = []
            self.records.append(self.record)

    def on_pong(self, data):
        assert data == PING
        self.write_message('ponged')

    def on_message(self, message):
        if self.request.path == '/record':
            self.record.append(message)
        elif self.request.path == '/close':
            self.close(*SERVER_CLOSE)
        else:
            self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self):
        self.closed.put((self.close_code, self.close_reason))


def talk(url, authority_file, messages, close=None, protocols=(), compress=False):
    @gen.coroutine
    def dialogue():
        ws = yield websocket.websocket_connect(
            httpclient.HTTPRequest(url, ca_certs=authority_file),
            compression_options={} if compress else None,
            subprotocols=list(protocols) or None)
        protocol = ws.selected_subprotocol      # it forgets it at the end
        for message in messages:
            yield ws.write_message(message, binary=isinstance(message, bytes))
        received = []
        while len(received) < len(messages) or close is None:
            message = yield ws.read_message()
            if message is None:
                break
            received.append(message)
        ws.close(*close or ())      # it wants that after the server's closing, too
        if close is not None:
            assert (yield ws.read_message()) is None
        raise gen.Return(Talk(received, (ws.close_code, ws.close_reason), protocol))

    loop = ioloop.IOLoop(make_current=False)
    try:
        return loop.run_sync(dialogue, timeout=PATIENCE)
    finally:
        loop.close(all_fds=True)
