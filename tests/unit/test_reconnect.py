"""What follows an attempt by a `ReconnectPolicy`: delays, URLs, giving up; Retry-After's forms."""

from __future__ import absolute_import, division, print_function

from email.utils import formatdate

import pytest

from lomond import events
from lomond.engine.policy import ReconnectPolicy, parse_retry_after
from lomond.engine.reconnect import OBSERVED, Attempts
from lomond.http.response import Response
from lomond.status import Status

NOW = 1500000000.0

URLS = ['ws://one/', 'ws://two/', 'ws://three/']


class Course(object):
    """Tells `Attempts` what happens, by a clock that stands still unless ``now`` is set.

    ``draw`` is the random number. Each method is an attempt, and returns what
    follows it.
    """

    def __init__(self, draw=1.0, **options):
        self.now = 100.0
        self.attempts = Attempts(
            ReconnectPolicy(random=lambda: draw, clock=lambda: self.now, **options))

    @property
    def url(self):
        return self.attempts.url

    def go_through(self, *told):
        self.attempts.begin()
        for event in told:
            assert event.name in OBSERVED
            self.attempts.observe(event)
        return self.attempts.conclude()

    def fail(self):
        return self.go_through(events.ConnectFail(u'x'))

    def reject(self, status=503, retry_after=None):
        head = u'HTTP/1.1 {} Busy\r\n'.format(status)
        if retry_after is not None:
            head += u'Retry-After: {}\r\n'.format(retry_after)
        response = Response((head + u'\r\n').encode('latin-1'))
        return self.go_through(events.Rejected(response, u'no'), events.Disconnected())

    def succeed(self, lasting=10.0, code=None):
        self.attempts.begin()
        self.attempts.observe(events.Ready(None, None, set()))
        self.now += lasting
        if code is not None:
            self.attempts.observe(events.Closing(code, u'why'))
        self.attempts.observe(events.Disconnected())
        return self.attempts.conclude()


def give_up(event):
    """Tell if an event is GaveUp; it has a reason then."""
    return event.name == 'gave_up' and bool(event.reason)


# -- a connection that reached max_age --

def age(course, lasting=5.0):
    course.attempts.begin()
    course.attempts.observe(events.Ready(None, None, set()))
    course.now += lasting
    course.attempts.observe(events.Disconnected())
    return course.attempts.conclude(is_aged=True)


def test_after_a_connection_that_reached_max_age_there_is_no_wait():
    event = age(Course(min_wait=30))
    assert (event.name, event.delay) == ('back_off', 0.0)
    assert 'max_age' in event.reason


def test_a_connection_that_reached_max_age_is_a_success_however_short_it_was():
    course = Course(max_attempts=3, spread=2)
    first = course.fail().delay
    assert course.fail().delay > first
    age(course)
    assert course.attempts.number == 1
    assert course.fail().delay == first
    assert course.fail().name == 'back_off'


def test_after_a_connection_that_reached_max_age_the_first_url_comes_that_may_be_tried():
    course = Course(urls=URLS)
    course.reject(retry_after=100)
    assert course.url == URLS[1]
    course.fail()
    assert course.url == URLS[2]
    age(course)
    assert course.url == URLS[1]
    course.now += 100
    age(course)
    assert course.url == URLS[0]


def test_a_code_of_the_server_s_that_ends_it_ends_it_after_max_age_too():
    course = Course(stop_on_code=[4000])
    course.attempts.begin()
    course.attempts.observe(events.Ready(None, None, set()))
    course.attempts.observe(events.Closing(4000, u'no more'))
    assert give_up(course.attempts.conclude(is_aged=True))


# -- why --

@pytest.mark.parametrize('told, reason', [
    ([events.ConnectFail(u'nobody listens')], u'nobody listens'),
    ([events.Disconnected(u'the server closed the connection')],
     u'the server closed the connection'),
    ([events.Ready(None, None, set()), events.Disconnected()], u'closed'),
    ([events.Rejected(Response(b'HTTP/1.1 503 Busy\r\n\r\n'), u'the server is full'),
      events.Disconnected(u'what came of that')], u'the server is full'),
])
def test_a_back_off_says_why_the_attempt_failed_or_the_connection_ended(told, reason):
    course = Course()
    assert course.go_through(*told).reason == reason
    # Each attempt has its own.
    assert course.fail().reason == u'x'


