"""HTTP heads: taken apart strictly, looked up kindly; nothing injected."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.errors import HandshakeError
from lomond.http.grammar import check_line, is_token
from lomond.http.headers import Headers, parse_head

HEAD = (
    b'HTTP/1.1 101 Switching Protocols\r\n'
    b'Upgrade: websocket\r\n'
    b'connection:keep-alive, Upgrade\r\n'
    b'Set-Cookie: a=1; path=/\r\n'
    b'SET-COOKIE:\t b=2 \t\r\n'
    b'X-Empty:\r\n'
    b'X-Latin: caf\xe9\r\n'
    b'\r\n')


@pytest.fixture
def headers():
    return parse_head(HEAD)[1]


@pytest.mark.parametrize('end', [b'\r\n\r\n', b'\r\n', b''])
def test_head_may_end_in_the_empty_line_or_without_it(end):
    line, headers = parse_head(b'GET / HTTP/1.1\r\nHost: example.org' + end)
    assert line == u'GET / HTTP/1.1'
    assert headers.items() == [(u'Host', u'example.org')]


@pytest.mark.parametrize('name', [u'upgrade', u'UPGRADE', u'Upgrade', b'uPgRaDe'])
def test_names_are_case_insensitive(headers, name):
    assert headers.get(name) == u'websocket'
    assert headers[name] == u'websocket'
    assert name in headers


def test_repeated_field_is_joined_or_kept_apart(headers):
    assert headers.get(u'Set-Cookie') == u'a=1; path=/, b=2'
    assert headers.get_all(u'set-cookie') == [u'a=1; path=/', u'b=2']


def test_missing_field_gives_the_default(headers):
    assert headers.get(u'X-Missing') is None
    assert headers.get(u'X-Missing', u'default') == u'default'
    assert headers.get_all(u'X-Missing') == []
    assert headers.get_list(u'X-Missing') == []
    assert u'X-Missing' not in headers
    with pytest.raises(KeyError):
        headers[u'X-Missing']


def test_empty_field_is_there(headers):
    assert headers.get(u'X-Empty', u'default') == u''
    assert u'X-Empty' in headers


def test_values_are_latin_1(headers):
    assert headers[u'X-Latin'] == u'caf\xe9'


def test_headers_behave_as_a_mapping_in_their_order(headers):
    assert list(headers) == [
        u'Upgrade', u'connection', u'Set-Cookie', u'SET-COOKIE', u'X-Empty', u'X-Latin']
    assert len(headers) == 6
    assert headers.items()[0] == (u'Upgrade', u'websocket')
    assert 'websocket' in repr(headers)
    assert len(Headers()) == 0


@pytest.mark.parametrize('value, items', [
    (u'a', [u'a']), (u'a,b', [u'a', u'b']), (u' a ,\tb\t', [u'a', u'b']), (u'a,,b,', [u'a', u'b']),
    (u'', []), (u' , ', []), (u'a b', [u'a b'])])
def test_list_is_split_at_commas_without_empty_items(value, items):
    assert Headers([(u'X', value)]).get_list(u'x') == items


def test_list_goes_on_in_a_repeated_field():
    assert Headers([(u'X', u'a, b'), (u'Y', u'-'), (u'x', u'c')]).get_list(u'X') == [
        u'a', u'b', u'c']


@pytest.mark.parametrize('value, expected', [
    (u'upgrade', True), (u'keep-alive, UPGRADE', True), (u'upgrades', False), (u'', False),
    # To Unicode these are spaces, to RFC 7230 they are not.
    (u'upgrade\xa0', False), (u'\x85upgrade', False), (u'\x0bupgrade', False)])
def test_token_is_found_in_a_list(value, expected):
    headers = Headers([(u'Connection', value)])
    assert headers.has_token(u'connection', u'Upgrade') is expected


@pytest.mark.parametrize('head', [
    b'', b'\r\n', b'\r\n\r\n',                          # nothing
    b'X\r\nno colon\r\n',
    b'X\r\n: no name\r\n',
    b'X\r\nspace before : colon\r\n',
    b'X\r\nHost : x\r\n',
    b'X\r\nA: b\r\n folded\r\n',
    b'X\r\nA: b\r\n\tfolded\r\n',
    b'X\r\nA: b\r\n\r\nC: d',                           # an empty line in the middle
    b'X\r\nA: b\nC: d\r\n',                             # bare LF
    b'X\r\nA: b\rC: d\r\n',                             # bare CR
    b'X\r\nA: b\0\r\n',
    b'X\r\nA\0: b\r\n',
    b'X\r\nA\xe9: b\r\n',
    b'X\nA: b\r\n', b'X\rY\r\n', b'X\0\r\n',            # in the first line
])
def test_what_is_not_a_head_is_refused(head):
    with pytest.raises(HandshakeError):
        parse_head(head)


@pytest.mark.parametrize('lines, expected', [
    (b'A: b\r\n c\r\n', [(u'A', u'b c')]),
    (b'A: b\r\n\tc\r\n', [(u'A', u'b c')]),
    (b'A: b \r\n \t c \t\r\nD: e\r\n', [(u'A', u'b c'), (u'D', u'e')]),
    (b'A:\r\n b\r\n c\r\n', [(u'A', u'b c')]),
    (b'A: b\r\n \r\n c\r\n', [(u'A', u'b  c')]),
    (b'A: b\r\n \r\n', [(u'A', u'b')]),
    (b'A: b\r\n C: d\r\n', [(u'A', u'b C: d')]),
    (b'A: b\n c\nD: e\n', [(u'A', u'b c'), (u'D', u'e')]),
    (b'A: b\nD: e\r\n', [(u'A', u'b'), (u'D', u'e')]),
    (b'', []),
])
@pytest.mark.parametrize('end', [b'', b'\r\n', b'\n'])
def test_folded_lines_and_bare_lf_are_taken_from_a_response(lines, expected, end):
    """RFC 9112 5.2 and 2.2: from a response only."""
    head = b'HTTP/1.1 200 OK\r\n' + lines + end
    line, headers = parse_head(head, is_response=True)
    assert (line, headers.items()) == (u'HTTP/1.1 200 OK', expected)
    if b'\r\n ' in lines or b'\r\n\t' in lines:
        with pytest.raises(HandshakeError):
            parse_head(head)


@pytest.mark.parametrize('head', [
    b'', b'\r\n', b'\n', b'X\r\n folded: x\r\n', b'X\n folded: x\n', b'X\r\n \r\nA: b\r\n',
    b'X\r\nA: b\r\n\r\n c\r\n',                     # it continues the empty line
    b'X\r\nA: b\rc\r\n', b'X\r\nA: b\r\r\n', b'X\r\nA: b\r\n c\0\r\n',
    b'X\r\nno colon\r\n with: one\r\n', b'X\r\nA : b\n c\n'])
def test_what_is_no_head_of_a_response_either_is_refused(head):
    with pytest.raises(HandshakeError):
        parse_head(head, is_response=True)


def test_error_shows_only_the_start_of_a_line():
    with pytest.raises(HandshakeError) as caught:
        parse_head(b'X\r\n' + b'{' * 5000)
    assert len(str(caught.value)) < 150


@pytest.mark.parametrize('text, expected', [
    (u'chat', True), (u"!#$%&'*+-.^_`|~09azAZ", True), (u'', False), (u'a b', False),
    (u'a,b', False), (u'a\n', False), (u'caf\xe9', False), (u'a/b', False), (u'"a"', False)])
def test_token_is_what_rfc_7230_says(text, expected):
    assert is_token(text) is expected


@pytest.mark.parametrize('text', [u'a\rb', u'a\nb', u'a\0b', u'\r\n', u'a\r\nX-Injected: 1'])
def test_line_with_a_line_end_is_refused(text):
    with pytest.raises(ValueError) as caught:
        check_line('the agent', text)
    assert 'the agent' in str(caught.value)


def test_line_is_returned_as_it_is():
    assert check_line('the agent', u'caf\xe9 {}') == u'caf\xe9 {}'
