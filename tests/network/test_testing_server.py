"""ScriptedServer: it does what its script says, and says what went otherwise."""

from __future__ import absolute_import, division, print_function

import logging
import os
import re
import socket
import struct
import threading

import pytest

from lomond import WebSocket, events
from lomond.persist import ReconnectPolicy, persist
from lomond.pool import Pool
from lomond.testing import (
    Inside,
    ScriptedServer,
    accept,
    call,
    close,
    drop,
    expect,
    fragment,
    ping,
    raw,
    reject,
    reset,
    say,
    skip_back_offs,
    split,
    stall,
    wait,
)
from tests.network.driving import Background, run_program
from tests.shortages import no_threads
from tests.support import PATIENCE, names

pytestmark = pytest.mark.usefixtures('nothing_is_left_open', 'clean_environment')


def connect(server, handle=lambda websocket, event: None, **options):
    """Run a loop to its end; return the events."""
    websocket = WebSocket(server.url, ssl_cafile=server.cafile, **options)
    seen = []
    for event in websocket.connect(close_timeout=PATIENCE):
        seen.append(event)
        handle(websocket, event)
    return seen


def answer(text):
    """Return what sends a text once a text has come."""
    def handle(websocket, event):
        if event.name == 'text':
            websocket.send_text(text)
    return handle


# -- what it does --

@pytest.mark.parametrize('tls', [False, True])
def test_steps_follow_one_after_the_other(tls):
    script = [say(u'hello'), expect(u'hi'), ping(b'x'), say(b'\0'), say({'a': 1}),
              close(3001, u'z')]
    with ScriptedServer(script, tls=tls) as server:
        assert server.url.startswith(u'wss://' if tls else u'ws://')
        seen = connect(server, lambda websocket, event: (
            websocket.send_text(u'hi') if event == events.Text(u'hello') else None))
        assert server.done.wait(PATIENCE)
    assert [event for event in seen if event.name not in ('poll', 'ready')][2:] == [
        events.Text(u'hello'), events.Ping(b'x'), events.Binary(b'\0'), events.Text(u'{"a": 1}'),
        events.Closing(3001, u'z'), events.Disconnected(graceful=True)]
    assert server.received == [u'hi']
    assert [request.path for request in server.requests] == [u'/']


@pytest.mark.parametrize('expected', [
    u'{"a": [1]}', {'a': [1]}, re.compile(u'"a"'), lambda text: text.endswith(u'}'), None])
def test_what_is_expected_may_be_described(expected):
    with ScriptedServer([say(u''), expect(expected), close()]) as server:
        connect(server, answer(u'{"a": [1]}'))


def test_bytes_and_lists_are_expected_too():
    def send(websocket, event):
        if event.name == 'ready':
            websocket.send_many([b'ab', b'ab', u'[1]'])

    with ScriptedServer([expect(bytearray(b'ab')), expect(re.compile(b'b')), expect([1]),
                         close()]) as server:
        connect(server, send)
    assert server.received == [b'ab', b'ab', u'[1]']


@pytest.mark.parametrize('tls', [False, True])
@pytest.mark.parametrize('step, last', [
    (drop(), 'disconnected'), (reset(), 'disconnected'), (drop(handshake=False), 'disconnected'),
    (reset(handshake=False), 'disconnected')])
def test_connection_ends_without_a_close_frame(step, last, tls):
    with ScriptedServer([step], tls=tls) as server:
        seen = connect(server)
    assert seen[-1].name == last
    assert not seen[-1].graceful
    if step.accepts and 'drop' in repr(step):
        assert 'ready' in names(seen)
    if not step.accepts:
        assert 'ready' not in names(seen)


def test_what_was_said_before_a_drop_arrives():
    with ScriptedServer([say(u'a'), say(u'b'), drop()]) as server:
        assert names(connect(server))[-3:] == ['text', 'text', 'disconnected']


