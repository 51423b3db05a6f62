"""``lomond bench``: its figures, and what they can't be taken from."""

from __future__ import absolute_import, division, print_function

import json
import signal
import threading
from multiprocessing import cpu_count

import pytest

from lomond.server import Refusal
from tests.cli.driving import Lomond, run, serving
from tests.network.driving import echo_handler, wait_for
from tests.programs import wait_until
from tests.support import PATIENCE, RawServer, answer_upgrade, read_frame

pytestmark = pytest.mark.costly


def measure(url, *arguments):
    """Return the figures of a measurement that went well."""
    status, output, errors = run('bench', url, '--json', *arguments)
    assert (status, errors) == (0, b''), errors
    assert output.count(b'\n') == 1
    return json.loads(output.decode('ascii'))


@pytest.mark.parametrize('arguments', [[], ['--binary'], ['--compress']])
def test_figures_are_of_all_messages(arguments):
    with serving(echo_handler, compress=True) as server:
        figures = measure(
            server.url, '--connections', '5', '--size', '1001', '--duration', '0.5', *arguments)
    assert figures['connections'] == figures['connecting']['count'] == 5
    assert figures['kind'] == ('binary' if '--binary' in arguments else 'text')
    assert figures['size'] == 1001
    assert figures['messages'] > 0
    assert figures['messages_per_second'] == figures['messages'] / figures['duration']
    assert figures['bytes_per_second'] == 1001 * figures['messages_per_second']
    times = figures['round_trip']
    assert times['count'] >= figures['messages']
    assert 0 < times['min'] <= times['p50'] <= times['p90'] <= times['p99'] <= times['p99.9'] \
        <= times['max']
    assert figures['same_machine'] is True
    for name in ('broken', 'unanswered', 'unsent', 'wrong'):
        assert figures[name] == 0


def test_rate_is_that_of_all_connections_together():
    with serving(echo_handler) as server:
        figures = measure(server.url, '--connections', '3', '--rate', '50', '--duration', '1',
                          '--size', '0')
    assert figures['rate'] == 50
    # The first is due at once. (A busy machine may send the last ones too late to count.)
    assert 0 < figures['round_trip']['count'] <= 51


def test_round_trip_with_a_rate_counts_from_when_the_message_was_due():
    """A server that stands still for a while delays all messages that were due meanwhile."""
    def pause(websocket):
        stop = threading.Event()        # never set
        for event in websocket:
            if event.name == 'text':
                if not paused:
                    paused.append(True)
                    stop.wait(0.5)
                websocket.send_text(event.text)

    paused = []
    with serving(pause) as server:
        figures = measure(server.url, '--rate', '100', '--duration', '1')
    assert figures['round_trip']['max'] >= 0.5
    # Some 50 of 100 were due in that time: their mean delay is half of it.
    assert figures['round_trip']['mean'] > 0.05


def test_table_is_printed():
    with serving(echo_handler) as server:
        status, output, errors = run('bench', server.url, '--duration', '0.2')
    assert (status, errors) == (0, b'')
    lines = output.decode('utf-8').splitlines()
    assert lines[0].startswith(server.url + ': 1 connection, 32 bytes of text')
    assert any(line.startswith('  round trip ') for line in lines)
    assert lines[-1] == 'Client and server share this machine, and compete for its processors.'