def test_a_back_off_after_an_attempt_without_an_end_has_no_reason():
    """The caller's own session class may not tell."""
    assert Course().go_through().reason is None


# -- the delay --

def test_delays_are_drawn_from_a_range_that_doubles_up_to_max_wait():
    most, least = Course(draw=1.0), Course(draw=0.0)
    assert [most.fail().delay for _ in range(6)] == [5, 10, 20, 40, 60, 60]
    assert [least.fail().delay for _ in range(6)] == [0] * 6


def test_min_wait_comes_below_the_jitter():
    course = Course(draw=0.5, min_wait=2, max_wait=10, spread=4)
    assert [course.fail().delay for _ in range(4)] == [4, 6, 6, 6]


def test_real_jitter_fills_the_range():
    policy = ReconnectPolicy(min_wait=1, max_wait=3, spread=100)
    delays = [policy.delay(0) for _ in range(300)]
    assert 1 <= min(delays) < 1.5
    assert 2.5 < max(delays) <= 3


def test_delays_stay_finite_after_years_of_failures():
    course = Course(max_wait=1e9)
    delays = [course.fail().delay for _ in range(5000)]
    assert delays == sorted(delays)
    assert delays[-1] == 1e9


def test_a_success_begins_again():
    course = Course()
    delays = [course.fail().delay, course.fail().delay, course.succeed().delay]
    assert delays == [5, 10, 5]
    assert course.fail().delay == 10


def test_a_connection_that_dies_young_is_a_failure():
    course = Course(stable_after=10)
    assert [course.succeed(lasting=9.9).delay for _ in range(3)] == [5, 10, 20]
    assert course.attempts.number == 4


# -- Retry-After --

def test_jitter_comes_on_top_of_retry_after():
    """A server's 503 goes to many: they mustn't come back at the same moment."""
    course = Course(draw=0.5)
    assert course.reject(retry_after=u'120').delay == 122.5
    assert course.reject(retry_after=u'120').delay == 125


def test_a_short_retry_after_does_not_shorten_the_delay():
    assert Course().reject(retry_after=u'0').delay == 5
    assert Course(min_wait=3).reject(retry_after=u'1').delay == 8


@pytest.mark.parametrize('status', [301, 302, 308, 413, 429, 503])
def test_retry_after_counts_whatever_the_status(status):
    assert Course(draw=0.0).reject(status, u'120').delay == 120


@pytest.mark.parametrize('retry_after', [
    u'3601', u'9' * 400, u'Fri, 31 Dec 9999 23:59:59 GMT'])
def test_retry_after_is_clamped(retry_after):
    assert Course(draw=0.0).reject(retry_after=retry_after).delay == 3600
    assert Course(draw=0.0, max_retry_after=7).reject(retry_after=retry_after).delay == 7


def test_retry_after_can_be_ignored():
    assert Course(max_retry_after=None).reject(retry_after=u'120').delay == 5


def test_retry_after_counts_once():
    course = Course()
    assert course.reject(retry_after=u'0').delay == 5
    assert course.reject(retry_after=u'120').delay == 130
    assert course.fail().delay == 20


@pytest.mark.parametrize('value', [
    None, u'', u'soon', u'-5', u'1.5', u'1e9', u'+5', u'\xb2', u'\xb9\xb2\xb3', u'0x10', u'nan',
    u'inf', u'Fri, 31 Foo 1999 23:59:59 GMT', u'Fri, 99 Dec 1999 99:99:99 GMT', u',', u'Fri,',
    u'Fri, 31 Dec 99999999999999999999 23:59:59 GMT', u'\xe4\xf6\xfc', u'5 5',
])
def test_retry_after_that_makes_no_sense_is_ignored(value):
    assert parse_retry_after(value) in (None, 0.0)
    assert Course().reject(retry_after=value).delay == 5


