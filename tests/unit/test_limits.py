"""The limits, and what the defaults let through."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.protocol.limits import DEFAULT_LIMITS, message_limits


def test_defaults_take_a_message_of_64_mib_in_128_kib_fragments():
    assert DEFAULT_LIMITS.message == DEFAULT_LIMITS.frame == 64 * 1024 * 1024
    assert DEFAULT_LIMITS.fragments == 128 * 1024


def test_defaults_take_a_head_and_a_body_of_64_kib():
    assert DEFAULT_LIMITS.head == DEFAULT_LIMITS.body == 64 * 1024


@pytest.mark.parametrize('size', [1, 10 ** 9, None])
def test_message_limits_bound_messages_and_frames_alone(size):
    limits = message_limits(size)
    assert (limits.message, limits.frame) == (size, size)
    assert limits.head == DEFAULT_LIMITS.head
    assert limits.body == DEFAULT_LIMITS.body
    assert limits.fragments == DEFAULT_LIMITS.fragments
