"""How `make compliance` judges what the Autobahn test suite reports."""

from __future__ import absolute_import, division, print_function

import os
import sys

import pytest

COMPLIANCE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), 'compliance')

sys.path.insert(0, COMPLIANCE)
try:
    from autobahn_report import find_faults, find_improvements, tabulate
finally:
    sys.path.remove(COMPLIANCE)

EXPECTED = {
    'cases': {'1': 2},
    'not plain OK': {
        '1.2': {'behavior': 'NON-STRICT', 'behaviorClose': 'INFORMATIONAL', 'why': '...'}},
}


def result(behavior='OK', closing='OK'):
    return {'behavior': behavior, 'behaviorClose': closing}


def faults(results, cases=('1.1', '1.2'), groups=('1',)):
    return find_faults(EXPECTED, groups, cases, results)


def test_what_is_expected_passes():
    results = {'1.1': result(), '1.2': result('NON-STRICT', 'INFORMATIONAL')}
    assert faults(results) == []
    assert find_improvements(EXPECTED, results) == []


def test_better_than_expected_passes_and_is_told():
    results = {'1.1': result(), '1.2': result('INFORMATIONAL', 'OK')}
    assert faults(results) == []
    assert find_improvements(EXPECTED, results) == [
        '1.2: behavior is INFORMATIONAL', '1.2: behaviorClose is OK']


@pytest.mark.parametrize('verdict', [
    'INFORMATIONAL', 'NON-STRICT', 'UNIMPLEMENTED', 'FAILED', 'WRONG CODE', 'UNCLEAN',
    'FAILED BY CLIENT', 'SOMETHING NEW'])
def test_worse_than_expected_is_a_fault(verdict):
    results = {'1.1': result(closing=verdict), '1.2': result()}
    assert faults(results) == ['1.1: behaviorClose is {}, not OK'.format(verdict)]
    results = {'1.1': result(verdict), '1.2': result()}
    assert faults(results) == ['1.1: behavior is {}, not OK'.format(verdict)]


def test_a_case_that_was_not_run_is_a_fault():
    assert faults({'1.1': result()}) == ['1.2 was not run']


def test_a_group_with_fewer_cases_than_expected_is_a_fault():
    assert faults({'1.1': result()}, cases=['1.1']) == ['group 1: 1 cases, not 2']


def test_some_of_a_groups_cases_are_no_fault_if_no_more_were_asked_for():
    assert faults({'1.1': result()}, cases=['1.1'], groups=[]) == []


def test_a_group_without_cases_is_a_fault():
    assert faults({'1.1': result()}, cases=['1.1'], groups=['3']) == ['group 3: 0 cases, not 1']


def test_no_case_at_all_is_a_fault():
    assert faults({}, cases=[], groups=[]) == ['no case was run']


def test_the_table_counts_behaviors_and_closings():
    cases = ['2.1', '10.1', '10.2', '10.3']
    results = {'2.1': result(), '10.1': result(), '10.2': result('NON-STRICT', 'UNCLEAN')}
    assert tabulate({'2': 'Pings', '10': 'Misc'}, cases, results)[2:] == [
        '| 2 Pings | 1 | 1 | 0 | 0 | 0 | 0 |',
        '| 10 Misc | 2 | 1 | 0 | 1 / 0 | 0 | 0 / 1 |',
        '| all | 3 | 2 | 0 | 1 / 0 | 0 | 0 / 1 |',
    ]