@pytest.mark.parametrize('step', [drop(), reset(), stall()])
def test_client_that_has_reset_tcp_does_not_matter_to_a_script_that_ends_it_too(step):
    left = threading.Event()
    with ScriptedServer([wait(left), step]) as server:
        websocket = WebSocket(server.url)
        loop = websocket.connect()
        for event in loop:
            if event.name == 'ready':
                Inside(websocket).sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
                break
        loop.close()
        left.set()


def test_request_is_rejected_with_status_headers_and_body():
    with ScriptedServer([reject(429, {'Retry-After': '7'}, u'slowly')]) as server:
        rejected, = [event for event in connect(server) if event.name == 'rejected']
    assert rejected.response.status_code == 429
    assert rejected.response.get('Retry-After') == '7'
    assert rejected.response.body == b'slowly'


def test_request_is_accepted_with_a_subprotocol_and_headers():
    with ScriptedServer([accept(u'b', {'X-A': '1'}), close()]) as server:
        ready, = [event for event in connect(server, protocols=['a', 'b'])
                  if event.name == 'ready']
    assert ready.protocol == u'b'
    assert ready.response.get('X-A') == '1'


def test_message_in_fragments_and_in_pieces_arrives_whole():
    with ScriptedServer(
            [fragment(u'a\u20acbcd', [1, 2]), fragment(b'abcd', 3), split(u'hello', 1),
             split(b'x' * 300, [2, 1]), close()]) as server:
        seen = connect(server)
    assert [event for event in seen if event.name in ('text', 'binary')] == [
        events.Text(u'a\u20acbcd'), events.Binary(b'abcd'), events.Text(u'hello'),
        events.Binary(b'x' * 300)]
    with ScriptedServer([fragment(b'abcd', 3), close()]) as server:
        parts = [event for event in connect(server, message_parts=True) if event.name == 'binary']
    assert [event.frame_finished for event in parts].count(True) == 2


def test_sizes_may_be_an_iterator_in_a_step_of_several_scripts():
    steps = [split(u'abc', iter([1, 2])), fragment(u'abc', iter([1, 2]))]
    assert [repr(step) for step in steps] == [
        '{}({!r}, (1, 2))'.format(name, u'abc') for name in ('split', 'fragment')]
    with ScriptedServer(*[[steps[0], steps[1], close()]] * 2) as server:
        for _connection in range(2):
            assert [event.text for event in connect(server) if event.name == 'text'] \
                == [u'abc'] * 2


def test_reason_of_a_close_may_have_other_letters_than_ascii():
    with ScriptedServer([close(4000, u'tsch\xfc\xdf')]) as server:
        assert events.Closing(4000, u'tsch\xfc\xdf') in connect(server)


def test_raw_bytes_go_as_they_are():
    with ScriptedServer([raw(b'\xff\xff'), stall()]) as server:
        errors = [event for event in connect(server) if event.name == 'protocol_error']
    assert errors
    with ScriptedServer([raw(b'SSH-2.0-x\r\n', handshake=False)]) as server:
        assert 'protocol_error' in names(connect(server))


def test_stalled_server_neither_reads_nor_answers():
    with ScriptedServer([say(u'a'), stall()]) as server:
        websocket = WebSocket(server.url)
        loop = websocket.connect(poll=0.01, ping_rate=0.01, ping_timeout=0.02)
        seen = [event.name for event in loop]
        assert server.done.is_set()
    assert 'unresponsive' in seen
    assert 'pong' not in seen


def test_stall_before_the_handshake_runs_into_the_timeout():
    with ScriptedServer([stall(handshake=False)]) as server:
        assert 'ready' not in names(connect(server, connect_timeout=0.2))


def test_script_waits_for_the_test_and_calls_it():
    go, called = threading.Event(), threading.Event()
    with ScriptedServer([wait(go), call(called.set), say(u'now'), close()]) as server:
        def handle(_websocket, event):
            if event.name == 'ready':
                assert not called.is_set()
                go.set()

        assert 'text' in names(connect(server, handle))
    assert called.is_set()


