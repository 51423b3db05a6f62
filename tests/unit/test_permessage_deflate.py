"""Agreeing on permessage-deflate: options, the client's offer, the server's answer."""

from __future__ import absolute_import, division, print_function

import itertools
import zlib

import pytest

from lomond.errors import CompressionParameterError
from lomond.protocol.extensions.deflate import DeflateCodec
from lomond.protocol.extensions.grammar import format_extension, parse_extensions
from lomond.protocol.extensions.permessage_deflate import (
    NAME,
    DeflateOptions,
    accept_answer,
    answer_offers,
    offer,
)

BOTH_LIBRARIES = pytest.mark.usefixtures('deflate_library')

MESSAGE = b'{"id": 1, "price": "17.5"}' * 100


def _parameters(text):
    """Parse the parameters of an offer or answer as they would stand in the header."""
    (_name, parameters), = parse_extensions(NAME + (u'; ' + text if text else u''))
    return parameters


def _text(parameters):
    return format_extension(NAME, parameters)[len(NAME):].lstrip('; ')


# -- options --

@pytest.mark.parametrize('name, good, bad', [
    ('server_max_window_bits', (8, 15), (7, 16, '15', None, 15.0)),
    ('client_max_window_bits', (8, 15), (7, 16, '15', None, 15.0)),
    ('level', (-1, 0, 9), (-2, 10, '6', None)),
    ('mem_level', (1, 9), (0, 10, '8', None)),
])
def test_options_are_checked(name, good, bad):
    for value in good:
        assert getattr(DeflateOptions(**{name: value}), name) == value
    for value in bad:
        with pytest.raises(ValueError) as caught:
            DeflateOptions(**{name: value})
        assert name in str(caught.value)


def test_by_default_windows_are_largest_and_kept_and_the_effort_is_zlibs():
    options = DeflateOptions()
    assert not options.server_no_context_takeover
    assert not options.client_no_context_takeover
    assert (options.server_max_window_bits, options.client_max_window_bits) == (15, 15)
    assert (options.level, options.mem_level) == (zlib.Z_DEFAULT_COMPRESSION, 8)
    codec = DeflateCodec()
    assert (codec.deflate_bits, codec.inflate_bits) == (15, 15)
    assert codec.deflate_takeover
    assert codec.inflate_takeover
    assert (codec.level, codec.mem_level) == (zlib.Z_DEFAULT_COMPRESSION, 8)


# -- the client's offer and the server's answer to it --

@pytest.mark.parametrize('options, expected', [
    ({}, 'client_max_window_bits'),
    ({'client_max_window_bits': 10}, 'client_max_window_bits=10'),
    ({'client_max_window_bits': 14}, 'client_max_window_bits=14'),
    ({'server_max_window_bits': 10}, 'server_max_window_bits=10; client_max_window_bits'),
    ({'server_max_window_bits': 14}, 'server_max_window_bits=14; client_max_window_bits'),
    ({'server_no_context_takeover': True}, 'server_no_context_takeover; client_max_window_bits'),
    ({'client_no_context_takeover': True}, 'client_no_context_takeover; client_max_window_bits'),
])
def test_client_offers_what_its_options_say(options, expected):
    assert _text(offer(DeflateOptions(**options))) == expected


@pytest.mark.parametrize('options, answer, deflate, inflate', [
    # (window bits, context takeover) of what we send and of what we receive
    ({}, '', (15, True), (15, True)),
    ({}, 'client_max_window_bits=10', (10, True), (15, True)),
    ({}, 'client_max_window_bits="10"', (10, True), (15, True)),
    ({}, 'client_max_window_bits=15', (15, True), (15, True)),
    # zlib deflates with no window of 8 bits: 9 stays within it.
    ({}, 'client_max_window_bits=8', (9, True), (15, True)),
    ({}, 'server_max_window_bits=8', (15, True), (8, True)),
    ({}, 'server_max_window_bits=15', (15, True), (15, True)),
    ({}, 'server_no_context_takeover', (15, True), (15, False)),
    ({}, 'client_no_context_takeover', (15, False), (15, True)),
    ({'client_no_context_takeover': True}, '', (15, False), (15, True)),
    ({'server_no_context_takeover': True}, 'server_no_context_takeover', (15, True), (15, False)),
    ({'client_max_window_bits': 12}, '', (12, True), (15, True)),
    ({'client_max_window_bits': 12}, 'client_max_window_bits=11', (11, True), (15, True)),
    ({'client_max_window_bits': 12}, 'client_max_window_bits=12', (12, True), (15, True)),
    ({'server_max_window_bits': 12}, 'server_max_window_bits=12', (15, True), (12, True)),
    ({'server_max_window_bits': 12}, 'server_max_window_bits=9', (15, True), (9, True)),
])
def test_client_takes_an_answer_that_its_offer_allows(options, answer, deflate, inflate):
    codec = accept_answer(DeflateOptions(**options), _parameters(answer))
    assert (codec.deflate_bits, codec.deflate_takeover) == deflate
    assert (codec.inflate_bits, codec.inflate_takeover) == inflate


