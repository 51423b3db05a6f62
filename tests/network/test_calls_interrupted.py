"""Calls, interrupted: Ctrl-C, signal handlers, forks, the end of the program; and gevent."""

from __future__ import absolute_import, division, print_function

import itertools
import os

import pytest

from lomond import WebSocket, _calls, errors
from lomond.testing import Inside
from tests.network.driving import accept_and_send, drain, echo, run_program
from tests.network.test_forks import needs_fork
from tests.support import (
    IS_PYPY,
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_frame,
    read_frame,
)
from tests.tracing import CallTracer

pytestmark = [
    pytest.mark.costly, pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')]

needs_cpython = pytest.mark.skipif(IS_PYPY, reason='signal handlers run at other moments there')

needs_alarm = pytest.mark.skipif(os.name == 'nt', reason='there is no SIGALRM here')


def interrupt():
    raise KeyboardInterrupt


# -- signals --

@needs_alarm
@pytest.mark.parametrize('call', ['receive', 'ping'])
def test_ctrl_c_goes_through(link, background, alarm, call):
    def script(sock):
        echo(sock) if call == 'receive' else accept_and_send()(sock)

    with link.serve(script) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        alarm(interrupt)
        with pytest.raises(KeyboardInterrupt):
            getattr(websocket, call)()
        if background:
            assert websocket.is_open
            websocket.force_disconnect()
            match = 'disconnected by the application'
        else:
            match = 'a call was interrupted'
        with pytest.raises(errors.WebSocketClosed, match=match):
            websocket.receive()
        assert websocket.is_closed


@needs_alarm
def test_ctrl_c_in_open_goes_through(link, background, alarm):
    with link.serve(drain) as server:
        websocket = link.connect(server.url)
        alarm(interrupt)
        with pytest.raises(KeyboardInterrupt):
            websocket.open(None, background)
        assert websocket.is_closed


@needs_alarm
@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
def test_a_signal_handler_may_end_the_connection(link, background, alarm, end):
    with link.serve(echo) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE, background)
        alarm(getattr(websocket, end))
        with pytest.raises(errors.WebSocketClosed):
            websocket.receive()
        assert websocket.is_closed


@needs_alarm
@pytest.mark.parametrize('outer', ['receive', 'ping'])
def test_a_signal_handler_may_not_wait_inside_a_call(link, alarm, outer):
    def wait():
        for call in (websocket.receive, websocket.ping, websocket.wait_ready):
            try:
                call()
            except errors.WebSocketUnavailable as error:
                refusals.append(str(error))
        websocket.force_disconnect()

    refusals = []
    with link.serve(accept_and_send()) as server:
        websocket = link.connect(server.url)
        websocket.open(PATIENCE)
        alarm(wait)
        with pytest.raises(errors.WebSocketClosed):
            getattr(websocket, outer)()
    assert len(refusals) == 3
    assert all('signal handler' in refusal for refusal in refusals)


def test_a_signal_handler_that_interrupts_a_send_may_not_ping(link, background):
    with link.serve(echo) as server:
        with link.connect(server.url) as websocket:
            websocket.open(PATIENCE, background)
            with Inside(websocket).locks['sending']:
                websocket.session.writer.is_sending = True
                with pytest.raises(errors.WebSocketUnavailable, match='signal handler'):
                    websocket.ping()
                websocket.session.writer.is_sending = False
            assert not Inside(websocket).calls.pings


# What Ctrl-C interrupts, after `open`.
INTERRUPTED = {
    'receive': lambda websocket: websocket.receive(PATIENCE),
    'receive in vain': lambda websocket: websocket.receive(0),
    'ping': lambda websocket: websocket.ping(PATIENCE),
    'ping in vain': lambda websocket: websocket.ping(0),
    'wait_ready': lambda websocket: websocket.wait_ready(0),
    'leave': lambda websocket: websocket.__exit__(None, None, None),
}


@needs_cpython
@pytest.mark.parametrize('call', ['open'] + sorted(INTERRUPTED))
def test_ctrl_c_at_any_moment_leaves_nothing_that_another_call_waits_for(call, background):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'first'))
        first = None
        while first != 0x88:
            first, payload = read_frame(sock)
            sock.sendall(make_frame(10 if first == 0x89 else first & 15, payload))

    with RawServer(script) as server:
        for moment in itertools.count(1):
            websocket = WebSocket(server.url)
            tracer = CallTracer([_calls], moment, but='__del__')
            try:
                with websocket:
                    if call != 'open':
                        websocket.open(PATIENCE, background)
                    try:
                        with tracer:
                            if call == 'open':
                                websocket.open(PATIENCE, background)
                            else:
                                INTERRUPTED[call](websocket)
                    except errors.WebSocketTimeout:
                        pass
            except KeyboardInterrupt:
                # Here the traceback keeps all that the call has made.
                check_nothing_is_held(websocket)
            if not tracer.has_acted:
                break
    assert moment > 5


def check_nothing_is_held(websocket):
    """Check that the connection is free, and that the next one has all that it needs."""
    assert not Inside(websocket).calls.bells and not Inside(websocket).calls.pings
    assert websocket.session is None or not websocket.session.is_running
    websocket.force_disconnect()        # drop its messages
    websocket.open(PATIENCE)
    assert websocket.receive(PATIENCE) == u'first'
    assert websocket.ping(PATIENCE) >= 0
    websocket.force_disconnect()
    with pytest.raises(errors.WebSocketClosed):
        websocket.receive(PATIENCE)


# -- processes --

