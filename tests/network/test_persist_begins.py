"""persist() up to its first attempt: its arguments, and a close() before."""

from __future__ import absolute_import, division, print_function

import sys
import threading

import pytest

from lomond import WebSocket, errors
from lomond.events import text_class
from lomond.net.waiter import wait
from lomond.persist import ReconnectPolicy, persist
from tests.support import PATIENCE
from tests.unit.test_persistent_session import Machine, refused


def test_arguments_may_be_given_by_position():
    """The order of 0.3.x: poll, min_wait, max_wait, ping_rate, ping_timeout, exit_event, ..."""
    exit_event = threading.Event()
    exit_event.set()
    loop = persist(
        WebSocket('ws://localhost/'), 5, 0, 0, 30, None, exit_event, True)
    assert [event.name for event in loop] == ['connecting', 'connect_fail']


def test_close_before_the_first_event_ends_it():
    websocket = WebSocket('ws://localhost/')
    loop = persist(websocket)
    websocket.close()
    assert [event.name for event in loop] == ['connecting', 'connect_fail']


def test_persist_is_refused_while_another_loop_runs(dead_port):
    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port))
    loop = websocket.connect()
    next(loop)
    with pytest.raises(errors.WebSocketUnavailable):
        persist(websocket)
    loop.close()


def close_at(moment, websocket, act):
    """Call close(), and ``act()`` before so many steps of its bytecode; tell if it came to that."""
    def trace(frame, event, _argument):
        if frame.f_code.co_name != 'close':
            return None
        frame.f_trace_opcodes = True
        if event == 'opcode':
            steps.append(None)
            if len(steps) == moment:
                act()
        return trace

    steps = []
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        websocket.close()
    finally:
        sys.settrace(before)
    return len(steps) >= moment


@pytest.mark.skipif(
    sys.version_info < (3, 7) or sys.version_info[:2] == (3, 12),
    reason='bytecode is traced from 3.7 on, but by 3.12.1 not in frames that are entered later')
def test_a_close_ends_the_loop_whatever_another_thread_is_about_in_its_own():
    """The other one began before the loop did, and ends after this close()."""
    def close_run_close():
        websocket.close()
        loops.append(persist(websocket))
        websocket.close()

    moment = 0
    is_reached = True
    while is_reached:
        moment += 1
        websocket = WebSocket('ws://127.0.0.1:1/')
        loops = []
        is_reached = close_at(moment, websocket, close_run_close)
        for loop in loops:
            assert [event.name for event, _ in zip(loop, range(3))] == [
                'connecting', 'connect_fail']
    assert moment > 10


@pytest.mark.parametrize('name, value', [('max_message_size', 5), ('json_loads', float)])
def test_what_before_attempt_sets_holds_for_the_first_attempt(name, value, dead_port):
    def before_attempt(websocket, attempt):
        setattr(websocket, name, value)

    websocket = WebSocket('ws://127.0.0.1:{}/'.format(dead_port), proxies={})
    streams = []
    for event in persist(websocket, policy=ReconnectPolicy(before_attempt=before_attempt)):
        streams.append(websocket.stream)
        if event.name == 'back_off':
            break
    stream = streams[0]
    if name == 'max_message_size':
        assert stream.limits.message == 5
    else:
        assert stream.decoder.text_class is text_class(float)


# -- before_attempt, in a thread --

def run_to(machine, name):
    """Step, and wait for what the machine waits for, until an event of this name."""
    while True:
        for event in machine.step():
            if event.name == name:
                return event
        left = machine.time_left()
        if left != 0:
            wait(machine.interest, PATIENCE if left is None else left)


def test_outside_the_loop_the_hook_is_waited_for_in_steps():
    calls = []
    made = Machine(
        refused(), before_attempt=lambda websocket, number: calls.append((websocket, number)),
        calls_in_loop=False)
    run_to(made.machine, 'connecting')
    assert calls == [(made, 1)]


def test_outside_the_loop_a_hook_that_raises_fails_the_attempt():
    def before_attempt(_websocket, _number):
        raise ZeroDivisionError()

    made = Machine(before_attempt=before_attempt, calls_in_loop=False)
    fail = run_to(made.machine, 'connect_fail')
    assert isinstance(fail.cause, ZeroDivisionError)


def test_outside_the_loop_a_hook_that_hangs_can_be_left():
    may_end = threading.Event()
    made = Machine(before_attempt=lambda _websocket, _number: may_end.wait(PATIENCE),
                   calls_in_loop=False)
    assert made.step() == []
    assert made.machine.time_left() is None
    assert len(made.machine.interest) == 1
    made.machine.dispose()
    may_end.set()
    assert made.machine.is_finished
