"""The grammar of Sec-WebSocket-Extensions."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import HandshakeError
from lomond.protocol.extensions.grammar import format_extension, parse_extensions


@pytest.mark.parametrize('value, expected', [
    (u'', []),
    (u' \t ', []),
    (u', ,,', []),
    (u'foo', [(u'foo', [])]),
    (u'foo, bar', [(u'foo', []), (u'bar', [])]),
    (u',foo,,bar,', [(u'foo', []), (u'bar', [])]),
    (u'foo;x', [(u'foo', [(u'x', None)])]),
    (u'foo ; x = 1;\ty=2', [(u'foo', [(u'x', u'1'), (u'y', u'2')])]),
    (u'foo; x="10"', [(u'foo', [(u'x', u'10')])]),
    (u'foo; x="\\1\\0"', [(u'foo', [(u'x', u'10')])]),
    (u'foo; x; x', [(u'foo', [(u'x', None), (u'x', None)])]),
    (u'deflate-stream', [(u'deflate-stream', [])]),
    (u'mux; max-channels=4; flow-control, deflate-stream', [
        (u'mux', [(u'max-channels', u'4'), (u'flow-control', None)]), (u'deflate-stream', [])]),
    (u'private-extension', [(u'private-extension', [])]),
    (u'permessage-deflate; client_max_window_bits; server_max_window_bits=10, permessage-deflate',
     [(u'permessage-deflate', [
         (u'client_max_window_bits', None), (u'server_max_window_bits', u'10')]),
      (u'permessage-deflate', [])]),
    # What is quoted need be no token to be read: whose it is says what it is worth.
    (u'foo; x=""', [(u'foo', [(u'x', u'')])]),
    (u'foo; x="a,b", bar', [(u'foo', [(u'x', u'a,b')]), (u'bar', [])]),
    (u'foo; x="a;b=c" ;y, bar', [(u'foo', [(u'x', u'a;b=c'), (u'y', None)]), (u'bar', [])]),
    (u'foo; x=" a b\t"', [(u'foo', [(u'x', u' a b\t')])]),
    (u'foo; x="\\"", bar; y="\\\\"', [(u'foo', [(u'x', u'"')]), (u'bar', [(u'y', u'\\')])]),
    (u'foo; x="\\,\\\xe9\\\t"', [(u'foo', [(u'x', u',\xe9\t')])]),
    (u'foo; x="\x80\xa0\xe9\xff"', [(u'foo', [(u'x', u'\x80\xa0\xe9\xff')])]),
    (u'foo; x="[]{}()<>@:/?!~"', [(u'foo', [(u'x', u'[]{}()<>@:/?!~')])]),
])
def test_header_is_parsed(value, expected):
    assert parse_extensions(value) == expected


def test_long_quoted_value_is_parsed_in_one_go():
    value = u'a,"\\' * 20000
    quoted = value.replace(u'\\', u'\\\\').replace(u'"', u'\\"')
    assert parse_extensions(u'foo; x="{}", bar'.format(quoted)) == [
        (u'foo', [(u'x', value)]), (u'bar', [])]
    with pytest.raises(HandshakeError):
        parse_extensions(u'foo; x="{}'.format(quoted))


@pytest.mark.parametrize('value', [
    u'foo bar', u'foo;', u'foo; ;', u'foo; x=', u'foo; =1', u'=', u';', u'foo=1', u'foo; x=1 2',
    u'foo; x="1', u'foo; x="', u'foo; x="\\"', u'foo; x="a"b', u'foo; x="a" "b"', u'foo; x=a"b"',
    u'foo;;', u'foo;;x', u'foo;,bar', u';x', u', ;x', u'foo; x="a",b"', u'foo "x"', u'foo="x"',
    u'foo; x="\x01"', u'foo; x="\x7f"', u'foo; x="\\\x01"', u'foo; x="\\\x7f"', u'foo; x="\0"',
    u"foo; x='a,b c'", u'foo; x=\xa01',
    u'"foo"', u'foo; "x"', u'foo; x==1', u'foo; x=,', u'foo/bar', u'foo; x=\xe9', u'caf\xe9',
    u'foo\0', u'foo\n', u'foo; x="a\nb"', u'{}', u'foo; x={0}', u'foo,;',
])
def test_malformed_header_is_refused(value):
    with pytest.raises(HandshakeError) as caught:
        parse_extensions(value)
    assert 'Sec-WebSocket-Extensions' in str(caught.value)


def test_error_shows_only_the_start_of_a_long_header():
    with pytest.raises(HandshakeError) as caught:
        parse_extensions(u'{' * 60000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize('value', [u'foo', u'foo; x', u'foo; x=1; y'])
def test_what_is_formatted_parses_to_the_same(value):
    (name, parameters), = parse_extensions(value)
    assert format_extension(name, parameters) == value
