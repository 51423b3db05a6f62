"""Opcodes: their values and their names."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.opcode import Opcode


@pytest.mark.parametrize('name, value', [
    ('CONTINUATION', 0), ('TEXT', 1), ('BINARY', 2), ('CLOSE', 8), ('PING', 9), ('PONG', 10)])
def test_opcodes_have_the_values_of_rfc_6455_and_say_their_names(name, value):
    assert getattr(Opcode, name) == value
    assert Opcode.to_str(value) == name


def test_unknown_opcode_is_named_by_its_number():
    assert Opcode.to_str(11) == 'OPCODE 0xB'
