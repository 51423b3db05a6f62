"""The compiled core does what pure Python does, whatever a connection receives and sends."""

from __future__ import absolute_import, division, print_function

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lomond
from fuzz.builds import ACTIONS, COMPILED, PURE, builds
from lomond._compat import extension_suffixes
from lomond._core import why_pure
from tests.property.strategies import conversations, deflated_messages, roles
from tests.support import make_frame

#: The bytes that say which options a connection has, before the sizes of pieces.
OPTIONS = 8

pytestmark = pytest.mark.skipif(not lomond.accelerated, reason='pure Python: {}'.format(why_pure))


def counted(values):
    return bytes(bytearray([len(values)] + values))


def test_one_of_the_two_is_pure_python():
    assert COMPILED['lomond.events'].__file__.endswith(tuple(extension_suffixes()))
    for name, module in PURE.items():
        assert module is not COMPILED[name]
        assert module.__file__.endswith('.py')


sizes = st.lists(st.integers(0, 255), max_size=15).map(counted)
actions = st.lists(st.integers(0, len(ACTIONS) - 1), max_size=15).map(counted)


def run(role, options, how, conversation):
    builds(bytes(bytearray([role == 'server'])) + options[1:] + b''.join(how) + conversation)


@pytest.mark.usefixtures('deflate_library')
@settings(max_examples=300)
@given(st.data(), roles, st.binary(min_size=OPTIONS, max_size=OPTIONS),
       st.tuples(sizes, actions, st.sampled_from([b'\0', b'\1'])))
def test_any_conversation_has_the_same_story(data, role, options, how):
    run(role, options, how, data.draw(conversations(role)))


@pytest.mark.usefixtures('deflate_library')
@given(roles, st.binary(min_size=OPTIONS, max_size=OPTIONS), deflated_messages(),
       st.tuples(sizes, actions, st.sampled_from([b'\0', b'\1'])))
def test_compressed_messages_have_the_same_story(role, options, messages, how):
    key = b'\xf7\x80\x7f\x01' if role == 'server' else None
    options = options[:5] + b'\1' + options[6:]    # deflate
    run(role, options, how, b''.join(
        make_frame(1, message, rsv=0x40, key=key) for message in messages))


@given(st.tuples(sizes, actions, st.sampled_from([b'\0', b'\1'])), st.binary(max_size=300))
def test_any_bytes_have_the_same_story(how, data):
    builds(bytes(bytearray(OPTIONS)) + b''.join(how) + data)
