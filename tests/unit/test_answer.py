"""lomond.http.answer: answers of servers and proxies; more of it is in test_handshake."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.http.answer import ResponseReader, RestTimer


@pytest.mark.parametrize('data, is_refusal', [
    (b'', False), (b'HTTP/1.1 1', False), (b'HTTP/1.1 100 Continue\r\n\r\n', False),
    (b'HTTP/1.1 400 No\r\n', False), (b'HTTP/1.1 400 No\r\n\r\n', True), (b'SSH', True),
    (b'HTTP/1.1 100 Continue\r\n\r\nSSH', True)])
def test_refusal_is_known_before_its_end(data, is_refusal):
    reader = ResponseReader(1000, 1000)
    if data:
        assert reader.feed(data) is None
    assert reader.is_refusal is is_refusal


def test_what_is_not_complete_is_held():
    reader = ResponseReader(1000, 1000)
    assert reader.held == 0
    head = b'HTTP/1.1 400 No\r\nContent-Length: 9\r\n\r\n'
    assert reader.feed(head[:-1]) is None
    assert reader.held == len(head) - 1
    assert reader.feed(head[-1:] + b'abc') is None
    assert reader.held == 3


@pytest.mark.parametrize('status', [200, 204, 299])
def test_any_2xx_accepts_a_tunnel_and_has_no_body(status):
    """RFC 9110 9.3.6."""
    head = 'HTTP/1.1 {} Yes\r\nContent-Length: 4\r\n\r\n'.format(status).encode('ascii')
    reader = ResponseReader(1000, 1000, is_tunnel=True)
    response, rest = reader.feed(b'HTTP/1.1 100 Continue\r\n\r\n' + head + b'data')
    assert (response.status_code, response.body, rest) == (status, b'', b'data')
    assert not reader.is_refusal


@pytest.mark.parametrize('head', [b'HTTP/1.1 101 No\r\n\r\n', b'HTTP/1.1 204 No\r\n\r\n'])
def test_refusal_that_has_no_body_by_its_status_is_complete(head):
    reader = ResponseReader(1000, 1000, is_tunnel=b'101' in head)
    response, rest = reader.feed(head + b'data')
    assert (response.body, rest) == (b'', b'')
    assert reader.is_refusal


def test_time_for_the_rest_of_a_refusal_starts_again_with_progress_but_not_forever():
    timer = RestTimer()
    assert timer.progress(10.0) == 11.0
    assert timer.progress(10.5) == 11.5
    assert timer.progress(11.4) == 12.0
    assert timer.progress(11.9) == 12.0
