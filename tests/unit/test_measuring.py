"""lomond.cli.measuring: percentiles without a list of times, and the table."""

from __future__ import absolute_import, division, print_function

import random

import pytest

from lomond.cli.measuring import Histogram, describe


def make(times):
    histogram = Histogram()
    for time in times:
        histogram.add(time)
    return histogram


@pytest.mark.parametrize('percent', [50, 90, 99, 99.9, 100])
@pytest.mark.parametrize('draw', [
    lambda draws: draws.uniform(0.001, 2), lambda draws: draws.lognormvariate(-6, 2),
    lambda draws: 10 ** draws.uniform(-6, 2)])
def test_percentile_is_that_of_the_sorted_times_within_a_percent(percent, draw):
    draws = random.Random(7)
    times = sorted(draw(draws) for _ in range(5000))
    exact = times[int(len(times) * percent / 100 + 0.999999) - 1]
    assert make(times).percentile(percent) == pytest.approx(exact, rel=0.0101)


def test_largest_smallest_and_mean_are_exact():
    figures = make([0.5, 0.25, 3.0]).as_dict()
    assert (figures['count'], figures['max'], figures['min']) == (3, 3.0, 0.25)
    assert figures['mean'] == 1.25
    assert figures['p50'] == pytest.approx(0.5, rel=0.01)
    assert figures['p99.9'] == pytest.approx(3.0, rel=0.01)


def test_percentile_is_never_beyond_the_largest_or_smallest():
    histogram = make([0.0012345] * 10)
    assert histogram.percentile(1) == histogram.percentile(99) == 0.0012345


def test_without_times_all_is_0():
    assert set(make([]).as_dict().values()) == {0}


def test_time_of_a_clock_that_stood_still_counts():
    assert make([0.0]).as_dict()['p50'] == 0.0


FIGURES = {
    'url': u'ws://a/', 'connections': 2, 'size': 32, 'kind': u'text', 'rate': None, 'duration': 5.0,
    'messages': 10, 'messages_per_second': 2.0, 'bytes_per_second': 64.0, 'client_cpu': 0.5,
    'round_trip': make([0.001]).as_dict(), 'connecting': make([0.002]).as_dict(), 'broken': 0,
    'unanswered': 0, 'unsent': 0, 'wrong': 0, 'same_machine': False, 'client': 'Lomond/1',
    'python': 'CPython 3', 'compiled': False}


def test_table_says_what_was_measured():
    lines = describe(FIGURES)
    assert lines[0] == u'ws://a/: 2 connections, 32 bytes of text, as fast as possible, 5.0 s'
    rows = {line.split()[0]: line for line in lines if line}
    assert rows['round'].split()[2:] == ['1.000'] * 5
    assert rows['connecting'].split()[1:] == ['2.000'] * 5
    assert rows['milliseconds'].split() == [
        'milliseconds', '50', '%', '90', '%', '99', '%', '99.9', '%', 'max']
    assert lines[-1] == u'This client (Lomond/1, CPython 3, pure Python) used 50 % of one core.'


def test_table_says_what_makes_the_figures_doubtful():
    lines = u'\n'.join(describe(dict(
        FIGURES, same_machine=True, client_cpu=0.95, wrong=3, unsent=4, unanswered=5, broken=6,
        rate=100.0, connections=1)))
    for words in (u'share this machine', u'may be the limit', u'3 answers were not the message',
                  u'4 messages could not be sent', u'5 messages were not answered',
                  u'6 connections broke', u'100 messages a second wanted', u'1 connection,'):
        assert words in lines
