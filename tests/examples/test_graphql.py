"""examples/graphql_subscription.py, at a server of Node's graphql-ws: `make peers` installs it."""

from __future__ import absolute_import, division, print_function

import json
import os
import signal

import pytest

from tests.examples.running import Program
from tests.network.driving import ROOT
from tests.programs import Program as Server
from tests.programs import find_program
from tests.support import RawServer, answer_upgrade, make_close, make_frame, read_frame

pytestmark = pytest.mark.costly

PEERS = os.path.join(ROOT, 'tests', 'peers')


@pytest.fixture
def serve():
    """``serve(*arguments)`` returns graphql.js, a `Server`."""
    node = find_program('node')
    for package in 'graphql', 'graphql-ws', 'ws':
        if not os.path.isdir(os.path.join(PEERS, 'node_modules', package)):
            pytest.skip("node's {} is not installed: make peers".format(package))

    def serve(*arguments):
        return Server(lambda _folder, port: [
            node, os.path.join(PEERS, 'graphql.js'), str(port)] + list(arguments))
    return serve


def run(port, *arguments, **options):
    url = 'ws://127.0.0.1:{}/graphql'.format(port)
    return Program('examples/graphql_subscription.py', url, *arguments, **options)


def test_a_subscription_is_printed_until_it_is_complete(serve):
    with serve() as server, run(server.port, 'subscription { countdown(from: 3) }') as program:
        status, output, errors = program.finish()
    assert (status, errors) == (0, [])
    assert [json.loads(line) for line in output] == [
        {'data': {'countdown': number}} for number in (3, 2, 1)]


def test_an_error_in_a_value_is_printed_with_the_rest(serve):
    with serve() as server, run(server.port, 'subscription { failing }') as program:
        status, (line,), errors = program.finish()
    assert (status, errors) == (0, [])
    assert json.loads(line)['errors'][0]['message'] == 'no such number'


def test_a_query_that_is_wrong_is_one_line_and_status_1(serve):
    with serve() as server, run(server.port, 'subscription { nothing }') as program:
        status, output, (line,) = program.finish()
    assert (status, output) == (1, [])
    assert line.startswith('Cannot query field "nothing"')


@pytest.mark.parametrize('token, status', [('secret', 0), ('wrong', 1)])
def test_a_token_is_sent_and_one_that_is_refused_ends_it(serve, token, status):
    with serve('secret') as server, run(
            server.port, 'subscription { countdown(from: 1) }', '--init',
            json.dumps({'token': token})) as program:
        found, output, errors = program.finish()
    assert found == status
    assert len(output) == 1 - status
    assert ['4403' in line for line in errors] == [True] * status


def test_it_subscribes_again_after_an_outage_and_ends_with_ctrl_c(serve):
    first = '{"data": {"ticks": 1}}'
    with serve() as server, run(server.port, 'subscription { ticks }') as program:
        assert program.read_line() == first
        server.stop(kill=True)
        assert 'Next attempt in' in program.read_error()
        assert server.start()
        assert first in iter(program.read_line, '')
        program.send_signal(signal.SIGINT)
        assert program.finish()[0] == 0


def test_it_closes_the_connection_when_nobody_reads_its_output(serve, unread_pipe):
    with serve() as server, run(
            server.port, 'subscription { ticks }', stdout=unread_pipe) as program:
        assert program.finish() == (0, [], [])


def test_a_ping_of_the_protocol_is_answered():
    def script(sock):
        answer_upgrade(sock, b'Sec-WebSocket-Protocol: graphql-transport-ws')
        assert read_json(sock)['type'] == 'connection_init'
        sock.sendall(make_frame(1, b'{"type": "connection_ack"}') + make_frame(
            1, b'{"type": "ping"}') + make_frame(1, b'{"type": "complete", "id": "1"}'))
        received.extend(read_json(sock)['type'] for _ in range(2))
        assert read_frame(sock)[0] == 0x88
        sock.sendall(make_close(1000))

    received = []
    with RawServer(script) as server, run(server.port, '{ x }') as program:
        assert program.finish() == (0, [], [])
    assert received == ['subscribe', 'pong']


def read_json(sock):
    return json.loads(read_frame(sock)[1].decode('utf-8'))
