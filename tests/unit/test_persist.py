"""How long `persist` waits without a policy, and which arguments it refuses."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import WebSocket, events
from lomond.engine.policy import LegacyPolicy, ReconnectPolicy
from lomond.engine.reconnect import Attempts, PersistentSession
from lomond.http.response import Response
from lomond.persist import persist


def make_attempts(min_wait=5, max_wait=30, stable_after=10.0, max_retry_after=3600.0,
                  respect_retry_after=True, draw=1.0):
    policy = LegacyPolicy(min_wait, max_wait, stable_after, max_retry_after, respect_retry_after)
    policy.random = lambda: draw
    return Attempts(policy)


def next_delay(attempts, retry_after=None):
    """Have an attempt rejected; return the delay that follows."""
    head = u'HTTP/1.1 503 Busy\r\n'
    if retry_after is not None:
        head += u'Retry-After: {}\r\n'.format(retry_after)
    attempts.begin()
    attempts.observe(events.Rejected(Response((head + u'\r\n').encode('latin-1')), u'no'))
    attempts.observe(events.Disconnected())
    return attempts.conclude().delay


def test_delays_double_up_to_max_wait():
    attempts = make_attempts()
    assert [next_delay(attempts) for _ in range(7)] == [6, 7, 9, 13, 21, 30, 30]


def test_delays_never_go_below_min_wait():
    attempts = make_attempts(draw=0.0)
    assert [next_delay(attempts) for _ in range(4)] == [5, 5, 5, 5]


def test_jitter_takes_a_part_of_the_spread():
    attempts = make_attempts(draw=0.5)
    assert [next_delay(attempts) for _ in range(3)] == [5.5, 6, 7]


def test_a_success_begins_again():
    attempts = make_attempts(stable_after=0)
    first = next_delay(attempts)
    next_delay(attempts)
    attempts.begin()
    attempts.observe(events.Ready(None, None, set()))
    attempts.observe(events.Disconnected())
    assert attempts.conclude().delay == first


def test_delays_stay_finite_after_years_of_retries():
    attempts = make_attempts(max_wait=1e9)
    delays = [next_delay(attempts) for _ in range(5000)]
    assert delays == sorted(delays)
    assert delays[-1] <= 1e9


def test_real_jitter_stays_within_the_bounds():
    attempts = Attempts(LegacyPolicy(1, 3, 10.0, None, True))
    for _ in range(100):
        assert 1 <= next_delay(attempts) <= 3


def test_min_wait_may_be_beyond_max_wait():
    """0.3.x took it: the default of max_wait needn't follow min_wait."""
    attempts = make_attempts(min_wait=60)
    assert [next_delay(attempts) for _ in range(3)] == [60, 60, 60]


def test_min_wait_and_max_wait_may_be_equal():
    attempts = make_attempts(min_wait=2, max_wait=2)
    assert [next_delay(attempts) for _ in range(3)] == [2, 2, 2]


@pytest.mark.parametrize('value, delay', [
    (u'20', 20),
    (u' 20 ', 20),
    (u'0', 5),                      # never less than min_wait
    (u'1', 5),
    (u'999999', 3600),              # never more than max_retry_after
    (u'9' * 400, 3600),
    (u'9' * 5000, 3600),
    (u'Fri, 31 Dec 9999 23:59:59 GMT', 3600),
    (u'Fri, 31 Dec 1999 23:59:59 GMT', 5),
])
def test_retry_after_is_honoured_within_bounds(value, delay):
    assert next_delay(make_attempts(), value) == delay


def test_retry_after_that_makes_no_sense_is_ignored():
    assert next_delay(make_attempts(), u'soon') == 6


def test_retry_after_can_be_ignored():
    assert next_delay(make_attempts(respect_retry_after=False), u'20') == 6
    assert next_delay(make_attempts(max_retry_after=None), u'20') == 6


def test_retry_after_counts_as_a_retry():
    attempts = make_attempts()
    assert next_delay(attempts, u'20') == 20
    assert next_delay(attempts) == 7


def test_persist_touches_nothing_before_the_first_event():
    websocket = WebSocket('ws://localhost/')
    loop = persist(websocket)
    assert websocket.state == 'connecting'
    loop.close()


@pytest.mark.parametrize('options, error', [
    ({'min_wait': None}, TypeError),
    ({'min_wait': '5'}, TypeError),
    ({'max_wait': None}, TypeError),
    ({'max_wait': True}, TypeError),
    ({'min_wait': -1}, ValueError),
    ({'max_wait': float('nan')}, ValueError),
    ({'max_wait': float('inf')}, ValueError),
    ({'stable_after': -1}, ValueError),
    ({'stable_after': 'x'}, TypeError),
    ({'stable_after': None}, TypeError),
    ({'max_retry_after': -1}, ValueError),
    ({'max_retry_after': 'x'}, TypeError),
    ({'poll': 'x'}, TypeError),
    ({'poll': -1}, ValueError),
    ({'ping_rate': 'x'}, TypeError),
    ({'ping_timeout': -1}, ValueError),
    ({'close_timeout': 'x'}, TypeError),
    ({'idle_timeout': 'x'}, TypeError),
    ({'max_age': -1}, ValueError),
    ({'heartbeat': 'x'}, TypeError),
    ({'stale_disconnects': True}, ValueError),
    ({'exit_event': 5}, TypeError),
    ({'no_such_option': 5}, TypeError),
    ({'policy': 5}, TypeError),
    ({'policy': ReconnectPolicy}, TypeError),
    # With a policy, that's for the policy to say.
    ({'policy': ReconnectPolicy(), 'min_wait': 1}, TypeError),
    ({'policy': ReconnectPolicy(), 'max_wait': 1}, TypeError),
    ({'policy': ReconnectPolicy(), 'respect_retry_after': False}, TypeError),
    ({'policy': ReconnectPolicy(), 'stable_after': 1}, TypeError),
    ({'policy': ReconnectPolicy(), 'max_retry_after': None}, TypeError),
])
def test_wrong_arguments_raise_at_the_call(options, error):
    with pytest.raises(error):
        persist(WebSocket('ws://localhost/'), **options)


# -- the wait, by a clock that jumps --

def run_wait(delay, *times):
    """Back off by a clock that shows these times, the first when that begins.

    Returns how often the clock was read until the wait was over, at most as often as there are
    times.
    """
    now = [0.0]
    policy = ReconnectPolicy(min_wait=delay, max_wait=delay, clock=lambda: now[0])
    machine = PersistentSession(None, FailedSession, policy, lambda: False, calls_in_loop=True)
    while machine.phase != machine.BACKING_OFF:
        now[0] = times[0]
        list(machine.step())
    for count, now[0] in enumerate(times[1:], 2):
        if not machine.time_left():
            return count
    return None


class FailedSession(object):
    """A session of which there is nothing to see."""

    is_finished = True

    def dispose(self):
        pass


def test_the_wait_ends_when_its_time_is_over():
    assert run_wait(0.1, 7.0, 7.0625, 7.125) == 3
    assert run_wait(0.0, 7.0, 7.0) == 2


def test_a_clock_put_forward_ends_the_wait():
    """As after the machine was suspended."""
    assert run_wait(1000, 7.0, 7.0625, 1e9) == 3


def test_a_clock_set_back_does_not_make_the_wait_longer():
    assert run_wait(0.1, 1e9, 7.0, 7.0625, 7.125) == 4


def test_the_wait_goes_on_until_its_time_is_over():
    assert run_wait(1000, 7.0, 7.0, 8.0) is None
