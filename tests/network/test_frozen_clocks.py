"""Clocks that tests of an application freeze or put forward: a connection goes on all the same."""

from __future__ import absolute_import, division, print_function

import textwrap
import threading

import pytest

from tests.network.driving import accept_and_hang_up, drain, run_program, wait_for
from tests.support import IS_PYPY, RawServer, answer_upgrade, make_frame, read_frame, read_head

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

#: How a program freezes its clock: `travel(seconds, tick)` and `move(clock, seconds)`.
TOOLS = {
    'freezegun': """
import freezegun

def moment(seconds):
    return datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)

def travel(seconds, tick):
    return freezegun.freeze_time(moment(seconds), tick=tick)

def move(clock, seconds):
    clock.move_to(moment(seconds))
""",
    'time_machine': """
import time_machine

def travel(seconds, tick):
    return time_machine.travel(seconds, tick=tick)

def move(clock, seconds):
    clock.move_to(seconds)
""",
}

# What a test says stands in the with block.
PROGRAM = """
import datetime, sys, time
{tool}
NEW_YEAR = 1577836800.0

def tell(*words):
    print(' '.join(str(word) for word in words))

{early}
url, options = sys.argv[1], dict(proxies={{}}, ssl_cafile=sys.argv[2] or None)
traveller = travel(NEW_YEAR, {tick})
with traveller as clock:
    from lomond import WebSocket, errors
    from lomond.persist import persist
{body}
"""

IMPORTED_BEFORE = 'import lomond.persist'
IMPORTED_WHILE_FROZEN = """
with travel(NEW_YEAR, False):
    import lomond.persist
"""


@pytest.fixture(params=sorted(TOOLS))
def tool(request):
    pytest.importorskip(request.param)      # requirements/test.txt: there is no time-machine on 2.7
    return request.param


@pytest.fixture
def run(tool, authority_file):
    """Run lines in a program whose clock a tool has frozen; return what it tells, line by line."""
    def run(server, body, tick=False, early=IMPORTED_BEFORE):
        if tick and tool == 'freezegun' and IS_PYPY:
            pytest.skip('a clock of freezegun ticks only on CPython')
        program = PROGRAM.format(
            tool=TOOLS[tool], early=early, tick=tick,
            body='\n'.join('    ' + line for line in textwrap.dedent(body).splitlines()))
        return run_program(
            program, server.url, authority_file if server.url.startswith(u'wss') else ''
        ).splitlines()
    return run


def echo(sock):
    """Answer pings with pongs, texts with themselves, and Close with Close."""
    answer_upgrade(sock)
    answers = {8: 8, 9: 10, 1: 1}
    opcode = None
    while opcode != 8:
        first, payload = read_frame(sock)
        opcode = first & 15
        sock.sendall(make_frame(answers[opcode], payload))


def accept_and_say_nothing(sock):
    answer_upgrade(sock)
    drain(sock)


CONNECT = """
polls = 0
websocket = WebSocket(url, **options)
for event in websocket.connect(poll=0.02, ping_rate=0.02):
    if event.name == 'ready':
        timings = event.timings
        websocket.send_text(u'hello')
    elif event.name == 'poll':
        polls += 1
    if polls > 3 and websocket.stats.round_trips.count > 2:
        websocket.close()
    if event.name not in ('poll', 'pong', 'closed'):
        tell(event.name)
tell(event.graceful)
assert 0 <= websocket.stats.round_trips.mean < 20
assert 0 < websocket.stats.time_connected < 20
assert 0 <= timings.connect + timings.handshake < 20
assert 0 <= timings.total < 20
"""

WHOLE_SESSION = ['connecting', 'connected', 'ready', 'text', 'disconnected', 'True']


@pytest.mark.parametrize('early', [IMPORTED_BEFORE, ''], ids=['imported before', 'imported after'])
@pytest.mark.parametrize('tick', [False, True], ids=['frozen', 'ticking'])
def test_a_whole_session_on_a_frozen_clock(link, run, tick, early):
    """Connecting, Poll and pings go by the time that passes."""
    with link.serve(echo) as server:
        assert run(server, CONNECT, tick, early) == WHOLE_SESSION


def test_what_was_imported_on_a_frozen_clock_works_when_it_runs_again(link, run):
    with link.serve(echo) as server:
        assert run(server, CONNECT, early=IMPORTED_WHILE_FROZEN) == WHOLE_SESSION
        assert run(server, 'traveller.stop()\n{}\ntraveller.start()'.format(CONNECT),
                   early=IMPORTED_WHILE_FROZEN) == WHOLE_SESSION


@pytest.mark.parametrize(
    'early', [IMPORTED_BEFORE, IMPORTED_WHILE_FROZEN], ids=['imported before', 'while frozen'])
def test_a_spin_ends_on_a_frozen_clock(link, run, early):
    """Connecting would take forever otherwise, and no Poll would come."""
    with link.serve(echo) as server:
        assert run(server, CONNECT.replace('connect(', 'connect(spin=0.001, '), early=early) \
            == WHOLE_SESSION


