"""Cancellation, leaving in every way, garbage: no event is lost, and nothing is left open."""

import gc
import random
import signal
import socket
import subprocess
import sys
import threading

import pytest

from lomond import WebSocket, aio, errors
from lomond.aio import connection, iterator, loops
from lomond.engine import client, session, stepped
from lomond.persist import ReconnectPolicy
from tests.network.driving import ROOT, accept_and_send, count_descriptors, drain, echo, needs_proc
from tests.network.event_loops import (
    TimedOut,
    collect,
    in_each_loop,
    run_in,
    trio,
    uvloop,
    wait_until,
)
from tests.sampling import LINE_STEP
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_exactly,
    read_head,
)
from tests.tracing import LineTracer

pytestmark = [
    pytest.mark.costly, pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')]

BEGIN = ['connecting', 'connected', 'ready']


# -- cancellation --

@in_each_loop
def test_a_wait_that_is_cancelled_loses_no_event(loop_name):
    """Hundreds of waits for the next event, each cancelled at a random moment."""
    def script(sock):
        answer_upgrade(sock)
        for number in range(200):
            sock.sendall(b''.join(
                make_frame(1, b'%d' % (3 * number + part)) for part in range(3)))
            read_exactly(sock, 6)       # a ping: not all at once
        sock.sendall(make_close(1000))
        drain(sock)

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        events, timeouts = [], 0
        while not events or events[-1].name != 'disconnected':
            try:
                event = await loop.within(
                    dice.choice([0, 0, 0.0001, 0.0005]), connection.__anext__)
            except TimedOut:
                timeouts += 1
                continue
            events.append(event)
            if event.name == 'text' and int(event.text) % 3 == 2:
                await connection.send_ping()
        with pytest.raises(StopAsyncIteration):
            await connection.__anext__()
        return events, timeouts

    dice = random.Random(1)
    with RawServer(script) as server:
        events, timeouts = run_in(loop_name, scenario)
    assert names(events) == BEGIN + ['text'] * 600 + ['closing', 'disconnected']
    assert [int(event.text) for event in events if event.name == 'text'] == list(range(600))
    assert timeouts > 40


@in_each_loop
def test_tasks_that_are_cancelled_in_turn_lose_no_event(loop_name):
    """Each iterates until it is cancelled; the next one goes on."""
    async def read(connection):
        async for event in connection:
            seen.append(event)

    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        while 'disconnected' not in names(seen):
            task = loop.start(read, connection)
            for _ in range(dice.randrange(4)):
                await loop.sleep(0)
            await task.stop()

    dice = random.Random(1)
    seen = []
    sent = [make_frame(1, b'%d' % number) * 1 for number in range(3000)]
    with RawServer(accept_and_send(*(sent + [make_close(1000)]))) as server:
        run_in(loop_name, scenario)
    texts = [int(event.text) for event in seen if event.name == 'text']
    assert texts == list(range(3000))


def never_accept_tls(sock):
    drain(sock)


def never_answer(sock):
    read_head(sock)
    drain(sock)


def stay_silent(sock):
    answer_upgrade(sock)
    drain(sock)


#: What a server does, by the phase in which a client stays; and what comes before.
PHASES = {
    'TLS': (never_accept_tls, ['connecting']),
    'proxy': (drain, ['connecting']),
    'handshake': (never_answer, ['connecting', 'connected']),
    'open': (stay_silent, BEGIN),
}


def url_for(phase, server):
    return server.url.replace('ws:', 'wss:') if phase == 'TLS' else server.url


@in_each_loop
@pytest.mark.parametrize('leave', ['cancel', 'break off', 'delete'])
@pytest.mark.parametrize('phase', sorted(PHASES))
def test_a_task_that_is_cancelled_leaves_nothing_open(loop_name, phase, leave):
    if leave == 'delete' and loop_name in ('debug', 'uvloop') and sys.version_info < (3, 7):
        pytest.skip("in asyncio's debug mode 3.6 keeps a coroutine's frames for the collector")
    script, expected = PHASES[phase]

    async def iterate(loop, url, proxies):
        async with aio.connect(WebSocket(url, proxies=proxies)) as connection:
            if leave == 'break off':
                loop.connection = connection
            await collect(connection, seen)

    async def iterate_bare(url, proxies):
        async for event in aio.connect(WebSocket(url, proxies=proxies)):
            seen.append(event.name)

    async def scenario(loop):
        proxies = {'http': server.url.replace('ws:', 'http:')} if phase == 'proxy' else {}
        url = url_for(phase, server)
        before = count_descriptors()
        gc.collect()
        gc.disable()
        try:
            if leave == 'delete':
                task = loop.start(iterate_bare, url, proxies)
            else:
                task = loop.start(iterate, loop, url, proxies)
            await wait_until(loop, lambda: seen == expected and server.connections)
            await loop.sleep(0.005)
            if leave == 'break off':
                loop.connection.break_off()
                await task.result()
            else:
                await task.stop()
            await wait_until(loop, lambda: loop.count_own_tasks() <= 0)
            del task    # on 3.9 and 3.10 it keeps its CancelledError, and so its frames
            # The server's own end of it closes a moment later.
            await wait_until(loop, lambda: count_descriptors() <= before)
        finally:
            gc.enable()

    seen = []
    with RawServer(script) as server:
        run_in(loop_name, scenario)
    assert seen == expected


@in_each_loop
@pytest.mark.parametrize('phase', ['resolve', 'connect'])
def test_a_task_that_is_cancelled_while_it_finds_the_server_leaves_nothing_open(
        loop_name, phase, full_listener):
    def resolver(*args):
        resolving.set()
        if phase == 'resolve':
            go_on.wait(PATIENCE)
        return socket.getaddrinfo(full_listener[0], *args[1:])

    async def scenario(loop):
        before = count_descriptors()
        url = 'ws://name.test:{}/'.format(full_listener[1])
        websocket = WebSocket(url, resolver=resolver)
        task = loop.start(collect, aio.connect(websocket), seen)
        await wait_until(loop, resolving.is_set)
        await loop.sleep(0.005)
        await task.stop()
        go_on.set()
        del task, websocket
        gc.collect()
        await wait_until(loop, lambda: count_descriptors() <= before)

    seen, resolving, go_on = [], threading.Event(), threading.Event()
    run_in(loop_name, scenario)
    assert seen == ['connecting']


@in_each_loop
def test_a_task_that_is_cancelled_in_a_back_off_leaves_nothing_open(loop_name, dead_port):
    async def scenario(loop):
        connection = aio.connect(
            WebSocket('ws://127.0.0.1:{}/'.format(dead_port)),
            policy=ReconnectPolicy(min_wait=3600, max_wait=3600))
        task = loop.start(collect, connection, seen)
        await wait_until(loop, lambda: 'back_off' in seen)
        await task.stop()
        connection.break_off()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)

    seen = []
    run_in(loop_name, scenario)