BEGIN = """
import os, signal, sys, threading, warnings
warnings.simplefilter('ignore', DeprecationWarning)     # 3.12: forks with threads may hang
from lomond import WebSocket, errors

websocket = WebSocket(sys.argv[1], ssl_cafile=sys.argv[2] or None, proxies={{}})
websocket.open({patience}, background={background})
"""

FORK = BEGIN + """
receiving = threading.Thread(target=lambda: messages.append(websocket.receive()))
receiving.daemon = True
messages = []
receiving.start()
child = os.fork()
if child == 0:
    signal.alarm({patience})
    for call in (websocket.receive, websocket.ping, lambda: next(websocket.messages())):
        try:
            call()
            os._exit(1)
        except errors.WebSocketUnavailable as error:
            assert 'parent process' in str(error), error
    {ending}
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
websocket.send_text(u'still here')
receiving.join()
print(messages[0])
websocket.close()
try:
    websocket.receive()
except errors.WebSocketClosed as error:
    print(error.code)
"""


@needs_fork
@pytest.mark.parametrize('ending', [
    'pass', 'websocket.force_disconnect()', 'websocket.__exit__(None, None, None)',
    'del websocket', 'sys.exit()'])
def test_a_child_leaves_the_connection_to_its_parent(link, authority_file, background, ending):
    program = FORK.format(background=background, ending=ending, patience=int(PATIENCE))
    with link.serve(echo) as server:
        output = run_program(
            program, server.url, authority_file if server.url.startswith(u'wss') else '')
    assert output.split('\n') == ['still here', '1000', '']


@needs_fork
def test_a_child_in_a_loop_over_messages_leaves_them_to_its_parent(background):
    program = BEGIN + """
messages = websocket.messages()
websocket.send_text(u'one')
next(messages)
child = os.fork()
if child == 0:
    signal.alarm({patience})
    try:
        next(messages)
    except errors.WebSocketUnavailable as error:
        assert 'parent process' in str(error), error
        os._exit(0)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
websocket.send_text(u'two')
print(next(messages))
websocket.force_disconnect()
"""
    with RawServer(echo) as server:
        output = run_program(
            program.format(background=background, patience=int(PATIENCE) // 4), server.url, '')
    assert output == 'two\n'


@needs_fork
def test_a_child_of_a_handler_leaves_the_messages_to_its_parent():
    program = """
import os, signal, sys, warnings
warnings.simplefilter('ignore', DeprecationWarning)     # 3.12: forks with threads may hang
from lomond import WebSocket, errors
from lomond.server import Server

def handle(websocket):
    messages = websocket.messages()
    next(messages)
    child = os.fork()
    if child == 0:
        signal.alarm({patience})
        websocket.finish()
        for call in (lambda: next(messages), websocket.receive):
            try:
                call()
                os._exit(1)
            except errors.WebSocketUnavailable as error:
                assert 'parent process' in str(error), error
        websocket.finish()
        os._exit(0)
    websocket.send_text(u'%d' % os.waitpid(child, 0)[1])
    websocket.send_text(next(messages))

with Server(handle) as server:
    with WebSocket(server.url, proxies={{}}) as websocket:
        websocket.open({patience})
        websocket.send_many([u'one', u'two'])
        print(u'{{}} {{}}'.format(websocket.receive(), websocket.receive()))
"""
    output = run_program(program.format(patience=int(PATIENCE) // 4))
    assert output == '0 two\n'


@needs_fork
def test_a_child_may_open_a_websocket_of_its_own(background):
    program = BEGIN + """
child = os.fork()
if child == 0:
    signal.alarm({patience})
    with WebSocket(sys.argv[1], proxies={{}}) as other:
        other.open({patience}, background={background})
        other.send_text(u'from the child')
        assert other.receive() == u'from the child'
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
with websocket:
    websocket.send_text(u'parent')
    print(websocket.receive())
"""
    with RawServer(echo) as server:
        output = run_program(
            program.format(background=background, patience=int(PATIENCE)), server.url, '')
    assert output == 'parent\n'


@pytest.mark.parametrize('ending', ['', 'sys.exit()', 'del websocket'])
def test_a_program_ends_with_the_background_thread_running(link, authority_file, ending):
    program = BEGIN.format(background=True, patience=int(PATIENCE)) + "print('done')\n" + ending
    with link.serve(accept_and_send()) as server:
        output = run_program(
            program, server.url, authority_file if server.url.startswith(u'wss') else '',
            flags=['-W', 'error'])
    assert output == 'done\n'


@pytest.mark.parametrize('patch', ['before', 'after'])
def test_greenlets_call_as_threads_do(background, patch):
    pytest.importorskip('gevent')
    patching = 'from gevent import monkey, spawn\nmonkey.patch_all()\n'
    program = (patching if patch == 'before' else '') + BEGIN.format(
        background=background, patience=int(PATIENCE)).replace(
            'websocket = ', (patching if patch == 'after' else '') + 'websocket = ', 1) + """
receiving = spawn(lambda: list(websocket.messages()))
pings = [spawn(websocket.ping, 20) for _ in range(5)]
websocket.send_text(u'one')
assert all(ping.get() >= 0 for ping in pings)
websocket.send_text(u'two')
spawn(websocket.close).get()
print(len(receiving.get()))
"""

    def script(sock):
        answer_upgrade(sock)
        first = None
        while first != 0x88:
            first, payload = read_frame(sock)
            sock.sendall(make_frame(10 if first == 0x89 else first & 15, payload))

    with RawServer(script) as server:
        output = run_program(program, server.url, '')
    assert output == '2\n'