def test_server_that_does_not_echo_is_noticed():
    def answer(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(u'something else')

    with serving(answer) as server:
        status, output, errors = run('bench', server.url, '--duration', '0.1', '--json')
    assert status == 1
    assert json.loads(output.decode('ascii'))['wrong'] == 1
    assert errors == b''


def test_server_that_answers_nothing_is_noticed():
    def ignore(websocket):
        for _event in websocket:
            pass

    with serving(ignore) as server:
        status, output, _errors = run('bench', server.url, '--duration', '0.1', '--json')
    assert (status, json.loads(output.decode('ascii'))['unanswered']) == (1, 1)


def test_handshake_that_is_not_answered_is_no_measurement():
    is_over = threading.Event()
    with RawServer(lambda _sock: is_over.wait(PATIENCE)) as server:
        status, output, errors = run('bench', server.url, '--connect-timeout', '0.2')
        is_over.set()
    assert (status, output) == (3, b'')
    assert b'connect_timeout' in errors


def test_rate_that_is_too_high_delays_neither_the_end_nor_signals():
    with serving(echo_handler) as server:
        assert run('bench', server.url, '--rate', '100000000', '--duration', '0.2')[0] == 0
        with Lomond('bench', server.url, '--rate', '100000000', '--duration', '1000') as program:
            wait_until(lambda: server.connections, 'a connection')
            program.process.send_signal(signal.SIGTERM)
            assert program.finish()[0] == 143


def test_server_that_is_not_there_is_no_measurement(dead_port):
    status, output, errors = run(
        'bench', 'ws://127.0.0.1:{}/?token=SECRET'.format(dead_port), '-c', '3')
    assert (status, output) == (3, b'')
    assert b'refused' in errors and b'SECRET' not in errors and errors.count(b'\n') == 1


def test_server_that_refuses_some_is_no_measurement():
    with serving(echo_handler, max_connections=2) as server:
        status, output, errors = run('bench', server.url, '-c', '5')
    assert (status, output) == (4, b'')
    assert b'503' in errors and errors.count(b'\n') == 1


def test_rejection_is_no_measurement():
    with serving(echo_handler, on_request=lambda _request: Refusal(401, u'no')) as server:
        assert run('bench', server.url)[:2] == (4, b'')


def test_connections_that_break_are_counted():
    def hang_up(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.force_disconnect()

    with serving(hang_up) as server:
        status, output, errors = run('bench', server.url, '-c', '3', '--duration', '0.2', '--json')
    figures = json.loads(output.decode('ascii'))
    assert status == 5
    assert (figures['broken'], figures['unanswered'], figures['messages']) == (3, 3, 0)
    assert errors.count(b'\n') == 1


@pytest.mark.parametrize('end, status', [
    (lambda websocket: websocket.close(1001, u''), 5),
    (lambda websocket: websocket.close(4000, u''), 6),
    (lambda websocket: websocket.force_disconnect(), 5),
])
def test_the_last_connection_that_ends_ends_the_measurement(end, status):
    def echo(websocket):
        count = 0
        for event in websocket:
            if event.name == 'text':
                count += 1
                if count <= 10:
                    websocket.send_text(event.text)
                else:
                    end(websocket)

    with serving(echo) as server:
        found, output, _errors = run('bench', server.url, '--duration', '600', '--json')
    figures = json.loads(output.decode('ascii'))
    assert (found, figures['messages'], figures['broken'], figures['unanswered']) == (
        status, 10, 1, 1)
    assert figures['duration'] < PATIENCE
    assert abs(figures['messages_per_second'] * figures['duration'] - 10) < 0.01
    assert 0 < figures['client_cpu'] < 1 + cpu_count()


def test_a_server_that_is_silent_has_a_status_of_its_own():
    def script(sock):
        answer_upgrade(sock)
        while True:
            read_frame(sock)

    with RawServer(script) as server:
        assert run('bench', server.url, '--ping-rate', '0.1', '--ping-timeout', '0.3')[0] == 7


@pytest.mark.parametrize('number, status', [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_it_with_the_figures_so_far(number, status):
    began = threading.Event()

    def echo(websocket):
        for event in websocket:
            if event.name == 'text':
                began.set()
                websocket.send_text(event.text)

    with serving(echo) as server, \
            Lomond('bench', server.url, '--duration', '1000', '--json') as program:
        wait_for(began)
        program.process.send_signal(number)
        result = program.finish()
    assert result[0] == status
    assert 0 < json.loads(result[1].decode('ascii'))['duration'] < 1000


@pytest.mark.parametrize('arguments', [
    ['--connections', '0'], ['--rate', '0'], ['--size', '-1'], ['--size', '1' + '0' * 13],
    ['--duration', 'x']])
def test_wrong_arguments_are_refused(arguments):
    assert run('bench', 'ws://127.0.0.1/', *arguments)[:2] == (2, b'')