def test_pings_are_answered_and_a_close_after_the_last_step():
    with ScriptedServer([]) as server:
        def handle(websocket, event):
            if event.name == 'ready':
                websocket.send_ping(b'x')
            elif event.name == 'pong':
                websocket.close()

        seen = connect(server, handle)
    assert seen[-1] == events.Disconnected(graceful=True)


def test_next_connection_takes_the_next_script_with_persist():
    with ScriptedServer([say(u'a'), drop()], [reject(503)], [say(u'b'), expect(u'done')]) as server:
        websocket = WebSocket(server.url)
        texts = []
        with skip_back_offs() as delays:
            for event in persist(websocket, exit_event=server.done):
                if event.name == 'text':
                    texts.append(event.text)
                    if event.text == u'b':
                        websocket.send_text(u'done')
                        assert server.done.wait(PATIENCE)
    assert texts == [u'a', u'b']
    assert len(delays) == 2


def test_several_clients_in_a_pool_are_served_side_by_side():
    script = [expect(), say(u'thanks'), close()]
    with ScriptedServer(*[script] * 20) as server:
        pool = Pool()
        for number in range(20):
            pool.add(WebSocket(server.url), tag=number)
        texts = 0
        for websocket, event in pool:
            if event.name == 'ready':
                websocket.send_json(number=websocket.tag)
            elif event.name == 'text':
                texts += 1
    assert texts == 20
    assert len(server.received) == len(server.requests) == 20


def test_compression_is_agreed_on():
    with ScriptedServer([say(u'a' * 1000), close()], compress=True) as server:
        seen = connect(server, compress=True)
    assert events.Text(u'a' * 1000) in seen
    assert [event.extensions for event in seen if event.name == 'ready'] == [{
        u'permessage-deflate'}]


# -- what it reports --

def failure_of(*scripts, **options):
    """Run a client that answers each text by 'ha'; return the words of the failure."""
    handle = options.pop('handle', answer(u'ha'))
    with pytest.raises(AssertionError) as caught:
        with ScriptedServer(*scripts, **dict({'timeout': PATIENCE}, **options)) as server:
            connect(server, handle)
    return str(caught.value)


def test_other_message_than_expected_fails_with_a_transcript():
    words = failure_of([say(u'hello'), expect(u'hi')])
    first, rest = words.split('\n', 1)
    assert first.startswith('connection 1, expect(')
    assert 'another message came' in first
    assert 'received GET /' in rest
    assert re.search(r"[0-9]\.[0-9]{3} s  sent     text u?'hello'", rest)
    assert re.search(r"received text u?'ha'", rest)


def test_step_that_the_client_does_not_meet_before_it_leaves_fails():
    words = failure_of([say(u'hello'), expect(), expect(u'more')], handle=lambda websocket, event: (
        answer(u'x')(websocket, event), event.name == 'text' and websocket.close(1001)))
    assert "the client closed with 1001" in words
    assert "expect(" in words.split('\n')[0]


def leave(has_left):
    """Return what sends a text, and closes at once."""
    def handle(websocket, event):
        if event.name == 'ready':
            websocket.send_text(u'hi')
            websocket.close()
            has_left.set()
    return handle


@pytest.mark.parametrize('step', [say(u'there'), fragment(u'ab', 1), ping()])
def test_step_after_the_client_has_left_says_so(step):
    has_left = threading.Event()
    words = failure_of([wait(has_left), expect(u'hi'), step], handle=leave(has_left))
    assert 'the client closed with 1000' in words
    assert 'Traceback' not in words


def test_a_close_after_the_client_has_closed_is_none():
    has_left = threading.Event()
    with ScriptedServer([wait(has_left), expect(u'hi'), close()]) as server:
        assert connect(server, leave(has_left))[-1].graceful