# -- leaving --

@in_each_loop
def test_leaving_the_block_from_another_task_ends_the_one_that_iterates(loop_name):
    async def scenario(loop):
        async with aio.connect(WebSocket(server.url)) as connection:
            task = loop.start(collect, connection, seen)
            await wait_until(loop, lambda: 'ready' in seen)
        await task.result()
        with pytest.raises(errors.WebSocketClosed):
            await connection.send_text(u'too late')

    seen = []
    with RawServer(stay_silent) as server:
        run_in(loop_name, scenario)
    assert seen == BEGIN


@in_each_loop
@pytest.mark.parametrize('times', range(6))
def test_a_connection_may_be_broken_off_at_any_moment(loop_name, times):
    """By the body, too, and before the first event."""
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        seen = []
        if not times:
            connection.break_off()
        else:
            async for event in connection:
                seen.append(event.name)
                if len(seen) == times:
                    connection.break_off()
                    connection.break_off()
        assert len(seen) == times
        with pytest.raises(StopAsyncIteration):
            await connection.__anext__()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)

    with RawServer(accept_and_send(make_frame(1) * 10)) as server:
        run_in(loop_name, scenario)


@in_each_loop
def test_a_thread_may_break_a_connection_off(loop_name):
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        task = loop.start(collect, connection, seen)
        await wait_until(loop, lambda: 'ready' in seen)
        await loop.in_thread(connection.break_off)
        await task.result()

    seen = []
    with RawServer(stay_silent) as server:
        run_in(loop_name, scenario)
    assert seen == BEGIN


