"""How long `persist` waits, what it makes of Retry-After, which arguments it refuses."""

from __future__ import absolute_import, division, print_function

import threading
from email.utils import formatdate

import pytest

from lomond import WebSocket, errors
from lomond.persist import BackOffPolicy, parse_retry_after, persist

NOW = 1500000000.0


def make_policy(min_wait=5, max_wait=30, max_retry_after=3600.0, draw=1.0):
    return BackOffPolicy(min_wait, max_wait, max_retry_after, random=lambda: draw)


def test_delays_double_up_to_max_wait():
    policy = make_policy()
    assert [policy.next_delay() for _ in range(7)] == [6, 7, 9, 13, 21, 30, 30]


def test_delays_never_go_below_min_wait():
    policy = make_policy(draw=0.0)
    assert [policy.next_delay() for _ in range(4)] == [5, 5, 5, 5]


def test_jitter_takes_a_part_of_the_spread():
    policy = make_policy(draw=0.5)
    assert [policy.next_delay() for _ in range(3)] == [5.5, 6, 7]


def test_reset_begins_again():
    policy = make_policy()
    first = policy.next_delay()
    policy.next_delay()
    policy.reset()
    assert policy.next_delay() == first


def test_delays_stay_finite_after_years_of_retries():
    policy = make_policy(max_wait=1e9)
    delays = [policy.next_delay() for _ in range(5000)]
    assert delays == sorted(delays)
    assert delays[-1] <= 1e9


def test_real_jitter_stays_within_the_bounds():
    policy = BackOffPolicy(1, 3, None)
    for _ in range(100):
        assert 1 <= policy.next_delay() <= 3


def test_min_wait_may_be_beyond_max_wait():
    """0.3.x took it: the default of max_wait needn't follow min_wait."""
    policy = make_policy(min_wait=60)
    assert [policy.next_delay() for _ in range(3)] == [60, 60, 60]


def test_min_wait_and_max_wait_may_be_equal():
    policy = make_policy(min_wait=2, max_wait=2)
    assert [policy.next_delay() for _ in range(3)] == [2, 2, 2]


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
    assert make_policy().next_delay(value) == delay


@pytest.mark.parametrize('value', [
    None, u'', u'soon', u'-5', u'1.5', u'1e9', u'+5', u'\xb2', u'\xb9\xb2\xb3', u'0x10', u'nan',
    u'inf', u'Fri, 31 Foo 1999 23:59:59 GMT', u'Fri, 99 Dec 1999 99:99:99 GMT', u',', u'Fri,',
    u'Fri, 31 Dec 99999999999999999999 23:59:59 GMT', u'\xe4\xf6\xfc', u'5 5',
])
def test_retry_after_that_makes_no_sense_is_ignored(value):
    assert parse_retry_after(value) in (None, 0.0)
    assert make_policy().next_delay(value) in (5, 6)


@pytest.mark.parametrize('value', [None, u'', u'soon', u'-5', u'1.5', u'\xb2', u'5 5'])
def test_retry_after_of_another_form_is_no_delay(value):
    assert parse_retry_after(value) is None


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert parse_retry_after(u'120') == 120
    date = formatdate(NOW + 90, usegmt=True)
    assert parse_retry_after(date, now=lambda: NOW) == 90
    assert parse_retry_after(u'' + date, now=lambda: NOW + 1000) == 0


def test_retry_after_can_be_ignored():
    assert make_policy(max_retry_after=None).next_delay(u'20') == 6


def test_retry_after_counts_as_a_retry():
    policy = make_policy()
    policy.next_delay(u'20')
    assert policy.next_delay() == 7


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
    ({'exit_event': 5}, TypeError),
    ({'no_such_option': 5}, TypeError),
])
def test_wrong_arguments_raise_at_the_call(options, error):
    with pytest.raises(error):
        persist(WebSocket('ws://localhost/'), **options)


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
