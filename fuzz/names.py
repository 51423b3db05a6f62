"""Targets: URLs, cookies and passwords, from a user or a server."""

from __future__ import absolute_import, division, print_function

import atexit
import os
import shutil
import tempfile

from fuzz.reading import Input, as_text
from lomond import WebSocket
from lomond.errors import ConnectFail, HandshakeError
from lomond.http.cookies import MAX_COOKIES, MAX_COOKIES_PER_RESPONSE, check_cookies
from lomond.http.headers import parse_head
from lomond.http.netrc import NetrcFile
from lomond.http.redirects import REDIRECT_STATUSES, RedirectChain
from lomond.http.request import check_headers
from lomond.http.response import Response
from lomond.http.url import parse_proxy_url, parse_url
from lomond.net.proxy.settings import is_exempt
from lomond.net.proxy.tunnel import ConnectExchange
from lomond.protocol.handshake import Request, build_head

_HOME = parse_url(u'ws://example.org/')


def url(data):
    """A WebSocket URL, a proxy's URL and an item of NO_PROXY: the text itself.

    Documented: ValueError from the first two.
    """
    text = as_text(data)
    if u'\0' not in text:       # no environment has one
        for host in (u'example.org', u'10.0.0.1', u'fe80::1%eth0'):
            assert is_exempt(host, 80, text) in (True, False)
    try:
        proxy = parse_proxy_url(text)
    except ValueError:
        pass
    else:
        assert 1 <= proxy.port <= 65535
        if not proxy.is_socks:
            request = ConnectExchange(_HOME, proxy).output
            assert parse_head(request)[0] == u'CONNECT example.org:80 HTTP/1.1'
    try:
        target = parse_url(text)
    except ValueError:
        return
    check_target(target)


def check_target(target):
    """Assert that a target is fit for a connection, and for a request."""
    assert target.host and 1 <= target.port <= 65535
    assert all(u'!' <= character <= u'~' for character in target.host + target.resource)
    again = parse_url(target.url)
    assert again._replace(host=u'') == target._replace(host=u'', credentials=None)
    # An IPv6 zone means something on this machine only.
    assert again.host == target.host.partition(u'%')[0]
    head = build_head(u'GET {} HTTP/1.1'.format(target.resource), [(u'Host', target.host_header)])
    request = Request(head)
    assert request.resource == target.resource and request.resource.startswith(u'/')
    assert request.get(u'Host') == target.host_header
    assert len(request.headers) == 1


_BASES = tuple(parse_url(base) for base in (
    u'ws://me:secret@example.org/a/b?c=d', u'wss://example.org/', u'ws://[fe80::1%eth0]:81/x',
    u'ws+unix:///run/a.sock:/b'))


def location(data):
    """A redirect: the base, the status, whether the user passed a socket, the Location.

    Documented: HandshakeError, for a redirect that isn't followed.
    """
    read = Input(data)
    chain = RedirectChain.begin(read.choose(*_BASES))
    status = read.choose(*sorted(REDIRECT_STATUSES))
    has_socket = read.choose(False, True)
    head = 'HTTP/1.1 {} x\r\nLocation: '.format(status).encode('ascii') + read.rest()
    try:
        response = Response(head)
    except HandshakeError:
        return
    for _ in range(2):
        try:
            found = chain.follow(response, 5, has_socket)
        except HandshakeError as error:
            assert error.args[0]
            return
        if found is None:
            return
        check_target(found.target)
        assert found.target.is_secure or not chain.target.is_secure
        if found.is_cross_origin:
            assert not has_socket
            assert chain.target.unix_path is None
        else:
            assert found.target[:3] == chain.target[:3]
            assert found.target.unix_path == chain.target.unix_path
        assert found.redirects == chain.redirects + 1
        chain = found


def cookies(data):
    """Cookies that responses set and later requests send: lines of Set-Cookie.

    Nothing may be raised. A line that begins with '>' redirects.
    """
    chain = RedirectChain.begin(_BASES[0])
    jar = check_cookies(True)
    lines = []
    for line in data.split(b'\n') + [b'>']:
        if not line.startswith(b'>'):
            lines.append(b'Set-Cookie: ' + line)
            continue
        head = [b'HTTP/1.1 302 x', b'Location: ' + line[1:]] + lines
        lines = []
        try:
            response = Response(b'\r\n'.join(head))
        except HandshakeError:
            continue
        jar.store(response, chain)
        assert len(jar.jar) < MAX_COOKIES + MAX_COOKIES_PER_RESPONSE
        try:
            chain = chain.follow(response, 5) or chain
        except HandshakeError:
            pass
        fields = jar.add_to([(u'Cookie', b'own=1')], chain)
        assert [name for name, _value in fields] == [u'Cookie']
        value = fields[0][1]
        assert value.startswith(b'own=1') and len(parse_head(build_head(u'GET', fields))[1]) == 1


_folder = None


def _write(data):
    """Return the path of a file with these bytes."""
    global _folder  # noqa: PLW0603
    if _folder is None:
        _folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, _folder, True)
    path = os.path.join(_folder, 'netrc')
    with open(path, 'wb') as file:
        file.write(data)
    return path


def netrc(data):
    """A file of passwords. Documented: ConnectFail, whose message shows nothing of the content."""
    path = _write(data)
    netrc_file = NetrcFile(path)
    for host in (u'example.org', u'127.0.0.1'):
        try:
            found = netrc_file.find(host, True)
        except ConnectFail as error:
            assert error.phase == 'request' and error.cause is None
            return
        if found is not None:
            WebSocket(u'ws://' + host, netrc=path, proxies={}).build_request()


def headers(data):
    """The user's headers, in lines of name:value. Documented: ValueError."""
    pairs = [line.partition(b':')[::2] for line in data.split(b'\n')]
    try:
        fields = check_headers(pairs)
    except ValueError:
        return
    first, parsed = parse_head(build_head(u'GET / HTTP/1.1', fields))
    assert first == u'GET / HTTP/1.1'
    assert parsed.items() == [
        (name, value.decode('latin-1').strip(u' \t')) for name, value in fields]