def break_off_at(loop_name, modules, moment, url):
    """Iterate, and break off before the nth line; return whether it came to that."""
    async def scenario(loop):
        websocket = WebSocket(url)
        events = aio.connect(websocket)
        tracer = LineTracer(modules, moment, events.break_off,
                            but='__aiter__')    # which says that it has ended
        with tracer:
            async for event in events:
                if event.name == 'disconnected':
                    break
        events.break_off()
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0 and (
            websocket.session is None or websocket.is_closed))
        return tracer.has_acted

    return run_in(loop_name, scenario)


@pytest.mark.parametrize('modules', [
    [connection, iterator, loops], [client, session, stepped]], ids=['aio', 'engine'])
@pytest.mark.parametrize('loop_name', ['asyncio', 'trio'])
def test_a_signals_handler_may_break_a_connection_off_at_any_line(loop_name, modules):
    moment = 1
    with RawServer(accept_and_send(make_frame(1), make_close(1000))) as server:
        while break_off_at(loop_name, modules, moment, server.url):
            moment += LINE_STEP
    assert moment > 100


@in_each_loop
def test_the_task_of_trio_is_gone_after_the_end(loop_name):
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url))
        await collect(connection)
        await wait_until(loop, lambda: loop.count_own_tasks() <= 0)

    with RawServer(accept_and_send(make_close(1000))) as server:
        run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('policy', [None, ReconnectPolicy()])
def test_close_before_the_first_event_ends_without_a_connection(loop_name, policy):
    async def scenario(loop):
        connection = aio.connect(WebSocket(server.url), policy)
        await connection.close()
        return await collect(connection)

    with RawServer(stay_silent) as server:
        assert names(run_in(loop_name, scenario)) == ['connecting', 'connect_fail']
    assert server.connections == 0


@in_each_loop
@pytest.mark.parametrize('attempt', [1, 2])
def test_close_ends_a_connection_whose_before_attempt_hangs(loop_name, dead_port, attempt):
    is_called, may_return = threading.Event(), threading.Event()

    def before_attempt(_websocket, number):
        if number == attempt:
            is_called.set()
            assert may_return.wait(PATIENCE), 'close() was not noticed'

    async def scenario(loop):
        websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
        policy = ReconnectPolicy(before_attempt=before_attempt, min_wait=0, max_wait=0)
        task = loop.start(collect, aio.connect(websocket, policy))
        await wait_until(loop, is_called.is_set)
        websocket.close()
        return names(await task.result())

    try:
        assert run_in(loop_name, scenario) == [
            'connecting', 'connect_fail', 'back_off'] * (attempt - 1)
    finally:
        may_return.set()


@in_each_loop
def test_an_exception_of_the_body_goes_through_as_it_is(loop_name):
    async def scenario(_loop):
        async with aio.connect(WebSocket(server.url)) as connection:
            async for event in connection:
                if event.name == 'ready':
                    raise ZeroDivisionError()

    with RawServer(stay_silent) as server:
        with pytest.raises(ZeroDivisionError):
            run_in(loop_name, scenario)


# -- garbage --

@in_each_loop
def test_break_frees_the_socket_at_once_without_the_collector(loop_name):
    async def scenario(loop):
        async for event in aio.connect(WebSocket(server.url)):
            if event.name == 'ready':
                break
        del event
        # The server notices.
        await wait_until(loop, ended.is_set)

    def script(sock):
        answer_upgrade(sock)
        drain(sock)
        ended.set()

    ended = threading.Event()
    gc.collect()
    gc.disable()
    try:
        with RawServer(script) as server:
            run_in(loop_name, scenario)
    finally:
        gc.enable()


