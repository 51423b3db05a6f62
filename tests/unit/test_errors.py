"""The exceptions: their family, their codes, and messages with braces in them."""

from __future__ import absolute_import, division, print_function

import copy
import pickle

import pytest

from lomond import errors
from lomond.http.response import Response
from lomond.protocol import handshake

FAMILY = {
    'FrameBuildError': 'WebSocketError',
    'HandshakeError': 'WebSocketError',
    'CompressionParameterError': 'HandshakeError',
    'ProtocolError': 'WebSocketError',
    'InvalidPayload': 'ProtocolError',
    'PayloadTooLarge': 'ProtocolError',
    'CriticalProtocolError': 'WebSocketError',
    'ConnectFail': 'WebSocketError',
    'TransportFail': 'WebSocketError',
    'OutboxFull': 'WebSocketError',
    'WebSocketUnavailable': 'WebSocketError',
    'WebSocketClosed': 'WebSocketUnavailable',
    'WebSocketClosing': 'WebSocketUnavailable',
    'WebSocketError': 'Exception',
    'Rejected': 'HandshakeError',
    'WebSocketTimeout': 'WebSocketError',
}


def _exceptions():
    return {
        name: value for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.WebSocketError)}


def test_the_reason_of_a_failed_send_is_its_message_without_numbers():
    assert errors.TransportFail(u'it was aborted').reason == u'it was aborted'
    error = errors.TransportFail.after(3, 10, u'{}')
    assert (error.reason, str(error)) == (u'{}', '{} (3 of 10 bytes sent)')
    error = pickle.loads(pickle.dumps(errors.TransportFail(u'{}')))
    assert error.reason == u'{}'


def test_every_exception_has_its_place_in_the_family():
    assert {name: cls.__bases__[0].__name__ for name, cls in _exceptions().items()} == FAMILY


@pytest.mark.parametrize('name', sorted(FAMILY))
def test_message_is_formatted_with_arguments(name):
    error = _exceptions()[name]('a {} of {size}', 'frame', size=7)
    assert str(error) == 'a frame of 7'
    assert error.args == ('a frame of 7',)


@pytest.mark.parametrize('message', [
    '{', '}', '{}', '{0}', '{missing}', '{"json": {"a": 1}}', '{0.missing}', '{!x}', '%s', '%'])
def test_message_alone_is_taken_as_it_stands(message):
    assert str(errors.WebSocketError(message)) == message


@pytest.mark.parametrize('message', [
    u'{', u'}', u'{} {}', u'{1}', u'{missing}', u'{0.missing}', u'{0[missing]}', u'{0!x}',
    u'caf\xe9 {missing}', u'%s {', u'% {'])
def test_message_that_does_not_format_never_raises_and_loses_nothing(message):
    error = errors.WebSocketError(message, {})
    assert error.args[0].startswith(message)
    assert error.args[0].endswith('({},)')


def test_format_code_that_makes_no_sense_does_not_raise():
    assert str(errors.WebSocketError('{:broken}', 5)) == '{:broken} (5,)'


def test_native_message_that_does_not_format_shows_its_fields():
    assert str(errors.WebSocketError('{missing}', size=7)) == "{missing} {'size': 7}"


def test_foreign_characters_among_the_arguments_never_raise():
    error = errors.HandshakeError('the server answered {} {}', 404, u'nicht m\xf6glich')
    assert '404' in str(error)


def test_braces_among_the_arguments_are_data():
    assert str(errors.WebSocketError('not {!s}', '{0} {x}')) == 'not {0} {x}'


def test_error_may_have_no_message():
    assert str(errors.WebSocketError()) == ''


@pytest.mark.parametrize('name, code', [
    ('ProtocolError', 1002), ('InvalidPayload', 1007), ('PayloadTooLarge', 1009)])
def test_protocol_errors_carry_the_close_code(name, code):
    assert _exceptions()[name]('').close_code == code


def test_connect_fail_names_its_phase_and_keeps_its_cause():
    cause = OSError('no route')
    error = errors.ConnectFail.during('proxy', 'the proxy {failed}', cause)
    assert type(error) is errors.ConnectFail
    assert str(error) == 'the proxy {failed}'
    assert error.phase == 'proxy'
    assert error.cause is cause


def test_connect_fail_has_a_phase_and_no_cause_by_default():
    error = errors.ConnectFail('no')
    assert (error.phase, error.cause) == ('connect', None)
    assert errors.ConnectFail.during('tls', 'no').cause is None


# -- copies and pickles --

def _filled():
    """Yield each exception with all the attributes that it may have."""
    for name in sorted(FAMILY):
        yield _exceptions()[name](u'caf\xe9 {} of {size}', u'{frame}', size=7)
    refusals = handshake.UpgradeRefused.__subclasses__()
    assert len(refusals) >= 2
    for refusal in [handshake.UpgradeRefused] + refusals:
        yield refusal(u'no {}', u'GET')
    error = errors.ConnectFail.during('proxy', u'refused {', OSError(111, 'refused'))
    error.response = Response(b'HTTP/1.1 407 No\r\nVia: x\r\n\r\n')
    error.tried = ((u'::1', u'refused'),)
    yield error
    yield errors.TransportFail.after(3, 5, u'cut {')
    refused = handshake.UpgradeRefused('no')
    refused.status_code = 403
    refused.headers = ((u'X', u'1'),)
    yield refused


def _look(error):
    # Attributes of the class count as well as its own.
    seen = {name: getattr(error, name, None) for name in (
        'args', 'close_code', 'phase', 'tried', 'sent', 'size', 'status_code', 'headers')}
    for name in ('cause', 'response'):
        value = getattr(error, name, None)
        seen[name] = value if value is None else (type(value), repr(value))
    return type(error), seen


@pytest.mark.parametrize('error', list(_filled()), ids=lambda error: type(error).__name__)
def test_copies_and_pickles_keep_the_words_and_every_attribute(error):
    twins = [copy.copy(error), copy.deepcopy(error)]
    twins.extend(pickle.loads(pickle.dumps(error, protocol))
                 for protocol in range(pickle.HIGHEST_PROTOCOL + 1))
    for twin in twins:
        assert _look(twin) == _look(error)