@pytest.mark.parametrize('value', [None, u'', u'soon', u'-5', u'1.5', u'\xb2', u'5 5'])
def test_retry_after_of_another_form_is_no_delay(value):
    assert parse_retry_after(value) is None


DATE = u'Wed, 21 Oct 2015 07:28:00 GMT'         # 1445412480
LATER = u'Wednesday, 21-Oct-15 07:29:00 GMT'    # of the old form
LATEST = u'Wed Oct 21 07:30:00 2015'            # of C


@pytest.mark.parametrize('value, expected', [
    (u'120, 120', 120), (u'120,120', 120), (u'5, 120', 120), (u'120, 5', 120), (u'5,, 7 ,', 7),
    (u', 5', 5), (u'120, soon', 120), (u'soon, 120', 120), (u'-5, 0', 0),
    (DATE, 80), (LATER, 140), (LATEST, 200),
    (DATE + u', ' + DATE, 80), (DATE + u',' + LATER, 140), (LATER + u', ' + DATE, 140),
    (LATEST + u', ' + DATE, 200), (DATE + u', 90', 90), (u'90, ' + LATER, 140),
    (u'90, ' + DATE + u', soon', 90), (u'0,' + DATE, 80),
    (u'soon, later', None), (u'Wed, Wed', None), (u'Wed, 5', None),
])
def test_of_several_retry_afters_the_longest_counts(value, expected):
    """Sent twice, or joined by a proxy. A date has a comma of its own."""
    assert parse_retry_after(value, now=lambda: 1445412400.0) == expected


@pytest.mark.parametrize('first, second, delay', [
    (u'120', u'120', 120), (u'120', u'7', 120), (u'7', u'120', 120), (u'soon', u'120', 120),
    (u'120, 130', u'7', 130)])
def test_retry_after_in_two_headers_is_read(first, second, delay):
    assert Course(draw=0.0).reject(
        retry_after=u'{}\r\nRetry-After: {}'.format(first, second)).delay == delay


def test_retry_after_is_read_as_seconds_or_as_a_date():
    assert parse_retry_after(u'120') == 120
    date = formatdate(NOW + 90, usegmt=True)
    assert parse_retry_after(date, now=lambda: NOW) == 90
    assert parse_retry_after(u'' + date, now=lambda: NOW + 1000) == 0


# -- giving up --

def test_by_default_it_never_gives_up():
    course = Course()
    for status in (400, 401, 403, 404, 410, 500):
        assert not give_up(course.reject(status))
    for code in (1000, 1002, 1008, 1011, 3000, 4000):
        assert not give_up(course.succeed(code=code))
    course.now += 1e9
    assert not any(give_up(course.fail()) for _ in range(1000))


def test_it_gives_up_after_max_attempts_in_a_row():
    course = Course(max_attempts=3)
    assert [give_up(course.fail()) for _ in range(2)] == [False, False]
    assert course.attempts.number == 3
    gave_up = course.fail()
    assert gave_up.name == 'gave_up'
    assert gave_up.reason == u'3 attempts in a row failed, the last: x'


def test_max_attempts_counts_from_the_last_success():
    course = Course(max_attempts=2)
    for _ in range(3):
        assert not give_up(course.fail())
        assert not give_up(course.succeed())
    assert not give_up(course.succeed(lasting=1))
    assert give_up(course.succeed(lasting=1))


def test_it_gives_up_when_the_next_attempt_would_come_after_max_outage():
    course = Course(max_outage=100, max_wait=40)
    delays = []
    for _ in range(3):
        delays.append(course.fail().delay)
        course.now += delays[-1] + 5    # that the next attempt takes
    assert delays == [5, 10, 20]
    assert not give_up(course.fail())   # after 50 seconds, with 40 to come
    course.now += 40
    gave_up = course.fail()
    assert gave_up.reason == u'no success in 90 s, and the next attempt only in 40 s'


