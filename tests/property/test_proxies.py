"""What a proxy answers, whatever that is and however it is cut: an end, or a wait for more."""

from __future__ import absolute_import, division, print_function

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lomond.errors import ConnectFail
from lomond.http.url import parse_proxy_url, parse_url
from lomond.net.proxy.socks import SocksExchange
from lomond.net.proxy.tunnel import ConnectExchange

TARGET = parse_url(u'ws://example.org/')

#: Each proxy, and the beginnings of answers that get far with it.
PROXIES = {
    u'http://proxy': [
        b'', b'HTTP/1.1 200 OK\r\n', b'HTTP/1.1 200 OK\r\n\r\n', b'HTTP/1.1 407 No\r\n\r\n'],
    u'socks4a://proxy': [b'', b'\0\x5a', b'\0\x5b'],
    u'socks5://proxy': [b'', b'\x05\0', b'\x05\0\x05\0\0\x03', b'\x05\0\x05\0\0\x01'],
    u'socks5://user:secret@proxy': [b'\x05\2', b'\x05\2\1\0', b'\x05\2\1\0\x05\0\0\x04'],
}


def begin(url):
    proxy = parse_proxy_url(url)
    if not proxy.is_socks:
        return ConnectExchange(TARGET, proxy)
    pytest.importorskip('python_socks')
    return SocksExchange(TARGET, proxy)


def feed(exchange, pieces):
    """Return what an exchange leads to: what was sent and the rest, or the error's words."""
    for index, piece in enumerate(pieces):
        try:
            exchange.receive(piece)
        except ConnectFail as error:
            assert error.phase == 'proxy'
            return str(error)
        if exchange.rest is not None:
            return exchange.output, exchange.rest + b''.join(pieces[index + 1:])
    return exchange.output, None


@pytest.mark.parametrize('url', sorted(PROXIES))
@given(data=st.data())
def test_any_cut_of_any_answer_leads_to_the_same(url, data):
    whole = data.draw(st.sampled_from(PROXIES[url])) + data.draw(st.binary(max_size=60))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)))))
    # No bytes would be the end.
    pieces = [
        whole[start:end] for start, end in zip([0] + cuts, cuts + [len(whole)]) if start < end]
    assert feed(begin(url), pieces) == feed(begin(url), [whole])


@pytest.mark.parametrize('url', sorted(url for url in PROXIES if url.startswith(u'socks')))
@given(data=st.data())
def test_no_answer_by_socks_makes_us_wait_for_much(url, data):
    whole = data.draw(st.sampled_from(PROXIES[url])) + data.draw(st.binary(max_size=60))
    end = feed(begin(url), [whole, b'\0' * 300])
    assert isinstance(end, str) or end[1] is not None
