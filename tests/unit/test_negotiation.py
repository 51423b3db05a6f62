"""Agreeing on extensions: offers, answers, order, and bits that two would use."""

from __future__ import absolute_import, division, print_function

import itertools

import pytest

from lomond import extensions
from lomond.errors import CompressionParameterError, HandshakeError
from lomond.extensions import RSV1, RSV2, RSV3, DeflateOptions, Extension, PermessageDeflate
from lomond.protocol.extensions import negotiation
from lomond.protocol.extensions.grammar import parse_extensions


def make(cls_name, bits=0, accepts=lambda parameters: [], parameters=(), is_needed=False):
    """Make the class of an extension of this name."""
    class Made(Extension):
        name = cls_name
        rsv = bits
        is_required = is_needed
        finalized = None

        def offer(self):
            return None if parameters is None else list(parameters)

        def accept(self, asked):
            return accepts(asked)

        def finalize(self, answered):
            self.finalized = answered

    return Made


def names(agreed):
    return [extension.name for extension in agreed]


# -- the client --

def test_nothing_is_offered_without_extensions():
    assert extensions.offer([]) == (u'', [])
    assert extensions.offer([make(u'shy', parameters=None)]) == (u'', [])


def test_each_extension_is_offered_in_order_with_its_parameters():
    header, offered = extensions.offer([
        make(u'a', parameters=[(u'bits', u'3'), (u'fast', None)]), PermessageDeflate, make(u'b')])
    assert header == u'a; bits=3; fast, permessage-deflate; client_max_window_bits, b'
    assert names(offered) == [u'a', u'permessage-deflate', u'b']


def test_what_offers_nothing_may_not_be_chosen():
    """RFC 6455 4.1."""
    header, offered = extensions.offer([make(u'shy', parameters=None), make(u'a')])
    assert header == u'a'
    with pytest.raises(HandshakeError, match='not offered'):
        extensions.accept(u'shy', offered)


def test_what_is_required_must_offer_something():
    with pytest.raises(ValueError, match='shy is required'):
        extensions.offer([make(u'shy', parameters=None, is_needed=True)])


def test_no_answer_agrees_on_nothing():
    assert extensions.accept(u'', extensions.offer([PermessageDeflate])[1]) == []
    assert extensions.accept(u'', []) == []


def test_what_the_server_chose_is_finalized_in_its_order():
    _header, offered = extensions.offer([make(u'a'), make(u'b'), make(u'c')])
    agreed = extensions.accept(u'c; x=1, a', offered)
    assert agreed == [offered[2], offered[0]]
    assert [extension.finalized for extension in offered] == [[], None, [(u'x', u'1')]]


def test_permessage_deflate_has_a_codec_once_it_is_agreed_on():
    _header, offered = extensions.offer([PermessageDeflate])
    agreed, = extensions.accept(u'permessage-deflate; client_max_window_bits=10', offered)
    assert agreed.codec.deflate_bits == 10


@pytest.mark.parametrize('answer', [
    u'x-webkit-deflate-frame', u'Permessage-Deflate', u'permessage-deflate, other',
    u'permessage-deflate, permessage-deflate', u'permessage-deflate;', u'a, a', u'a,, b c'])
def test_an_answer_that_was_not_offered_or_is_malformed_is_refused(answer):
    with pytest.raises(HandshakeError):
        extensions.accept(answer, extensions.offer([PermessageDeflate, make(u'a')])[1])


def test_wrong_parameters_of_permessage_deflate_have_their_own_error():
    with pytest.raises(CompressionParameterError):
        extensions.accept(
            u'permessage-deflate; level=9', extensions.offer([PermessageDeflate])[1])


def test_two_extensions_of_one_name_may_both_be_chosen():
    """RFC 6455 9.1: an extension may be offered twice, with other parameters."""
    _header, offered = extensions.offer([make(u'a'), make(u'a')])
    assert extensions.accept(u'a, a', offered) == offered
    with pytest.raises(HandshakeError, match='twice'):
        extensions.accept(u'a, a, a', offered)