@in_each_loop
def test_finished_connections_need_no_collector(loop_name):
    async def scenario(_loop):
        for _ in range(20):
            await collect(aio.connect(WebSocket(server.url)))
            # Those of other tests may be in a traceback that pytest keeps.
            counts.append(sum(
                type(thing) is aio.Connection and thing.websocket.url == server.url
                for thing in gc.get_objects()))

    counts = []
    gc.collect()
    gc.disable()
    try:
        with RawServer(accept_and_send(make_close(1000))) as server:
            run_in(loop_name, scenario)
    finally:
        gc.enable()
    assert counts[-1] <= 1      # the last one may still be about to go


@in_each_loop
def test_garbage_of_another_thread_is_freed_in_the_loop(loop_name):
    async def scenario(loop):
        connections = [aio.connect(WebSocket(server.url))]
        async for event in connections[0]:
            if event.name == 'ready':
                break
        before = count_descriptors()
        await loop.in_thread(connections.pop)
        await wait_until(loop, lambda: count_descriptors() < before)

    with RawServer(echo) as server:
        run_in(loop_name, scenario)


@in_each_loop
@pytest.mark.parametrize('in_thread', [False, True])
def test_garbage_is_freed_after_the_loop_has_ended(loop_name, in_thread):
    async def scenario(_loop):
        async for event in connections[0]:
            if event.name == 'ready':
                break

    with RawServer(echo) as server:
        connections = [aio.connect(WebSocket(server.url))]
        run_in(loop_name, scenario)
        before = count_descriptors()
        if in_thread:
            thread = threading.Thread(target=connections.pop)
            thread.start()
            thread.join(PATIENCE)
        else:
            connections.pop()
        server.wait_for_scripts()
        assert count_descriptors() < before


# -- whole programs --

RUN = {
    'asyncio': 'import asyncio; asyncio.run(main())',
    'uvloop': 'import asyncio, uvloop; uvloop.install(); asyncio.run(main())',
    'trio': 'import trio; trio.run(main)',
}

HEAD = """
import gc, logging, os, sys
from lomond import WebSocket, aio
# On a busy machine anything is slow.
logging.getLogger('asyncio').addFilter(
    lambda record: not record.getMessage().startswith('Executing'))
url = sys.argv[1]
async def iterate(until):
    connection = aio.connect(WebSocket(url, proxies={}))
    keep.append(connection)
    async for event in connection:
        if event.name == until:
            return
keep = []
"""

in_each_program = pytest.mark.parametrize('library', sorted(RUN))


def run_strictly(library, source, *arguments):
    """Run a program with -X dev, its warnings errors; return what it prints."""
    for name, module in (('uvloop', uvloop), ('trio', trio)):
        if library == name and module is None:
            pytest.skip('{} is not installed'.format(name))
    if sys.version_info < (3, 7):
        pytest.skip('-X dev and asyncio.run are new in 3.7')
    command = [sys.executable, '-X', 'dev', '-W', 'error', '-W', 'ignore::DeprecationWarning',
               '-c', HEAD + source + RUN[library] + '\n'] + list(arguments)
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        universal_newlines=True)


def output_of(child):
    output = child.communicate(timeout=2 * PATIENCE)[0]
    return child.returncode, output


@in_each_program
@pytest.mark.parametrize('until', ['connecting', 'connected', 'ready', 'text'])
@pytest.mark.parametrize('is_kept', [True, False])
def test_a_run_that_ends_with_an_open_connection_prints_nothing(library, until, is_kept):
    with RawServer(accept_and_send(make_frame(1))) as server:
        child = run_strictly(library, """
async def main():
    await iterate({!r})
    if not {!r}:
        keep.clear()
""".format(until, is_kept), server.url)
        assert output_of(child) == (0, '')