def test_max_outage_counts_from_the_end_of_the_last_success():
    course = Course(max_outage=100, max_wait=0)
    assert not give_up(course.succeed(lasting=1000))
    course.now += 90
    assert not give_up(course.fail())
    course.now += 9
    assert not give_up(course.succeed(lasting=0))
    course.now += 2
    assert give_up(course.fail())


def test_a_delay_that_the_server_asks_for_may_be_beyond_max_outage():
    course = Course(max_outage=100, max_wait=0)
    assert not give_up(course.reject(retry_after=u'100'))
    course = Course(max_outage=100, max_wait=0)
    assert give_up(course.reject(retry_after=u'101'))


@pytest.mark.parametrize('stop_on_status', [
    403, [403], (401, 403), {403}, frozenset([403]), range(400, 404), [401, range(402, 410)]])
def test_a_status_that_ends_it(stop_on_status):
    course = Course(stop_on_status=stop_on_status)
    assert not give_up(course.reject(503))
    assert not give_up(course.reject(410))
    assert course.reject(403).reason == u'no'


@pytest.mark.parametrize('stop_on_code', [
    4003, [4003], [Status.POLICY_VIOLATION, 4003], range(4000, 5000), [1008, range(4000, 5000)]])
@pytest.mark.parametrize('lasting', [0, 1000])
def test_a_close_code_that_ends_it(stop_on_code, lasting):
    course = Course(stop_on_code=stop_on_code)
    assert not give_up(course.succeed(lasting, 1001))
    assert not give_up(course.succeed(lasting, 3999))
    assert course.succeed(lasting, 4003).reason == u'the server closed with code 4003 why'


def test_a_status_and_a_code_count_once():
    """As `Attempts` has it: the loop ends."""
    course = Course(stop_on_status=403, stop_on_code=4003)
    assert give_up(course.reject(403))
    assert not give_up(course.fail())
    assert give_up(course.succeed(code=4003))
    assert not give_up(course.fail())


# -- several URLs --

def test_without_urls_there_is_none():
    assert Course().url is None


def test_urls_are_tried_in_turn_and_each_round_waits_longer():
    course = Course(urls=URLS)
    tried = []
    for _ in range(7):
        tried.append((course.url, course.fail().delay))
    assert tried == [
        ('ws://one/', 0), ('ws://two/', 0), ('ws://three/', 5),
        ('ws://one/', 0), ('ws://two/', 0), ('ws://three/', 10),
        ('ws://one/', 0)]
    assert course.attempts.number == 8


def test_the_next_url_has_its_turn_after_min_wait():
    course = Course(urls=URLS, min_wait=2)
    assert [course.fail().delay for _ in range(3)] == [2, 2, 7]


def test_after_a_success_the_first_url_comes_first_again():
    course = Course(urls=URLS)
    course.fail()
    assert course.url == 'ws://two/'
    assert course.succeed().delay == 5
    assert course.url == 'ws://one/'


def test_after_a_young_death_the_next_url_has_its_turn():
    course = Course(urls=URLS)
    assert course.succeed(lasting=1).delay == 0
    assert course.url == 'ws://two/'


def test_max_attempts_counts_those_of_all_urls():
    course = Course(urls=URLS, max_attempts=4)
    assert [give_up(course.fail()) for _ in range(4)] == [False, False, False, True]


def test_a_url_whose_server_asked_for_patience_is_passed_over_until_then():
    course = Course(urls=URLS, draw=1.0, max_wait=5)
    assert course.reject(retry_after=u'8').delay == 0
    tried = []
    for _ in range(8):
        tried.append(course.url)
        course.now += course.fail().delay
    assert tried == [
        'ws://two/', 'ws://three/',         # at once
        'ws://two/', 'ws://three/',         # after 5 s, and then after 10:
        'ws://one/', 'ws://two/', 'ws://three/', 'ws://one/']


def test_urls_whose_servers_all_asked_for_patience_wait_for_the_first():
    course = Course(urls=URLS, draw=0.5)
    assert course.reject(retry_after=u'300').delay == 0
    assert course.reject(retry_after=u'100').delay == 0
    assert course.reject(retry_after=u'200').delay == 102.5
    assert course.url == 'ws://two/'