def test_an_answer_that_one_offer_doesnt_allow_may_belong_to_the_next_of_that_name():
    """RFC 6455 9.1, RFC 7692 5: the second offer is a fallback."""
    strict = DeflateOptions(server_no_context_takeover=True)
    factories = [lambda: PermessageDeflate(strict), PermessageDeflate]
    for answer, chosen in ((u'; server_no_context_takeover', 0), (u'', 1)):
        _header, offered = extensions.offer(factories)
        agreed, = extensions.accept(u'permessage-deflate' + answer, offered)
        assert agreed is offered[chosen]
    with pytest.raises(CompressionParameterError):
        extensions.accept(u'permessage-deflate; level=9', extensions.offer(factories)[1])


@pytest.mark.parametrize('chosen', [0, 1, 2])
def test_each_of_three_offers_of_one_name_may_be_the_one_that_allows_the_answer(chosen):
    def make_picky(number):
        class Picky(make(u'a')):
            def finalize(self, answered):
                if answered != [(u'level', str(number))]:
                    raise HandshakeError('not level {}', number)
        return Picky

    _header, offered = extensions.offer([make_picky(number) for number in range(3)])
    agreed, = extensions.accept(u'a; level={}'.format(chosen), offered)
    assert agreed is offered[chosen]


def test_a_server_that_chooses_two_for_one_reserved_bit_is_refused():
    _header, offered = extensions.offer([make(u'a', RSV2 | RSV3), make(u'b', RSV3)])
    assert names(extensions.accept(u'b', offered)) == [u'b']
    with pytest.raises(HandshakeError, match='same reserved bit'):
        extensions.accept(u'a, b', offered)
    _header, offered = extensions.offer([make(u'a', RSV2), make(u'b', RSV3)])
    assert names(extensions.accept(u'a, b', offered)) == [u'a', u'b']


def test_an_extension_is_required_if_it_says_so():
    assert not Extension.is_required
    assert extensions.accept(u'', [Extension()]) == []


def test_a_name_in_an_error_is_cut_at_80_characters():
    for length, shown in ((80, u'x' * 80), (81, u'x' * 80)):
        with pytest.raises(HandshakeError) as caught:
            extensions.accept(u'x' * length, [])
        assert str(caught.value).endswith(repr(shown))


def test_an_extension_that_is_required_must_be_chosen():
    _header, offered = extensions.offer([make(u'a'), make(u'b', is_needed=True)])
    with pytest.raises(HandshakeError, match='b, which is required'):
        extensions.accept(u'a', offered)
    assert names(extensions.accept(u'b', offered)) == [u'b']


# -- the server --

def test_no_offer_gets_no_answer():
    assert extensions.answer(u'', [PermessageDeflate]) == (u'', [])
    assert extensions.answer(u'unknown; a="b, c", other', [PermessageDeflate]) == (u'', [])


@pytest.mark.parametrize('order', list(itertools.permutations([u'a', u'b', u'permessage-deflate'])))
def test_the_clients_order_is_that_of_the_answer(order):
    factories = [make(u'b', RSV3), PermessageDeflate, make(u'a', RSV2)]
    header, agreed = extensions.answer(u', '.join(order), factories)
    assert header == u', '.join(order)
    assert names(agreed) == list(order)


@pytest.mark.parametrize('first, second', list(itertools.permutations([u'a', u'b'], 2)))
def test_of_two_that_use_one_bit_the_first_offer_counts(first, second):
    header, agreed = extensions.answer(
        u'{}, {}, c'.format(first, second), [make(u'a', RSV1), make(u'b', RSV1), make(u'c', RSV2)])
    assert header == u'{}, c'.format(first)
    assert names(agreed) == [first, u'c']


def test_permessage_deflate_is_not_answered_beside_another_on_its_bit():
    header, _agreed = extensions.answer(
        u'mine, permessage-deflate', [PermessageDeflate, make(u'mine', RSV1)])
    assert header == u'mine'


