"""New keys on a living connection: TLS 1.3's KeyUpdate, TLS 1.2's renegotiation.

Python's ssl module can begin neither: `openssl s_server` does.
"""

from __future__ import absolute_import, division, print_function

import os
import re
import socket
import ssl
import subprocess
import threading
from functools import partial

import pytest

from lomond import WebSocket
from lomond.engine.outbox import Outbox
from lomond.engine.stepped import QueuedClientSession
from lomond.session import WebsocketSession
from tests.network.driving import Background, steps_of
from tests.network.tls_proxy import TLSProxy
from tests.programs import find_program, wait_until
from tests.support import PATIENCE, accept_for, get_header, make_close, make_frame, names, xor

pytestmark = pytest.mark.usefixtures('clean_environment')


# More than the system buffers for a peer that reads nothing.
LARGE = 4 * 1024 * 1024


class SServer(object):
    """`openssl s_server`: what it is given goes to the client, a letter in a line is a command."""

    def __init__(self, certfile, version):
        self._command = [
            find_program('openssl'), 's_server', '-accept', '127.0.0.1:0', '-cert', certfile,
            version, '-state']
        self.output = b''
        #: Cleared, it takes nothing more of the client once the pipe to here is full.
        self.may_print = threading.Event()
        self.may_print.set()

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command, bufsize=0, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self._reader = threading.Thread(target=self._read)
        self._reader.daemon = True
        self._reader.start()
        try:
            self.port = int(self.wait_for(b'ACCEPT [^ ]*:([0-9]+)\n').group(1))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_exc_info):
        self.may_print.set()
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        self._process.stdin.close()
        self._process.stdout.close()

    def _read(self):
        while self.may_print.wait(PATIENCE):
            # Not of the file: on 2.7 that waits until it has all of them.
            data = os.read(self._process.stdout.fileno(), 65536)
            if not data:
                return
            self.output += data

    def wait_for(self, pattern):
        pattern = re.compile(pattern, re.DOTALL)
        wait_until(lambda: pattern.search(self.output), pattern.pattern)
        return pattern.search(self.output)

    def give(self, data):
        self._process.stdin.write(data)

    def answer_upgrade(self):
        request = self.wait_for(b'GET .*\r\n\r\n').group()
        self.give(b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n'
                  b'Connection: Upgrade\r\nSec-WebSocket-Accept: '
                  + accept_for(get_header(request, b'Sec-WebSocket-Key')) + b'\r\n\r\n')

    def texts(self):
        """Return the texts of 5 letters that have come in lately."""
        return [xor(payload, key) for key, payload in re.findall(
            b'\x81\x85(.{4})(.{5})', self.output[-1000:], re.DOTALL)]


class Impatient(WebsocketSession):
    """Doesn't wait for the server to end TCP: this one never does."""

    linger = 0.0


@pytest.fixture(params=['direct', pytest.param('nested', marks=pytest.mark.skipif(
    not hasattr(ssl, 'MemoryBIO'), reason='there is no TLS within TLS on this Python'))])
def proxies(request, server_tls):
    """No proxy, or one that makes it TLS within TLS."""
    if request.param == 'direct':
        yield {}
    else:
        with TLSProxy(server_tls) as proxy:
            yield proxy.proxies


@pytest.fixture
def certfile(authority, tmpdir):
    """The path of a certificate of 127.0.0.1 and its key."""
    certfile = tmpdir.join('server.pem')
    certificate = authority.issue_cert(u'127.0.0.1')
    certfile.write_binary(certificate.private_key_and_cert_chain_pem.bytes())
    return str(certfile)


by_version = pytest.mark.parametrize('version, command, done', [
    ('-tls1_3', b'K\n', b'write server key update'),    # RFC 8446 4.6.3: it wants new keys of us
    ('-tls1_2', b'r\n', b'write hello request'),        # RFC 5246 7.4.1.1
])


@by_version
def test_new_keys_do_not_matter(certfile, authority_file, proxies, version, command, done):
    with SServer(certfile, version) as server:
        websocket = WebSocket('wss://127.0.0.1:{}/'.format(server.port), proxies=proxies,
                              ssl_cafile=authority_file)
        answering = threading.Thread(target=server.answer_upgrade)
        answering.start()
        events = []
        for event in websocket.connect(Impatient, ping_rate=0):
            events.append(event)
            if event.name == 'ready':
                server.give(make_frame(1, b'before'))
            elif event.name == 'text' and event.text == u'before':
                server.give(command)
                server.wait_for(done)
                server.give(make_frame(1, b'after'))
            elif event.name == 'text':
                websocket.send_text(u'hello')
                wait_until(lambda: server.texts() == [b'hello'], 'a text under the new keys')
                server.give(make_close(1000))
        answering.join()
    assert names(events)[3:] == ['text', 'text', 'closing', 'disconnected']


@by_version
def test_new_keys_while_messages_wait_in_a_queue_lose_none(
        certfile, authority_file, proxies, version, command, done):
    with SServer(certfile, version) as server:
        websocket = WebSocket('wss://127.0.0.1:{}/'.format(server.port), proxies=proxies,
                              ssl_cafile=authority_file, write_timeout=None,
                              socket_options=[(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)])
        session = websocket.new_session(partial(
            QueuedClientSession, outbox=Outbox(max_queue=None)))
        session.linger = 0.0
        answering = threading.Thread(target=server.answer_upgrade)
        answering.start()
        events = []
        for event in steps_of(session, poll=None, ping_rate=0, ping_timeout=None,
                              auto_pong=True, close_timeout=PATIENCE):
            events.append(event)
            if event.name == 'ready':
                server.give(command)
                server.wait_for(done)
                server.may_print.clear()
                websocket.send_binary(b'x' * LARGE)
                websocket.send_text(u'hello')
                assert session.writer.unsent == 2
                # The server sends nothing meanwhile: OpenSSL takes a message in the middle of TLS
                # 1.2's handshake for a fault, when it came to that in a write.
                Background(close_after, server, b'hello')
                server.may_print.set()
        answering.join()
    assert names(events)[3:] == ['closing', 'disconnected']
    assert events[-1].unsent == 0


def close_after(server, text):
    """Have the server close once a text has come in."""
    wait_until(lambda: text in server.texts(), 'the last text')
    server.give(make_close(1000))
