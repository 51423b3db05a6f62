"""lomond.net.resolve: addresses are read, names are looked up in a thread, answers are checked."""

from __future__ import absolute_import, division, print_function

import errno
import socket
import threading

import pytest

from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.net.address import read_address
from lomond.net.options import NetOptions
from lomond.net.progress import Progress
from lomond.net.resolve import resolve

from ..shortages import few_descriptors
from ..support import PATIENCE, drive

ANSWER = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, '', ('127.0.0.1', 80))


def resolve_now(host, resolver=None, timeout=PATIENCE):
    """Resolve a host, port 80; return the addresses."""
    return drive(resolve(
        host, 80, NetOptions(resolver=resolver), monotonic() + timeout, Progress()))


def fail(host, resolver=None, timeout=PATIENCE):
    """Fail to resolve a host; return the ConnectFail."""
    with pytest.raises(ConnectFail) as caught:
        resolve_now(host, resolver, timeout)
    assert caught.value.phase == 'resolve'
    assert host in str(caught.value)
    return caught.value


def never(*_args):
    raise AssertionError('asked for an address')


# -- addresses --

@pytest.mark.parametrize('host, family, address', [
    (u'127.0.0.1', socket.AF_INET, '127.0.0.1'),
    (u'127.1', socket.AF_INET, '127.0.0.1'),
    (u'::1', socket.AF_INET6, '::1'),
    (u'::ffff:127.0.0.1', socket.AF_INET6, '::ffff:127.0.0.1'),
])
def test_address_is_read_on_the_spot(host, family, address):
    """No thread, and no wait: it is the first step."""
    step = next(resolve(host, 80, NetOptions(resolver=never), 0, Progress()))
    assert [(info[0], info[4][:2]) for info in step] == [(family, (address, 80))]


def test_address_with_a_zone_is_read_on_the_spot():
    try:
        scope = socket.if_nametoindex('lo')
    except (AttributeError, OSError):
        scope = 1   # on Linux
    try:
        info, = next(resolve(
            u'fe80::1%lo', 80, NetOptions(resolver=never), 0, Progress()))
    except ConnectFail:
        pytest.skip('there is no interface lo')
    assert info[4][3] == scope


def test_address_of_a_zone_that_is_not_here_is_not_looked_up():
    error = fail(u'fe80::1%no-such-zone', never)
    assert isinstance(error.cause, socket.gaierror)


@pytest.mark.parametrize('host', ['localhost', 'far.invalid', '1.2.3', '[::1]', 'a' * 70])
def test_name_is_no_address(host):
    if host == '1.2.3':
        assert read_address(host, 0)    # by inet_aton(3)
        return
    with pytest.raises((socket.error, UnicodeError)):
        read_address(host, 0)


# -- names --

def test_name_is_looked_up_by_the_system():
    addresses = resolve_now(u'localhost')
    assert {info[4][0] for info in addresses} <= {'127.0.0.1', '::1'}
    assert {info[1] for info in addresses} == {socket.SOCK_STREAM}


def test_resolver_is_asked_as_getaddrinfo_is_but_in_a_thread():
    asked = []

    def resolver(*args):
        asked.append((args, threading.current_thread()))
        return iter([ANSWER])

    assert resolve_now(u'far.invalid', resolver) == [ANSWER]
    (args, thread), = asked
    assert args == ('far.invalid', 80, 0, socket.SOCK_STREAM)
    assert type(args[0]) is str
    assert thread is not threading.current_thread()
    assert thread.daemon


@pytest.mark.parametrize('error', [
    socket.gaierror(-2, 'Name or service not known'), socket.error(111, 'Connection refused'),
    UnicodeError('label too long')])
def test_fault_of_the_system_is_told_in_its_words(error):
    def resolver(*_args):
        raise error
    failure = fail(u'far.invalid', resolver)
    assert failure.cause is error
    assert str(failure).startswith('could not find far.invalid: {}'.format(
        getattr(error, 'strerror', None) or error))


def test_look_up_that_has_no_descriptor_does_not_say_that_the_name_is_unknown():
    """As the system's does: it can read no file then, and ask no server."""
    def resolver(*_args):
        shortage.__enter__()
        raise socket.gaierror(-2, 'Name or service not known')

    shortage = few_descriptors(0)
    try:
        failure = fail(u'far.invalid', resolver)
    finally:
        shortage.__exit__(None, None, None)
    assert failure.cause.errno == errno.EMFILE
    assert 'Too many open files' in str(failure)


@pytest.mark.parametrize('error', [
    KeyError('far.invalid'), ZeroDivisionError('0'), StopIteration()])
def test_fault_of_the_callers_resolver_is_told_by_its_kind(error):
    def resolver(*_args):
        raise error
    failure = fail(u'far.invalid', resolver)
    assert 'resolver failed' in str(failure)
    assert failure.cause is error or isinstance(error, StopIteration)


def test_control_c_in_a_resolver_goes_through():
    def resolver(*_args):
        raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        resolve_now(u'far.invalid', resolver)


def test_name_without_addresses_is_a_fault():
    failure = fail(u'far.invalid', lambda *_args: [])
    assert failure.cause is None
    assert 'no address' in str(failure)


@pytest.mark.parametrize('answer', [
    None, 5, ['127.0.0.1'], [('127.0.0.1', 80)], [ANSWER[:4]], [ANSWER + (1,)],
    [ANSWER[:4] + (None,)], [ANSWER[:4] + ((),)], [ANSWER[:4] + (('127.0.0.1',),)],
    [ANSWER[:4] + ((80, '127.0.0.1'),)], [ANSWER[:4] + (('127.0.0.1', 'no port'),)],
    [ANSWER[:4] + (('near.invalid', 80),)], [ANSWER, None],
])
def test_answer_that_is_no_list_of_addresses_is_a_fault(answer):
    """A name in it would be looked up by connect(), with the loop blocked."""
    failure = fail(u'far.invalid', lambda *_args: answer)
    assert 'resolver' in str(failure)


def test_resolver_that_does_not_answer_is_left_at_the_deadline():
    may_end = threading.Event()
    try:
        started = monotonic()
        failure = fail(u'far.invalid', lambda *_args: may_end.wait(PATIENCE), timeout=0.05)
        assert monotonic() - started < PATIENCE / 2
        assert 'in time' in str(failure)
        assert isinstance(failure.cause, socket.timeout)
    finally:
        may_end.set()