def test_the_next_offer_is_tried_after_one_that_is_declined():
    picky = make(u'a', accepts=lambda asked: [(u'bits', u'8')] if asked == [(u'bits', u'8')]
                 else None)
    header, agreed = extensions.answer(u'a; bits=9, a, a; bits=8, a; bits=8', [picky])
    assert header == u'a; bits=8'
    assert names(agreed) == [u'a']


@pytest.mark.parametrize('offer', [
    u'permessage-deflate; server_max_window_bits=7',
    u'permessage-deflate; server_max_window_bits',
    u'permessage-deflate; client_max_window_bits=16',
    u'permessage-deflate; server_no_context_takeover=1',
    u'permessage-deflate; private=1',
    u'permessage-deflate; client_max_window_bits; client_max_window_bits'])
def test_an_offer_with_wrong_parameters_is_declined_and_the_next_one_taken(offer):
    assert extensions.answer(offer, [PermessageDeflate]) == (u'', [])
    header, agreed = extensions.answer(offer + u', permessage-deflate', [PermessageDeflate])
    assert header == u'permessage-deflate'
    assert agreed[0].codec is not None


def test_a_quoted_value_counts_as_the_token_in_it():
    header, _agreed = extensions.answer(
        u'permessage-deflate; server_max_window_bits="10"', [PermessageDeflate])
    assert header == u'permessage-deflate; server_max_window_bits=10'


def test_a_malformed_header_is_refused():
    with pytest.raises(HandshakeError):
        extensions.answer(u'a; =b', [make(u'a')])


def test_one_offer_is_answered_by_one_extension():
    """Two of one name, as for two sets of parameters."""
    header, agreed = extensions.answer(u'a', [make(u'a'), make(u'a')])
    assert (header, names(agreed)) == (u'a', [u'a'])


def test_options_of_permessage_deflate_are_those_of_its_constructor():
    options = DeflateOptions(server_no_context_takeover=True)
    header, agreed = extensions.answer(
        u'permessage-deflate', [lambda: PermessageDeflate(options)])
    assert header == u'permessage-deflate; server_no_context_takeover'
    assert not agreed[0].codec.deflate_takeover


# -- what is no extension --

@pytest.mark.parametrize('factories', [
    make(u'a'), u'permessage-deflate', b'a', None, 5, [make(u'a')()], [u'a'], [None]])
def test_what_is_no_list_of_factories_raises(factories):
    with pytest.raises(TypeError, match='extensions'):
        extensions.offer(factories)


@pytest.mark.parametrize('factory, error', [
    (lambda: None, TypeError), (dict, TypeError), (make(u''), ValueError),
    (make(u'a b'), ValueError), (make(u'a', 0x80), ValueError)])
def test_a_factory_must_make_an_extension_with_a_name_and_bits(factory, error):
    with pytest.raises(error):
        extensions.offer([factory])
    with pytest.raises(error):
        extensions.answer(u'', [factory])


@pytest.mark.parametrize('parameter', [
    (u'a b', None), (u'a', u'b\r\nc'), (u'a', u''), (u'', None), (u'a', u'b, c')])
def test_a_parameter_that_is_no_token_raises_before_it_is_sent(parameter):
    with pytest.raises(ValueError, match='a token'):
        extensions.offer([make(u'a', parameters=[parameter])])
    with pytest.raises(ValueError, match='a token'):
        extensions.answer(u'a', [make(u'a', accepts=lambda _asked: [parameter])])


def test_supported_extensions_are_listed_by_their_names():
    for name, factory in extensions.SUPPORTED.items():
        header, (offered,) = extensions.offer([factory])
        assert parse_extensions(header)[0][0] == name == offered.name
    assert u'permessage-deflate' in extensions.SUPPORTED


def test_the_face_makes_what_negotiation_takes():
    header, agreed = negotiation.answer(u'permessage-deflate', [PermessageDeflate()])
    assert (header, names(agreed)) == (u'permessage-deflate', [u'permessage-deflate'])