def test_a_clock_that_jumps_while_connected(link, run):
    """Neither an hour ahead nor a year back ends a connection."""
    with link.serve(echo) as server:
        assert run(server, """
            polls = 0
            websocket = WebSocket(url, write_timeout=20, **options)
            for event in websocket.connect(
                    poll=0.02, ping_rate=0.02, ping_timeout=20, close_timeout=20):
                if event.name == 'poll':
                    polls += 1
                    if polls < 6:
                        move(clock, NEW_YEAR + (3600 if polls % 2 else -365 * 86400))
                        websocket.send_text(u'hello')
                    elif polls == 6:
                        websocket.close()
                elif event.name not in ('pong', 'text', 'closed'):
                    tell(event.name)
            tell(event.graceful)
            """) == ['connecting', 'connected', 'ready', 'disconnected', 'True']


def test_events_of_all_kinds_have_the_time_of_the_frozen_clock(link, run):
    with link.serve(echo) as server:
        assert run(server, """
            websocket = WebSocket(url, **options)
            for event in websocket:
                tell(event.name, event.received_time - NEW_YEAR)
                if event.name == 'poll':
                    move(clock, NEW_YEAR + 60)
                    websocket.send_text(u'hello')
                elif event.name == 'text':
                    move(clock, NEW_YEAR + 30)
                    websocket.close()
            """) == ['connecting 0.0', 'connected 0.0', 'ready 0.0', 'poll 0.0', 'text 60.0',
                     'closed 30.0', 'disconnected 30.0']


def test_a_connect_timeout_ends_on_a_frozen_clock(link, run):
    def script(sock):
        read_head(sock)
        drain(sock)

    with link.serve(script) as server:
        assert run(server, """
            for event in WebSocket(url, connect_timeout=0.3, **options):
                pass
            tell(event.name, event.reason)
            """) == ['disconnected the handshake took longer than connect_timeout allows (0.3 s)']


def test_a_ping_timeout_ends_on_a_frozen_clock(link, run):
    with link.serve(accept_and_say_nothing) as server:
        assert run(server, """
            for event in WebSocket(url, **options).connect(ping_rate=0.05, ping_timeout=0.1):
                if event.name not in ('poll', 'connecting', 'connected'):
                    tell(event.name)
            """) == ['ready', 'unresponsive', 'disconnected']


def test_a_close_timeout_ends_on_a_frozen_clock(link, run):
    with link.serve(accept_and_say_nothing) as server:
        line, = run(server, """
            websocket = WebSocket(url, **options)
            for event in websocket.connect(close_timeout=0.1):
                if event.name == 'ready':
                    websocket.close()
            tell(event.reason)
            """)
    assert 'Close frame' in line


def test_a_write_timeout_ends_on_a_frozen_clock(link, run):
    def script(sock):
        answer_upgrade(sock)
        wait_for(may_end)

    may_end = threading.Event()
    with link.serve(script, receive_buffer=65536) as server:    # that doesn't grow: it stays full
        try:
            assert run(server, """
                import socket
                small = [(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)]
                websocket = WebSocket(url, write_timeout=0.1, socket_options=small, **options)
                for event in websocket:
                    if event.name == 'ready':
                        try:
                            websocket.send_binary(b'x' * (32 * 1024 * 1024))
                        except errors.TransportFail:
                            tell('failed')
                tell(event.name)
                """) == ['failed', 'disconnected']
        finally:
            may_end.set()


def test_persist_waits_and_connects_again_on_a_frozen_clock(link, run):
    with link.serve(accept_and_hang_up()) as server:
        assert run(server, """
            waits = 0
            for event in persist(WebSocket(url, **options), min_wait=0.05, max_wait=0.05):
                if event.name in ('ready', 'back_off'):
                    tell(event.name)
                if event.name == 'back_off':
                    waits += 1
                    move(clock, NEW_YEAR - 3600 * waits)
                    if waits == 3:
                        break
            """) == ['ready', 'back_off'] * 3


def test_a_date_to_retry_after_is_one_of_the_frozen_clock(link, run):
    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n'
                     b'Retry-After: Wed, 01 Jan 2020 00:02:00 GMT\r\n\r\n')

    with link.serve(script) as server:
        assert run(server, """
            for event in persist(WebSocket(url, **options), min_wait=1, max_wait=1):
                if event.name == 'back_off':
                    tell(event.delay)
                    break
            """) == ['120.0']


@pytest.mark.parametrize('early', [IMPORTED_BEFORE, ''], ids=['imported before', 'imported after'])
def test_the_test_kit_works_on_a_frozen_clock(run, early):
    with RawServer(echo) as server:     # which nothing connects to
        assert run(server, """
            from lomond.testing import FakeWebSocket, ScriptedServer, drop, ping, say
            from lomond.testing import redirect, skip_back_offs
            with ScriptedServer([say(u'a'), drop()], [ping()], tls=True) as server:
                with redirect({'api.example.com': server}), skip_back_offs() as delays:
                    websocket = WebSocket(u'wss://api.example.com/')
                    for event in persist(websocket, min_wait=1000):
                        if event.name in ('text', 'back_off', 'ping'):
                            tell(event.name)
                        if event.name == 'ping':
                            websocket.close()
            tell(len(delays), delays[0] >= 1000)
            tell(event.graceful)
            tell(len(list(persist(FakeWebSocket([u'a'], [])))))
            """, early=early) == ['text', 'back_off', 'ping', '1 True', 'True', '7']
