"""lomond.net.options: values that say how to reach a server; wrong ones are refused at once."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.net.options import NetOptions, TLSOptions
from lomond.websocket import WebSocket

# -- source_address --

@pytest.mark.parametrize('given, address', [
    (None, None),
    ('127.0.0.1', ('127.0.0.1', 0)),
    (u'127.0.0.1', ('127.0.0.1', 0)),
    (('127.0.0.1', 5000), ('127.0.0.1', 5000)),
    ('::1', ('::1', 0)),
    ('fe80::1%no-such-zone-yet', ('fe80::1%no-such-zone-yet', 0)),
    (('', 5000), ('', 5000)),
])
def test_source_address_is_an_address_with_or_without_a_port(given, address):
    assert NetOptions(source_address=given).source_address == address


@pytest.mark.parametrize('given, error', [
    (5000, TypeError), (['127.0.0.1', 0], TypeError), (('127.0.0.1',), TypeError),
    ((None, 0), TypeError), (('127.0.0.1', '0'), TypeError), (('127.0.0.1', True), TypeError),
    ('localhost', ValueError), (('far.invalid', 0), ValueError), ('[::1]', ValueError),
    (u'\u0661.1.1.1', ValueError), ('127.0.0.1:80', ValueError),
    (('127.0.0.1', -1), ValueError), (('127.0.0.1', 65536), ValueError),
])
def test_source_address_that_makes_no_sense_is_refused(given, error):
    """A name is: to look it up might take long."""
    with pytest.raises(error):
        WebSocket(u'ws://example.org/', source_address=given)


# -- tcp_keepalive --

@pytest.mark.parametrize('given, seconds', [
    (None, None), (0, None), (0.0, None), (60.0, 60), (1, 1), (0.2, 1), (1.5, 2), (32767, 32767)])
def test_keepalive_is_whole_seconds_or_never(given, seconds):
    assert NetOptions(tcp_keepalive=given).tcp_keepalive == seconds


@pytest.mark.parametrize('given, error', [
    (-1, ValueError), (float('nan'), ValueError), (float('inf'), ValueError), (32768, ValueError),
    (True, TypeError), ('60', TypeError)])
def test_keepalive_that_makes_no_sense_is_refused(given, error):
    with pytest.raises(error) as caught:
        WebSocket(u'ws://example.org/', tcp_keepalive=given)
    assert 'tcp_keepalive' in str(caught.value)


# -- socket_options --

@pytest.mark.parametrize('value', [b'\0\1', bytearray(b'\0\1'), memoryview(b'\0\1')])
def test_socket_option_takes_bytes_of_any_kind(value):
    assert NetOptions(socket_options=[[1, 2, value]]).socket_options == ((1, 2, b'\0\1'),)


@pytest.mark.parametrize('given, error', [
    ([(1, 2)], ValueError), ([(1, 2, 3, 4)], ValueError), ([5], TypeError), ((1, 2, 3), TypeError),
    ([('SOL_SOCKET', 2, 3)], TypeError), ([(1, None, 3)], TypeError), ([(1, 2, None)], TypeError),
    ([(1, 2, 1.5)], TypeError), ([(1, 2, u'1')], TypeError)])
def test_socket_option_that_makes_no_sense_is_refused(given, error):
    with pytest.raises(error) as caught:
        WebSocket(u'ws://example.org/', socket_options=given)
    assert 'socket option' in str(caught.value)


# -- sock and resolver --

@pytest.mark.parametrize('given', [5, 'socket', object()])
def test_sock_that_is_neither_a_socket_nor_a_function_is_refused(given):
    with pytest.raises(TypeError) as caught:
        WebSocket(u'ws://example.org/', sock=given)
    assert 'sock must be' in str(caught.value)


@pytest.mark.parametrize('given', [5, '8.8.8.8', ()])
def test_resolver_that_cannot_be_called_is_refused(given):
    with pytest.raises(TypeError):
        WebSocket(u'ws://example.org/', resolver=given)


# -- values --

def test_options_are_never_changed():
    for options in (NetOptions(), TLSOptions()):
        for name in options._fields + ('other',):
            with pytest.raises(AttributeError):
                setattr(options, name, None)


def test_other_values_make_other_options_and_what_is_wrong_raises():
    options = NetOptions(tcp_keepalive=5, source_address='127.0.0.1')
    other = options.replace(tcp_keepalive=7, socket_options=[[1, 2, 3]])
    assert other == NetOptions(
        tcp_keepalive=7, source_address=('127.0.0.1', 0), socket_options=[(1, 2, 3)])
    assert options == NetOptions(tcp_keepalive=5, source_address='127.0.0.1')
    with pytest.raises(ValueError):
        options.replace(source_address='localhost')
    with pytest.raises(ValueError):
        TLSOptions().replace(keyfile=__file__)
    with pytest.raises(ValueError):
        TLSOptions(certfile=__file__, keyfile=__file__).replace(certfile=None)


def test_only_what_is_new_is_checked(tmpdir):
    """A file that was removed meanwhile is another option's matter: the next connection says so."""
    path = tmpdir.join('ca.pem')
    path.write('')
    options = TLSOptions(cafile=str(path))
    path.remove()
    assert options.replace(verify=False).cafile == str(path)
    assert options.without_certificate() == options
    assert options.for_proxy().cafile == str(path)


@pytest.mark.parametrize('make', [NetOptions, TLSOptions])
def test_an_option_that_there_is_not_is_refused(make):
    with pytest.raises(TypeError) as caught:
        make(timeout=5)
    assert 'timeout' in str(caught.value)


def test_equal_options_are_one_value():
    """Most WebSockets of a program have these, and there may be many."""
    assert NetOptions() is NetOptions(tcp_keepalive=60.0, proxies=None, tls=TLSOptions())
    assert TLSOptions() is TLSOptions(verify=True, fingerprint=[])
    first, second = WebSocket(u'ws://example.org/'), WebSocket(u'wss://other.example/')
    assert first.net_options is second.net_options


def test_options_for_a_proxy_and_for_another_origin_have_less():
    tls = TLSOptions(
        verify=False, cafile=__file__, certfile=__file__, server_hostname='one.example',
        fingerprint='0' * 64)
    assert tls.for_proxy() == TLSOptions(verify=False, cafile=__file__)
    assert tls.without_certificate() == tls.replace(certfile=None)
    options = NetOptions(tls=tls, tcp_keepalive=5)
    assert options.for_other_origin() == options.replace(tls=tls.without_certificate())
    assert NetOptions().for_other_origin() is NetOptions()
