"""Targets: the heads of both handshakes, what extensions they name, and what proxies answer."""

from __future__ import absolute_import, division, print_function

import re

from fuzz.reading import Input, check_same, cut
from fuzz.wire import check_story
from lomond import WebSocket
from lomond.errors import ConnectFail, HandshakeError
from lomond.http.answer import ResponseReader
from lomond.http.grammar import is_token
from lomond.http.response import Response
from lomond.http.url import parse_proxy_url, parse_url
from lomond.net.proxy import tunnel
from lomond.net.proxy.socks import SocksExchange
from lomond.protocol.extensions import negotiation, permessage_deflate
from lomond.protocol.extensions.grammar import format_extension, parse_extensions
from lomond.protocol.extensions.permessage_deflate import DeflateOptions, PermessageDeflate
from lomond.protocol.handshake import RequestReader
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.server import ServerWebSocket
from lomond.testing import Inside
from tests.protocol.harness import story
from tests.support import accept_for, get_header

try:
    import python_socks
except (ImportError, SyntaxError):      # there is none for 2.7
    python_socks = None

#: The example of RFC 6455 1.3.
KEY = b'dGhlIHNhbXBsZSBub25jZQ=='

#: Between the answers of one server and those of the next, after a redirect.
NEXT_SERVER = b'\n--\n'

_SMALL = DEFAULT_LIMITS._replace(head=300, body=50)


def _tell(event):
    """Return what an event has to tell, in a form that compares."""
    if event.name == 'ready':
        return event.name, event.response.raw, event.protocol, sorted(event.extensions)
    if event.name == 'rejected':
        response = event.response
        return (event.name, event.reason) + (
            () if response is None else (response.raw, response.body))
    if event.name == 'redirected':
        return event.name, event.response.raw, event.url
    told, = story([event])
    # In a compressed message the first fault to be noticed depends on the cuts.
    if event.name == 'protocol_error' and event.close_code in (1007, 1009):
        return event.name, 'a bad message'
    return told


def _strict(head):
    """Return a response's head with its lines unfolded, each ending in CRLF."""
    return re.sub(br'\r?\n', b'\r\n', re.sub(br'[ \t]*\r?\n[ \t]+', b' ', head))


def _check_events(happened, first):
    """Assert that a handshake ended in one of the documented ways."""
    names = [event.name for event in happened]
    assert not names or names[0] in first, names
    if names[:1] == ['ready']:
        check_story(story(happened[1:]))
    else:
        assert len(names) <= 1, names
    for event in happened:
        if event.name == 'protocol_error' and names[0] != 'ready':
            assert event.critical and event.error


def response(data):
    """A server's answer, to a client that is connecting. Options, sizes of pieces, answers.

    Nothing may be raised. After a redirect, what comes behind NEXT_SERVER is
    the answer of the next.
    """
    read = Input(data)
    options = {
        'compress': read.choose(False, True),
        'cookies': read.choose(None, True),
        'max_redirects': read.choose(2, 0),
    }
    limits = read.choose(DEFAULT_LIMITS, _SMALL)
    sizes = read.sizes()
    answers = read.rest().split(NEXT_SERVER)

    def run(sizes):
        websocket = WebSocket(u'ws://example.org/a/b?c', proxies={}, protocols=['chat'], **options)
        told = []
        for answer in answers:
            inside = Inside(websocket)
            inside.key = KEY
            reader = inside.reader = ResponseReader(limits.head, limits.body)
            happened = []
            pieces = [piece for piece in cut(answer, sizes) if piece]
            for piece in pieces + [b'']:        # empty: the end of the stream
                happened.extend(websocket.feed(piece))
                # What is refused isn't kept apart.
                limit = limits.head if reader.response is None else limits.body
                assert reader.held <= limit or happened
                if happened and happened[-1].name == 'redirected':
                    break
            _check_events(happened, ('ready', 'rejected', 'redirected', 'protocol_error'))
            told.extend(_tell(event) for event in happened)
            if not happened or happened[-1].name != 'redirected':
                break
        if told and told[-1][0] in ('rejected', 'protocol_error') \
                or any(event[0] == 'ready' for event in told):
            assert websocket.state != 'connecting'
        for event in told:
            if event[0] == 'ready':
                assert get_header(_strict(event[1]), b'Sec-WebSocket-Accept') == accept_for(KEY)
            elif event[0] == 'rejected':
                assert len(event[3]) <= limits.body
        return told, websocket.state

    check_same(run(sizes), run([]))