@pytest.mark.parametrize('options, answer', [
    ({}, 'unknown'),
    ({}, 'unknown=1'),
    ({}, 'Server_No_Context_Takeover=1'),
    ({}, 'server_no_context_takeover=1'),
    ({}, 'client_no_context_takeover=true'),
    ({}, 'server_no_context_takeover; server_no_context_takeover'),
    ({}, 'server_max_window_bits=10; server_max_window_bits=10'),
    ({}, 'client_max_window_bits'),
    ({}, 'server_max_window_bits'),
    ({}, 'server_max_window_bits=7'),
    ({}, 'server_max_window_bits=16'),
    ({}, 'server_max_window_bits=08'),
    ({}, 'server_max_window_bits=10.0'),
    ({}, 'server_max_window_bits=1e1'),
    ({}, 'server_max_window_bits=0xA'),
    ({}, 'client_max_window_bits=7'),
    ({}, 'client_max_window_bits=16'),
    ({}, 'client_max_window_bits=+9'),
    # asked for, and left out or exceeded
    ({'server_no_context_takeover': True}, ''),
    ({'server_max_window_bits': 12}, ''),
    ({'server_max_window_bits': 12}, 'server_max_window_bits=13'),
    # RFC 7692 7.1.2.2: equal to or smaller than what was offered
    ({'client_max_window_bits': 12}, 'client_max_window_bits=13'),
])
def test_client_refuses_an_answer_that_its_offer_does_not_allow(options, answer):
    with pytest.raises(CompressionParameterError):
        accept_answer(DeflateOptions(**options), _parameters(answer))


@pytest.mark.parametrize('options, offers, expected', [
    ({}, '', ''),
    ({}, 'client_max_window_bits', ''),
    ({}, 'client_max_window_bits=10', 'client_max_window_bits=10'),
    ({}, 'server_max_window_bits=10', 'server_max_window_bits=10'),
    ({}, 'server_max_window_bits=15', 'server_max_window_bits=15'),
    ({}, 'server_no_context_takeover', 'server_no_context_takeover'),
    ({}, 'client_no_context_takeover', 'client_no_context_takeover'),
    ({'server_no_context_takeover': True}, '', 'server_no_context_takeover'),
    ({'client_no_context_takeover': True}, '', 'client_no_context_takeover'),
    ({'server_max_window_bits': 9}, '', 'server_max_window_bits=9'),
    ({'server_max_window_bits': 14}, '', 'server_max_window_bits=14'),
    ({'client_max_window_bits': 14}, 'client_max_window_bits', 'client_max_window_bits=14'),
    ({'server_max_window_bits': 9}, 'server_max_window_bits=8', 'server_max_window_bits=8'),
    ({'server_max_window_bits': 9}, 'server_max_window_bits=12', 'server_max_window_bits=9'),
    ({'client_max_window_bits': 9}, 'client_max_window_bits', 'client_max_window_bits=9'),
    ({'client_max_window_bits': 9}, 'client_max_window_bits=8', 'client_max_window_bits=8'),
    ({'client_max_window_bits': 9}, 'client_max_window_bits=12', 'client_max_window_bits=9'),
    # RFC 7692 7.1.2.2: nothing to answer to a client that didn't name it
    ({'client_max_window_bits': 9}, '', ''),
])
def test_server_answers_what_its_options_and_the_offer_allow(options, offers, expected):
    answer, codec = answer_offers(
        DeflateOptions(**options), [(NAME, _parameters(offers))])
    assert _text(answer) == expected
    said = dict(answer)
    assert codec.inflate_bits == int(said.get(u'client_max_window_bits', 15))
    assert codec.deflate_bits == max(9, int(said.get(u'server_max_window_bits', 15)))
    assert codec.deflate_takeover is (u'server_no_context_takeover' not in said)
    assert codec.inflate_takeover is (u'client_no_context_takeover' not in said)


@pytest.mark.parametrize('wrong', [
    'unknown', 'server_max_window_bits', 'server_max_window_bits=7', 'server_max_window_bits=16',
    'client_max_window_bits=7', 'client_max_window_bits=010', 'server_no_context_takeover=1',
    'client_no_context_takeover; client_no_context_takeover',
    'client_max_window_bits; client_max_window_bits=10'])
def test_server_declines_a_wrong_offer_and_looks_at_the_next(wrong):
    options = DeflateOptions()
    assert answer_offers(options, [(NAME, _parameters(wrong))]) is None
    answer, _codec = answer_offers(options, [
        (u'x-unknown', []), (NAME, _parameters(wrong)),
        (NAME, _parameters('client_max_window_bits=11')), (NAME, [])])
    assert _text(answer) == 'client_max_window_bits=11'


def test_server_answers_nothing_where_nothing_it_knows_is_offered():
    assert answer_offers(DeflateOptions(), []) is None
    assert answer_offers(DeflateOptions(), [(u'permessage-bzip2', [])]) is None


@BOTH_LIBRARIES
@pytest.mark.parametrize('flags', list(itertools.product([False, True], repeat=4)))
@pytest.mark.parametrize('bits', [(8, 15, 15, 8), (15, 8, 9, 15), (12, 12, 10, 11)])
def test_both_sides_agree_on_what_was_negotiated(flags, bits):
    client_options = DeflateOptions(flags[0], flags[1], bits[0], bits[1])
    server_options = DeflateOptions(flags[2], flags[3], bits[2], bits[3])
    answer, server = answer_offers(server_options, [(NAME, offer(client_options))])
    client = accept_answer(client_options, answer)
    assert client.inflate_bits == min(bits[0], bits[2])
    assert server.inflate_bits == min(bits[1], bits[3])
    assert server.deflate_bits <= max(9, client.inflate_bits)
    assert client.deflate_bits <= max(9, server.inflate_bits)
    assert client.inflate_takeover or not server.deflate_takeover
    assert server.inflate_takeover or not client.deflate_takeover
    for sender, receiver in ((client, server), (server, client)):
        for _again in range(2):
            assert receiver.decompress(sender.compress(MESSAGE), None, True) == MESSAGE