def test_message_after_the_last_step_fails():
    def handle(websocket, event):
        if event.name == 'text':
            websocket.send_text(u'ha')
            websocket.close()
    assert 'a message came that no step expects' in failure_of([say(u'a')], handle=handle)


def test_message_that_is_read_after_the_end_of_the_block_fails_too():
    """The client has sent it before: nothing waits for the server to read it."""
    with pytest.raises(AssertionError, match='no step expects'):
        with ScriptedServer([]) as server:
            with WebSocket(server.url) as websocket:
                websocket.open(timeout=PATIENCE)
                websocket.send_text(u'ha')


def test_message_that_is_expected_may_come_at_the_end_of_the_block():
    with ScriptedServer([expect(u'ha')]) as server:
        with WebSocket(server.url) as websocket:
            websocket.open(timeout=PATIENCE)
            websocket.send_text(u'ha')


def test_script_that_no_connection_takes_fails():
    assert 'there are 2 scripts, and only 1 connections came' in failure_of([close()], [close()])


def test_connection_without_a_script_fails_and_is_rejected():
    with pytest.raises(AssertionError, match='connection 2 came, and there are only 1 scripts'):
        with ScriptedServer([close()]) as server:
            connect(server)
            assert 'rejected' in names(connect(server))
    with pytest.raises(AssertionError, match='connection 1 came'):
        with ScriptedServer() as server:
            connect(server)


def test_exception_of_a_function_fails_with_its_traceback():
    def fail(_message):
        raise KeyError('my own fault')

    words = failure_of([say(u'a'), expect(fail)])
    assert 'my own fault' in words
    assert 'Traceback' in words


def test_request_that_is_none_fails():
    with pytest.raises(AssertionError, match='no WebSocket request came'):
        with ScriptedServer([]) as server:
            sock = socket.create_connection((server.host, server.port))
            sock.sendall(b'HELO\r\n\r\n')
            sock.settimeout(PATIENCE)
            sock.recv(100)
            sock.close()


def test_connection_that_gets_no_thread_fails_and_is_closed():
    with pytest.raises(AssertionError, match='connection 1: .*thread'):
        with ScriptedServer([close()]) as server:
            with no_threads():
                assert not connect(server)[-1].graceful
            assert server.done.wait(PATIENCE)


