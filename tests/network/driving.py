"""What the tests of the loop share: background calls, waits, scripts of a peer."""

from __future__ import absolute_import, division, print_function

import os
import socket
import struct
import subprocess
import sys
import threading

import pytest

from lomond.net.waiter import wait
from lomond.net.waker import Waker
from tests.support import (
    PATIENCE,
    accept_for,
    answer_upgrade,
    get_header,
    make_frame,
    read_frame,
    read_head,
)

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

needs_proc = pytest.mark.skipif(
    not os.path.isdir('/proc/self/fd'), reason='open descriptors are counted in /proc')


class Background(object):
    """Runs a function in a thread; `result` waits for it, and raises what it raised."""

    def __init__(self, function, *args, **kwargs):
        self._call = (function, args, kwargs)
        self._error = None
        self._returned = None
        self.thread = threading.Thread(target=self._run)
        self.thread.daemon = True
        self.thread.start()

    def _run(self):
        function, args, kwargs = self._call
        try:
            self._returned = function(*args, **kwargs)
        except BaseException as error:
            self._error = error
        finally:
            del self._call

    def result(self):
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive(), 'it did not return'
        if self._error is not None:
            raise self._error
        return self._returned


def run_program(source, *arguments, **options):
    """Run a program in a fresh process; return what it printed, once it has ended well.

    ``flags``: options of Python itself (none).
    """
    child = subprocess.Popen(
        [sys.executable] + options.get('flags', []) + ['-c', source] + list(arguments), cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True)
    killer = threading.Timer(2 * PATIENCE, child.kill)
    killer.start()
    try:
        output = child.communicate()[0]
    finally:
        killer.cancel()
    assert child.returncode == 0, output
    return output


def wait_for(event):
    """Wait for a `threading.Event`, not for ever."""
    assert event.wait(PATIENCE), 'it did not happen'


def stall(make_websocket, is_far_enough):
    """Run a WebSocket into its connect_timeout; return the last event, a ConnectFail.

    ``make_websocket(connect_timeout)`` is called again, with more time, if the event isn't far
    enough: on a busy machine it may take long to come to where it is to stall.
    """
    event = first_far_enough(lambda timeout: list(make_websocket(timeout)), lambda events: (
        is_far_enough(events[-1])))[-1]
    assert event.name == 'connect_fail'
    return event


def first_far_enough(attempt, is_far_enough):
    """Call ``attempt(timeout)`` with more and more seconds; return the first outcome that will do.

    When none does, this fails.
    """
    for timeout in (0.1, 1.0, PATIENCE / 2):
        outcome = attempt(timeout)
        if is_far_enough(outcome):
            return outcome
    raise AssertionError('not far enough: {}'.format(outcome))


def count_steps(session, steps):
    """Have the session add to ``steps`` with each of its steps."""
    advance = session.advance

    def step():
        steps.append(None)
        return advance()

    session.advance = step


def steps_of(session, **options):
    """Drive a session in steps, as a pool does; yield its events. Options as of `Session.begin`."""
    waker = Waker()
    try:
        session.begin(wake=waker.wake, **options)
        while not session.is_finished:
            for event in session.step():
                yield event
            left = session.time_left()
            if left != 0:
                for fd, _mask in wait(tuple(session.interest) + (waker.interest,), left):
                    if fd == waker.interest[0]:
                        waker.clear()
    finally:
        session.dispose()
        waker.close()


def wait_until_sending(websocket):
    """Wait until another thread's send has filled the system's buffer."""
    while websocket.session.transport.is_writable():
        pass


def count_descriptors():
    """Return how many descriptors this process has open."""
    return len(os.listdir('/proc/self/fd'))


def drain(sock):
    """Read until the client is gone; return what it sent."""
    pieces = []
    while True:
        piece = sock.recv(65536)
        if not piece:
            return b''.join(pieces)
        pieces.append(piece)


def end_and_drain(sock):
    """End TCP from this side; return what the client still sends."""
    sock.shutdown(socket.SHUT_WR)
    return drain(sock)


def read_to_close(sock):
    """Read frames up to the client's Close; return all as `read_frame` does."""
    frames = [read_frame(sock)]
    while frames[-1][0] != 0x88:
        frames.append(read_frame(sock))
    return frames


def echo(sock):
    """Accept, and send each message back, the client's Close too; a script of `RawServer`."""
    answer_upgrade(sock)
    opcode = None
    while opcode != 8:
        first, payload = read_frame(sock)
        opcode = first & 15
        sock.sendall(make_frame(opcode, payload))


def echo_handler(websocket):
    """Send back texts and binary data; a handler of `Server`."""
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)


def answer_with(sock, data):
    """Accept an upgrade, and send more in the same packet as the 101."""
    request = read_head(sock)
    sock.sendall(
        b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
        b'Sec-WebSocket-Accept: ' + accept_for(get_header(request, b'Sec-WebSocket-Key'))
        + b'\r\n\r\n' + data)


def accept_and_send(*frames):
    """Make a script that accepts, sends frames in one piece, and waits for the client's Close."""
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(b''.join(frames))
        read_to_close(sock)
    return script


def send_until_full(sock):
    """Send texts until the client has read no more for a moment."""
    before = sock.gettimeout()
    sock.settimeout(0.2)
    try:
        while True:
            sock.sendall(make_frame(1, b'x' * 1000))
    except socket.timeout:
        sock.settimeout(before)


def fill_and_reset(is_reset):
    """Make a script that sends until the client reads no more, then resets the connection."""
    def script(sock):
        answer_upgrade(sock)
        send_until_full(sock)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
        sock.close()
        is_reset.set()
    return script


def accept_and_hang_up(*frames):
    """Make a script that accepts, sends frames in one piece, and ends TCP."""
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(b''.join(frames))
    return script