def request(data):
    """A client's request, to the server's end. Options, sizes of pieces, the request.

    Nothing may be raised: a request is answered, by 101 or by why not.
    """
    read = Input(data)
    compress = read.choose(False, True)
    limits = read.choose(DEFAULT_LIMITS, _SMALL)
    sizes = read.sizes()
    asked = read.rest()

    def run(pieces):
        websocket = ServerWebSocket(
            None, None, protocols=['superchat', 'chat'], compress=compress)
        reader = Inside(websocket).reader = RequestReader(limits.head)
        happened = []
        answers = []
        for piece in pieces:
            happened.extend(websocket.feed(piece))
            answer = websocket.take_answer()
            if answer is not None:
                answers.append(answer)
                happened.extend(websocket.answered(None))
            # What is refused isn't kept apart.
            assert reader.held <= limits.head or happened
        _check_events(happened, ('ready', 'rejected'))
        if happened:
            answer = b''.join(answers)
            name = happened[0].name
            if name == 'ready':
                key = get_header(happened[0].response.raw, b'Sec-WebSocket-Key')
                assert Response(answer[:answer.index(b'\r\n\r\n')]).status_code == 101
                assert get_header(answer, b'Sec-WebSocket-Accept') == accept_for(key)
            else:
                head, _end, body = answer.partition(b'\r\n\r\n')
                assert Response(head).status_code in (400, 405, 426, 431)
                assert get_header(head, b'Content-Length') == str(len(body)).encode('ascii')
        return [_tell(event) for event in happened], answers, websocket.state

    check_same(run(cut(asked, sizes)), run([asked]))


_DEFLATE_OPTIONS = (
    DeflateOptions(),
    DeflateOptions(server_no_context_takeover=True, client_no_context_takeover=True),
    DeflateOptions(server_max_window_bits=10, client_max_window_bits=9),
    DeflateOptions(server_max_window_bits=8, client_max_window_bits=8),
)


def extensions(data):
    """A Sec-WebSocket-Extensions header, of an answer and of a request. An option, then the value.

    Documented: HandshakeError, for what breaks the grammar, and for an answer
    that wasn't offered.
    """
    read = Input(data)
    options = read.choose(*_DEFLATE_OPTIONS)
    value = read.rest().decode('latin-1')
    try:
        found = parse_extensions(value)
    except HandshakeError:
        return
    # What was read says the same when it is written down; no other value ever is.
    written = [item for item in found if all(
        value is None or is_token(value) for _name, value in item[1])]
    assert parse_extensions(u', '.join(format_extension(*item) for item in written)) == written

    answered = permessage_deflate.answer_offers(options, found)
    if answered is not None:
        parameters, codec = answered
        _check_codec(codec)
        assert codec.deflate_bits <= max(options.server_max_window_bits, 9)
        assert parse_extensions(format_extension(permessage_deflate.NAME, parameters)) == [
            (permessage_deflate.NAME, parameters)]
    try:
        agreed = negotiation.accept(value, [PermessageDeflate(options)])
    except HandshakeError:
        return
    assert len(agreed) == len(found)
    if agreed:
        codec = agreed[0].codec
        assert [name for name, _parameters in found] == [permessage_deflate.NAME]
        _check_codec(codec)
        assert codec.inflate_bits <= options.server_max_window_bits
        assert codec.deflate_bits <= max(options.client_max_window_bits, 9)
        assert not (options.client_no_context_takeover and codec.deflate_takeover)
        assert not (options.server_no_context_takeover and codec.inflate_takeover)


def _check_codec(codec):
    assert 9 <= codec.deflate_bits <= 15
    assert 8 <= codec.inflate_bits <= 15
    assert codec.compress(b'hello')


PROXIES = tuple(parse_proxy_url(url) for url in (
    u'http://proxy', u'http://me:secret@proxy:3128', u'socks4a://proxy', u'socks4://me@proxy',
    u'socks5://proxy', u'socks5h://me:secret@proxy'))

_PROXIED = tuple(parse_url(url) for url in (
    u'ws://example.org/', u'wss://[::1]:8443/', u'ws://127.0.0.1/'))


def proxy(data):
    """What a proxy answers. Which proxy, the target, sizes of pieces, the answer.

    Documented: ConnectFail, in the phase 'proxy'.
    """
    read = Input(data)
    chosen = read.choose(*PROXIES)
    target = read.choose(*_PROXIED)
    sizes = read.sizes()
    answer = read.rest()
    if chosen.is_socks and python_socks is None:
        return

    def run(pieces):
        if chosen.is_socks:
            exchange = SocksExchange(target, chosen)
        else:
            exchange = tunnel.ConnectExchange(target, chosen)
        pieces = [piece for piece in pieces if piece]
        for index, piece in enumerate(pieces + [b'']):      # empty: the end of the stream
            try:
                exchange.receive(piece) if piece else exchange.end()
            except ConnectFail as error:
                assert error.phase == 'proxy'
                words = error.args[0]
                assert 'secret' not in words
                return words
            if exchange.rest is not None:
                return exchange.output, exchange.rest + b''.join(pieces[index + 1:])
            if not chosen.is_socks:
                assert exchange.held <= max(tunnel.MAX_HEAD, tunnel.MAX_BODY)
        return exchange.output, None

    whole = run([answer])
    check_same(run(cut(answer, sizes)), whole)
    # No answer makes us wait for ever.
    filled = run([answer, b'\0' * (tunnel.MAX_HEAD + 1)])
    assert not isinstance(filled, tuple) or filled[1] is not None
