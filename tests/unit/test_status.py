"""Close codes: their names, and which may be on the wire."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.status import Status, is_valid_on_wire

NAMED = {
    'NORMAL': 1000, 'GOING_AWAY': 1001, 'PROTOCOL_ERROR': 1002, 'DATA_NOT_UNDERSTOOD': 1003,
    'BAD_DATA': 1007, 'POLICY_VIOLATION': 1008, 'MESSAGE_TOO_LARGE': 1009,
    'EXTENSION_FAILED': 1010, 'UNEXPECTED_CONDITION': 1011,
}


@pytest.mark.parametrize('name', sorted(NAMED))
def test_names_of_0_3_x_are_kept(name):
    assert getattr(Status, name) == NAMED[name]


@pytest.mark.parametrize('code', list(range(1000, 1004)) + list(range(1007, 1015)) + [
    3000, 3999, 4000, 4999])
def test_code_may_be_on_the_wire(code):
    assert is_valid_on_wire(code)


@pytest.mark.parametrize('code', [
    0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
def test_code_may_not_be_on_the_wire(code):
    assert not is_valid_on_wire(code)


@pytest.mark.parametrize('name', sorted(
    name for name, value in vars(Status).items() if isinstance(value, int)))
def test_every_registered_code_says_its_name(name):
    assert Status.to_str(getattr(Status, name)) == name


@pytest.mark.parametrize('code, words', [
    (1004, 'CODE 1004'), (3000, 'CODE 3000'), (4999, 'CODE 4999'), (0, 'CODE 0')])
def test_other_codes_are_named_by_their_number(code, words):
    assert Status.to_str(code) == words