@in_each_program
@pytest.mark.parametrize('phase', ['handshake', 'open'])
def test_ctrl_c_leaves_nothing(library, phase):
    with RawServer(PHASES[phase][0]) as server:
        child = run_strictly(library, """
async def main():
    async with aio.connect(WebSocket(url, proxies={})) as connection:
        async for event in connection:
            print(event.name, flush=True)
""", server.url)
        for name in PHASES[phase][1]:
            assert child.stdout.readline() == name + '\n'
        child.send_signal(signal.SIGINT)
        returned, output = output_of(child)
    assert returned in (1, -signal.SIGINT, 130)
    assert output.rstrip().splitlines()[-1].startswith('KeyboardInterrupt')
    for words in ('ResourceWarning', 'never', 'destroyed', 'Exception ignored'):
        assert words not in output


@in_each_program
@pytest.mark.parametrize('how', ['signal', 'loop'])
@pytest.mark.parametrize('phase', ['handshake', 'open', 'back_off'])
def test_a_signal_handler_that_closes_takes_effect_at_once(library, how, phase, dead_port):
    if how == 'loop' and library == 'trio':
        pytest.skip('trio has no loop.add_signal_handler')
    script = {'open': echo, 'handshake': never_answer, 'back_off': None}[phase]
    source = """
import signal
from lomond.persist import ReconnectPolicy
websocket = WebSocket(url, proxies={{}}, connect_timeout=3600)
policy = ReconnectPolicy(min_wait=3600, max_wait=3600) if {phase!r} == 'back_off' else None
async def main():
    if {how!r} == 'loop':
        asyncio.get_event_loop().add_signal_handler(signal.SIGUSR1, websocket.close)
    else:
        signal.signal(signal.SIGUSR1, lambda *_args: websocket.close())
    async for event in aio.connect(websocket, policy=policy, ping_rate=0):
        print(event.name, flush=True)
import asyncio
""".format(phase=phase, how=how)
    last = {'open': 'ready', 'handshake': 'connected', 'back_off': 'back_off'}[phase]
    with RawServer(script) as server:
        url = server.url if script else 'ws://127.0.0.1:{}/'.format(dead_port)
        child = run_strictly(library, source, url)
        while child.stdout.readline() != last + '\n':
            pass
        child.send_signal(signal.SIGUSR1)
        returned, output = output_of(child)
    assert returned == 0, output
    assert output.split() == {
        'open': ['closed', 'disconnected'], 'handshake': ['disconnected'], 'back_off': []}[phase]


@needs_proc
@in_each_program
@pytest.mark.parametrize('ends', ['os._exit(0)', 'keep.clear(); gc.collect(); os._exit(0)'])
def test_a_forked_child_that_exits_does_not_disturb_its_parent(library, ends):
    source = """
async def main():
    connection = aio.connect(WebSocket(url, proxies={{}}))
    keep.append(connection)
    async for event in connection:
        if event.name == 'ready':
            child = os.fork()
            if not child:
                del connection
                {}
            assert os.waitpid(child, 0)[1] == 0
            for number in range(100):
                await connection.send_text(str(number))
        elif event.name == 'text':
            print(event.text)
            if event.text == '99':
                await connection.close()
    print(event.name)
""".format(ends)
    with RawServer(echo) as server:
        returned, output = output_of(run_strictly(library, source, server.url))
    assert returned == 0, output
    assert output.split() == [str(number) for number in range(100)] + ['disconnected']


@in_each_loop
@pytest.mark.parametrize('policy', [None, ReconnectPolicy(max_attempts=1)])
def test_an_end_that_is_not_graceful_has_its_cause(loop_name, policy):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'\xff'))
        drain(sock)

    async def scenario(loop):
        return [event async for event in aio.connect(WebSocket(server.url), policy)]

    with RawServer(script) as server:
        events = run_in(loop_name, scenario)
    end, = [event for event in events if event.name == 'disconnected']
    assert isinstance(end.cause, errors.ProtocolError)
    assert end.cause.close_code == 1007
