"""A tunnel through a proxy: by HTTP CONNECT here, by SOCKS in `socks`.

`open_tunnel` sends and receives for an exchange, which is bytes in, bytes out: a `ConnectExchange`,
or a `lomond.net.proxy.socks.SocksExchange` of the same form. It is an operation, and waits for
nothing itself.
"""

from __future__ import absolute_import, division, print_function

import socket

from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond._describe import describe
from lomond.constants import USER_AGENT
from lomond.errors import ConnectFail, CriticalProtocolError, TransportFail
from lomond.http.answer import MAX_BODY, MAX_HEAD, ResponseReader, RestTimer
from lomond.http.url import basic_authorization, bracket
from lomond.net.steps import Wait, operation
from lomond.net.transport import is_broken_pipe
from lomond.net.waiter import merge

if TYPE_CHECKING:
    from typing import Any, Optional  # noqa: F401

    from lomond.http.url import ProxyTarget, Target  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401


@operation
def open_tunnel(transport, target, proxy, deadline):
    # type: (Transport, Target, ProxyTarget, float) -> Steps
    """Ask a proxy, on a transport to it, to reach the target: then the transport leads there.

    Raises ConnectFail.
    """
    if proxy.is_socks:
        from lomond.net.proxy.socks import SocksExchange
        exchange = SocksExchange(target, proxy)  # type: Any
    else:
        exchange = ConnectExchange(target, proxy)
    yield _converse(transport, exchange, deadline)
    if not exchange.rest:
        return
    if target.is_secure:
        # In TLS the client speaks first (RFC 8446 4.1.2): the server didn't send this.
        raise ConnectFail.during('proxy', 'the proxy sent more than its answer')
    transport.put_back(exchange.rest)


@operation
def _converse(transport, exchange, deadline):
    # type: (Transport, Any, float) -> Steps
    """Send the exchange's output, and give it what arrives, until the proxy has agreed."""
    write_error = None  # type: Any
    rest_timer = RestTimer()
    wait_until = deadline
    has_waited = False
    while exchange.rest is None:
        need = ()  # type: Interest
        if write_error is None:
            try:
                need = _send_output(transport, exchange)
            except (socket.error, TransportFail) as error:
                write_error = error     # the answer may have arrived before, and say why
        try:
            data = transport.receive()
        except (socket.error, TransportFail) as error:
            exchange.end()
            raise _failure(error)
        if data:
            exchange.receive(data)
            if exchange.is_refused:
                wait_until = min(deadline, rest_timer.progress(monotonic()))
        elif data is not None:
            exchange.end()
            if write_error is None or is_broken_pipe(write_error):
                raise ConnectFail.during('proxy', 'the proxy closed the connection')
            raise _failure(write_error)
        elif write_error is not None:
            exchange.end()
            raise _failure(write_error)
        elif has_waited and monotonic() >= wait_until:
            exchange.end()
            raise ConnectFail.during('proxy', 'the proxy did not answer in time')
        else:
            yield Wait(merge(transport.interest, need), wait_until)
            has_waited = True


def _send_output(transport, exchange):
    # type: (Transport, Any) -> Interest
    """Send as much as needs no waiting; return what to wait for before the next call."""
    while exchange.output:
        sent, interest = transport.send_some(exchange.output)
        if not sent:
            return interest
        exchange.output = exchange.output[sent:]
    return ()


def _failure(error):
    # type: (BaseException) -> ConnectFail
    return ConnectFail.during('proxy', u'the proxy failed: {}'.format(describe(error)), error)


class ConnectExchange(object):
    """Asks an HTTP proxy to reach the target, by CONNECT (RFC 9110 9.3.6).

    Attributes: ``output``, bytes to send next; ``rest``, the bytes received
    after the answer by which the proxy agrees, None until it has.
    """

    def __init__(self, target, proxy):
        # type: (Target, ProxyTarget) -> None
        self._has_credentials = proxy.credentials is not None
        self._reader = ResponseReader(MAX_HEAD, MAX_BODY, u'it', u'https', is_tunnel=True)
        self.output = connect_request(target, proxy)  # type: bytes
        self.rest = None  # type: Optional[bytes]

    @property
    def is_refused(self):
        # type: () -> bool
        """True once the proxy has refused: what it still sends is the refusal's body."""
        return self._reader.is_refusal

    @property
    def held(self):
        # type: () -> int
        """How many bytes of the proxy's answer are held."""
        return self._reader.held

    def receive(self, data):
        # type: (bytes) -> None
        """Read bytes from the proxy; raises ConnectFail if they are a refusal, or no HTTP."""
        try:
            found = self._reader.feed(data)
        except CriticalProtocolError as error:
            raise ConnectFail.during(
                'proxy', u'the proxy does not speak HTTP: {}'.format(text_type(error)), error)
        if found is None:
            return
        response, rest = found
        if not self._reader.is_refusal:
            self.rest = rest
            return
        # 401 is an origin server's status; tinyproxy 1.11 sends it if the password is wrong.
        if response.status_code in (401, 407):
            words = u'the proxy refused the user or the password' if self._has_credentials else (
                u'the proxy requires a user and a password: write them into its URL, as in '
                u'http://user:password@host:port')
            words += u' ({})'.format(response.status_code)
        else:
            words = u'the proxy answered {} {}'.format(response.status_code, response.status)
        refusal = ConnectFail.during('proxy', words)
        refusal.response = response
        raise refusal

    def end(self):
        # type: () -> None
        """Read the end of the stream; raises ConnectFail if it completes a refusal."""
        self.receive(b'')


def connect_request(target, proxy):
    # type: (Target, ProxyTarget) -> bytes
    """Build the CONNECT request (RFC 9110 9.3.6)."""
    # An IPv6 zone means something on this machine only (RFC 6874 4).
    authority = u'{}:{}'.format(bracket(target.host.partition(u'%')[0]), target.port)
    lines = [
        u'CONNECT {} HTTP/1.1'.format(authority),
        u'Host: {}'.format(authority),
        u'User-Agent: {}'.format(USER_AGENT),
    ]
    if proxy.credentials is not None:
        lines.append(u'Proxy-Authorization: ' + basic_authorization(proxy.credentials))
    return u'\r\n'.join(lines + [u'', u'']).encode('ascii')