def test_within_a_round_a_url_is_passed_over_too():
    course = Course(urls=URLS, max_wait=0)
    course.fail()
    course.reject(retry_after=u'100')
    assert course.fail().delay == 0
    assert course.url == 'ws://one/'
    assert course.fail().delay == 0
    assert course.url == 'ws://three/'


def test_patience_outlasts_a_success_elsewhere():
    course = Course(urls=URLS, draw=0.0)
    course.reject(retry_after=u'100')
    assert course.succeed(lasting=50).delay == 0
    assert course.url == 'ws://two/'
    course.succeed(lasting=50)
    assert course.url == 'ws://one/'


# -- arguments --

@pytest.mark.parametrize('options, error', [
    ({'min_wait': None}, TypeError),
    ({'min_wait': '5'}, TypeError),
    ({'min_wait': -1}, ValueError),
    ({'min_wait': 61}, ValueError),             # more than max_wait
    ({'max_wait': None}, TypeError),
    ({'max_wait': True}, TypeError),
    ({'max_wait': float('inf')}, ValueError),
    ({'spread': None}, TypeError),
    ({'spread': float('nan')}, ValueError),
    ({'max_attempts': 0}, ValueError),
    ({'max_attempts': 1.5}, TypeError),
    ({'max_attempts': True}, TypeError),
    ({'max_outage': 0}, ValueError),
    ({'max_outage': -1}, ValueError),
    ({'max_outage': 'x'}, TypeError),
    ({'stop_on_status': None}, TypeError),
    ({'stop_on_status': '403'}, TypeError),
    ({'stop_on_status': ['403']}, TypeError),
    ({'stop_on_status': [True]}, TypeError),
    ({'stop_on_status': [403.0]}, TypeError),
    ({'stop_on_status': 1008}, ValueError),
    ({'stop_on_status': [99]}, ValueError),
    ({'stop_on_code': None}, TypeError),
    ({'stop_on_code': b'1008'}, TypeError),
    ({'stop_on_code': u'1008'}, TypeError),
    ({'stop_on_code': 403}, ValueError),
    ({'stop_on_code': range(4000, 5001)}, ValueError),
    ({'stable_after': None}, TypeError),
    ({'stable_after': -1}, ValueError),
    ({'max_retry_after': 'x'}, TypeError),
    ({'max_retry_after': -1}, ValueError),
    ({'urls': 'ws://one/'}, TypeError),
    ({'urls': b'ws://one/'}, TypeError),
    ({'urls': 5}, TypeError),
    ({'urls': [5]}, TypeError),
    ({'urls': []}, ValueError),
    ({'urls': ['ws://one/', 'http://two/']}, ValueError),
    ({'urls': ['ws://one/', '']}, ValueError),
    ({'before_attempt': 5}, TypeError),
    ({'random': None}, TypeError),
    ({'random': 0.5}, TypeError),
    ({'clock': None}, TypeError),
    ({'clock': 5}, TypeError),
    ({'no_such_option': 5}, TypeError),
])
def test_wrong_arguments_raise_at_the_call(options, error):
    with pytest.raises(error):
        ReconnectPolicy(**options)


def test_urls_may_come_from_any_iterable():
    course = Course(urls=(url for url in URLS))
    course.fail()
    assert course.url == 'ws://two/'


def test_a_policy_has_no_state():
    now = [0.0]
    policy = ReconnectPolicy(max_attempts=1, random=lambda: 1.0, clock=lambda: now[0])
    for _ in range(2):
        attempts = Attempts(policy)
        attempts.begin()
        attempts.observe(events.ConnectFail(u'x'))
        assert give_up(attempts.conclude())


def test_the_servers_close_code_is_the_reason_of_the_wait():
    attempts = Attempts(ReconnectPolicy())
    attempts.begin()
    attempts.observe(events.Closing(1008, u'expired'))
    attempts.observe(events.Disconnected(u'closed', True))
    assert attempts.conclude().reason == u'the server closed with code 1008 expired'