def test_client_that_resets_in_the_middle_of_a_script_fails():
    with pytest.raises(AssertionError, match='connection 1'):
        with ScriptedServer([expect()]) as server:
            sock = socket.create_connection((server.host, server.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
            sock.close()


@pytest.mark.parametrize('script, words', [
    ([expect(u'a')], 'no message came in 0.1 s'),
    ([wait(threading.Event())], 'the event was not set in 0.1 s'),
    ([raw(b'', handshake=True), ping(b'x')], 'no pong came in 0.1 s'),
    ([close()], 'no Close frame came in 0.1 s')])
def test_step_has_a_time_limit(script, words):
    with pytest.raises(AssertionError, match=words):
        with ScriptedServer(script, timeout=0.1) as server:
            websocket = WebSocket(server.url)
            # It is connected, and reads nothing.
            loop = websocket.connect(auto_pong=False)
            for event in loop:
                if event.name == 'ready':
                    assert server.done.wait(PATIENCE)
                    break
            loop.close()


def test_tls_does_not_change_the_words_of_a_time_limit():
    with pytest.raises(AssertionError, match='no message came in 0.1 s'):
        with ScriptedServer([expect(u'a')], tls=True, timeout=0.1) as server:
            loop = WebSocket(server.url, ssl_cafile=server.cafile).connect()
            for event in loop:
                if event.name == 'ready':
                    assert server.done.wait(PATIENCE)
                    break
            loop.close()


def test_first_failure_is_raised():
    with pytest.raises(AssertionError, match=r'\Aconnection 1'):
        with ScriptedServer([say(u'a'), expect(u'b')], [say(u'a'), expect(u'b')]) as server:
            connect(server, answer(u'1'))
            connect(server, answer(u'2'))


def test_lenient_server_records_what_is_not_expected():
    with ScriptedServer(
            [say(u'hello'), expect(u'b'), close()], strict=False) as server:
        connect(server, lambda websocket, event: (
            websocket.send_many([u'a', u'b']) if event.name == 'text' else None))
        assert 'rejected' in names(connect(server))
    assert server.received == [u'a', u'b']


def test_exception_of_the_block_goes_through_with_the_transcript(caplog):
    with caplog.at_level(logging.ERROR, logger='lomond'):
        with pytest.raises(ZeroDivisionError) as caught:
            with ScriptedServer([say(u'hello'), expect(u'hi')]) as server:
                connect(server, answer(u'ha'))
                1 / 0       # noqa: B018
    notes = getattr(caught.value, '__notes__', None) or [caplog.text]
    assert 'another message came' in notes[0]
    assert 'expect(' in notes[0]
    assert 'received GET /' in notes[0]


def test_exception_of_the_block_does_not_wait_for_the_script():
    """Its time limit is that of a test run."""
    with pytest.raises(ZeroDivisionError):
        with ScriptedServer([expect(u'hi')], timeout=100000) as server:
            sock = socket.create_connection((server.host, server.port))
            try:
                1 / 0       # noqa: B018
            finally:
                sock.close()


def test_exception_of_the_block_ends_a_wait_for_an_event():
    with pytest.raises(ZeroDivisionError):
        with ScriptedServer([wait(threading.Event())], timeout=100000) as server:
            for event in WebSocket(server.url):
                if event.name == 'ready':
                    1 / 0       # noqa: B018


def test_done_is_set_by_a_failure_so_that_a_loop_can_end():
    with pytest.raises(AssertionError, match='another message'):
        with ScriptedServer([say(u'a'), expect(u'b')], [say(u'c')]) as server:
            websocket = WebSocket(server.url)
            with skip_back_offs():
                for event in persist(websocket, exit_event=server.done):
                    answer(u'x')(websocket, event)


# -- how it is used wrongly --

@pytest.mark.parametrize('scripts, error, words', [
    ((say(u'a'),), TypeError, 'a script is a list of steps'),
    ((u'a',), TypeError, 'a script is a list of steps'),
    (([u'a'],), TypeError, 'a step is made by say'),
    (([drop(), say(u'a')],), ValueError, 'ends a script'),
    (([say(u'a'), reject(503)],), ValueError, 'comes first'),
    (([say(u'a'), drop(handshake=False)],), ValueError, 'comes first')])
def test_wrong_script_is_refused(scripts, error, words):
    with pytest.raises(error, match=words):
        ScriptedServer(*scripts)


@pytest.mark.parametrize('make, error', [
    (lambda: say(1), TypeError), (lambda: expect(1), TypeError), (lambda: wait(1), TypeError),
    (lambda: call(1), TypeError), (lambda: raw(u'a'), TypeError), (lambda: reject(101), ValueError),
    (lambda: close(1005), ValueError), (lambda: ping(b'x' * 126), ValueError),
    (lambda: split(u'a', [0]), ValueError), (lambda: fragment(u'ab', 0), ValueError),
    (lambda: split(u'a', 1.5), TypeError), (lambda: fragment(u'abc', [u'x']), TypeError),
    (lambda: ScriptedServer(timeout=0), ValueError),
    (lambda: ScriptedServer(timeout=-1), ValueError),
    (lambda: ScriptedServer(timeout=None), ValueError),
    (lambda: ScriptedServer(timeout='1'), TypeError),
    (lambda: ScriptedServer(tsl=True), TypeError), (lambda: ScriptedServer(tls='yes'), TypeError)])
def test_wrong_argument_is_refused(make, error):
    with pytest.raises(error):
        make()


def test_server_is_for_one_block():
    server = ScriptedServer()
    server.stop()       # it has not begun
    with pytest.raises(RuntimeError, match='in its block only'):
        server.url      # noqa: B018
    with server:
        with pytest.raises(RuntimeError, match='runs already'):
            server.__enter__()
    server.stop()       # it has ended
    with pytest.raises(RuntimeError, match='make another one'):
        server.__enter__()


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='there is no fork here')
def test_forked_child_that_leaves_the_block_leaves_the_server_alone():
    assert 'child left, True' in run_program("""if 1:
        import os, warnings
        from lomond import WebSocket
        from lomond.testing import ScriptedServer, close

        warnings.simplefilter('ignore', DeprecationWarning)     # 3.12: it has threads
        with ScriptedServer([close()], tls=True) as server:
            websocket = WebSocket(server.url, ssl_cafile=server.cafile)
            child = os.fork()
            if not child:
                server.stop()
                os._exit(0)
            os.waitpid(child, 0)
            print('child left, {}'.format(list(websocket)[-1].graceful))
        """)


def test_without_trustme_the_error_says_what_to_install():
    assert 'pip install trustme' in run_program("""if 1:
        import sys
        sys.modules['trustme'] = None
        from lomond.testing import ScriptedServer
        with ScriptedServer():
            pass
        try:
            ScriptedServer(tls=True)
        except ImportError as error:
            print(error)
        """)


# -- skip_back_offs --

def test_skipped_back_offs_count_as_time_for_the_policy(dead_port):
    policy = ReconnectPolicy(min_wait=100, max_wait=100, max_outage=950)
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    with skip_back_offs() as delays:
        seen = names(persist(websocket, policy=policy))
    assert delays == [100.0] * 9
    assert seen[-1] == 'gave_up'
    assert seen.count('back_off') == 9


def test_skipped_back_offs_are_reported_as_they_would_be(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    with skip_back_offs() as delays:
        reported = []
        for event in persist(websocket, min_wait=50, max_wait=60):
            if event.name == 'back_off':
                reported.append(event.delay)
                if len(reported) == 3:
                    websocket.close()
    assert delays == reported
    assert all(50 <= delay <= 60 for delay in delays)


def test_back_offs_of_a_pool_are_skipped(dead_port):
    pool = Pool()
    policy = ReconnectPolicy(min_wait=100, max_wait=100, max_attempts=3)
    websocket = pool.add(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port)), policy)
    with skip_back_offs() as delays:
        seen = [event.name for owner, event in pool if owner is websocket]
    assert seen[-1] == 'gave_up'
    assert delays == [100.0] * 2


def test_program_that_never_gets_through_is_stopped(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    with pytest.raises(AssertionError, match='5 back-offs were skipped'):
        with skip_back_offs(limit=5) as delays:
            for _event in persist(websocket):
                pass
    assert len(delays) == 5


def test_program_whose_pool_never_gets_through_fails_its_test(dead_port, caplog):
    pool = Pool()
    pool.add(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port)), ReconnectPolicy(min_wait=5))
    with caplog.at_level(logging.CRITICAL, logger='lomond'):        # it logs the exception
        with pytest.raises(AssertionError, match='5 back-offs were skipped'):
            with skip_back_offs(limit=5):
                assert [event.name for _websocket, event in pool][-1] == 'disconnected'


def test_exception_of_the_block_goes_before_that_of_the_limit(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    with pytest.raises(ZeroDivisionError), skip_back_offs(limit=1):
        try:
            list(persist(websocket))
        except AssertionError:
            1 / 0       # noqa: B018


def test_after_the_block_back_offs_wait_again(dead_port):
    websocket = WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port))
    with skip_back_offs() as delays:
        pass
    waiting = threading.Event()

    def run():
        for event in persist(websocket, min_wait=10000, max_wait=10000):
            if event.name == 'back_off':
                waiting.set()

    background = Background(run)
    assert waiting.wait(PATIENCE)
    websocket.close()
    background.result()
    assert delays == []
