"""Writes the beginnings of the corpus: python -m fuzz.seeds

Each is small, and named for what it is. What a fuzzer found stands beside them,
under names that are hashes, and is left alone.
"""

from __future__ import absolute_import, division, print_function

import os
import zlib

from fuzz.builds import ACTIONS
from fuzz.targets import CORPUS
from lomond import extensions as negotiating
from lomond.extensions import PermessageDeflate
from lomond.protocol.connection import CLIENT, SERVER
from tests.protocol.examples import Checksum, Doubled
from tests.protocol.harness import KEY, Wire, raw_deflate
from tests.support import make_close, make_frame


def options(*values):
    """Return bytes of these values."""
    return bytes(bytearray(values))


def builds():
    whole = [(1, u'caf\xe9 \U0001f600'.encode('utf-8')), (2, b'\0\x80\xff' * 50), (9, b'ping')]
    for role, key in ((0, None), (1, KEY)):
        data = b''.join(make_frame(opcode, payload, key=key) for opcode, payload in whole)
        parts = make_frame(1, b'caf\xc3', fin=False, key=key) + make_frame(0, b'\xa9', key=key)
        deflated = make_frame(1, raw_deflate(b'1.5' * 60), rsv=0x40, key=key)
        for name, settings, sent in (
                ('plain', (0, 0, 0, 0, 0, 2, 2), data), ('parts', (1, 1, 0, 1, 0, 1, 1), parts * 3),
                ('floats', (0, 0, 1, 0, 0, 0, 0), make_frame(1, b'1.5', key=key)),
                ('limits', (90, 0, 0, 0, 0, 0, 0), data),
                ('deflated', (0, 0, 0, 1, 1, 0, 0), deflated),
                ('extension', (0, 0, 0, 0, 4, 0, 0), data)):
            for many in (0, 1):
                yield '{}-{}-{}'.format(name, role, many), options(role, *settings) + options(
                    3, 40, 90, 200, 5, 0, 3, 5, 7, 0, many) + sent
    data = make_frame(1, b'text') + make_frame(2, b'\x13\xff' * 100) + make_frame(9, b'\x10')
    for number in range(len(ACTIONS)):
        yield 'action-{}'.format(number), options(*[0] * 8) + options(
            4, 17, 60, 90, 130, 5, 5, number, 0, number, 9, 1) + data


def connection():
    frames = {
        'text': [(1, b'hello')],
        'binary': [(2, b'\0\xff')],
        'empty': [(1, b''), (2, b'')],
        'many': [(1, b'one'), (1, b'two'), (2, b'three')],
        'ping_pong': [(9, b'ping'), (10, b'pong'), (9, b'')],
        'unicode': [(1, u'a\xe9\u20ac\U0001f600'.encode('utf-8'))],
        'not_utf8': [(1, b'caf\xc3')],
        'surrogate': [(1, b'\xed\xa0\x80')],
        'close': [(1, b'x'), (8, b'\x03\xe8bye')],
        'close_empty': [(8, b'')],
        'close_half': [(8, b'\x03')],
        'close_unsent_code': [(8, b'\x03\xed')],
        'close_not_utf8': [(8, b'\x03\xe8\xff')],
        'length_125': [(1, b'x' * 125)],
        'length_126': [(1, b'x' * 126)],
        'length_200': [(2, b'y' * 200)],
        'control_125': [(9, b'z' * 125)],
        'control_126': [(9, b'z' * 126)],
        'reserved_opcode': [(3, b'')],
        'continuation_alone': [(0, b'x')],
    }
    parts = {
        'fragments': [(1, b'a\xc3', False), (9, b'between', True), (0, b'\xa9', False),
                      (0, b'', True)],
        'five_fragments': [(2, b'', False)] + [(0, b'x', False)] * 3 + [(0, b'', True)],
        'new_message_within': [(1, b'a', False), (1, b'b', True)],
        'ping_in_fragments': [(9, b'', False)],
    }
    for name, made in sorted(frames.items()):
        parts[name] = [(opcode, payload, True) for opcode, payload in made]
    for role, key in ((0, None), (1, KEY)):
        for name, made in sorted(parts.items()):
            data = b''.join(
                make_frame(opcode, payload, fin=fin, key=key) for opcode, payload, fin in made)
            limit = 0x0f if name in ('length_200', 'five_fragments') else 0
            yield '{}-{}'.format('server' if role else 'client', name), \
                options(role, 0, limit, 0, 2, 3, 1) + data
    spoilt = bytearray(raw_deflate(b'hello' * 9))
    spoilt[3] ^= 0x10
    deflated = [
        ('deflated', make_frame(1, raw_deflate(b'hello hello hello'), rsv=0x40)),
        ('deflated_fragments', make_frame(2, raw_deflate(b'hello')[:3], fin=False, rsv=0x40)
         + make_frame(0, raw_deflate(b'hello')[3:])),
        ('deflated_empty', make_frame(1, b'\0', rsv=0x40) * 2 + make_frame(1, b'', rsv=0x40)),
        ('deflated_and_plain', make_frame(1, raw_deflate(b'hi'), rsv=0x40) + make_frame(1, b'ho')),
        ('bomb', make_frame(2, raw_deflate(b'\0' * 1000), rsv=0x40)),
        ('spoilt', make_frame(1, bytes(spoilt), rsv=0x40)),
        ('rsv1_on_ping', make_frame(9, b'', rsv=0x40)),
        ('stream_ended', make_frame(2, b'\x03\x00' * 3 + b'\0', rsv=0x40)),
        ('stream_ended_bare', make_frame(1, b'\x03\x00', rsv=0x40) * 2
         + make_frame(1, b'\x4b\x04\x00', rsv=0x40)
         + make_frame(1, b'\x4b\x04\x00', fin=False, rsv=0x40) + make_frame(0, b'')
         + make_frame(1, raw_deflate(b'hi'), rsv=0x40)),
    ]
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    window = [
        (compressor.compress(b'hello') + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
        for _ in range(3)]
    deflated.append((
        'window', b''.join(make_frame(1, message, rsv=0x40) for message in window)))
    for size in (14, 15, 16):
        yield 'deflated_limit-{}'.format(size), options(0, 0, 0xf0, 1, 1, 4) \
            + make_frame(1, raw_deflate(b'x' * size), rsv=0x40)
    for name, data in deflated:
        yield name, options(0, 0, 0xf0, 1, 3, 1, 2, 3) + data
        yield name + '-no_takeover', options(0, 0, 0, 2, 1, 4) + data * 2
    yield 'after_our_close', options(0, 1, 0, 0, 0) + make_frame(9, b'x') + make_close(1000)
    for name, limit in (('frame', 0x05), ('message', 0x50), ('both', 0x55)):
        for role, key in ((0, None), (1, KEY)):
            data = make_frame(1, b'right', key=key) + make_frame(2, b'longer', key=key)
            yield 'limit_of_{}-{}'.format(name, role), options(role, 0, limit, 0, 1, 3) + data
    yield 'masked_to_client', options(0, 0, 0, 0, 0) + make_frame(1, b'x', key=KEY)
    yield 'unmasked_to_server', options(1, 0, 0, 0, 0) + make_frame(1, b'x')
    yield 'rsv1_not_agreed_on', options(0, 0, 0, 0, 0) + make_frame(1, b'x', rsv=0x40)
    yield 'length_64', options(0, 0, 0, 0, 0) + b'\x82\x7f' + b'\0\0\0\0\0\1\0\0' + b'x' * 9
    yield 'length_highest_bit', options(0, 0, 0x10, 0, 0) + b'\x82\x7f' + b'\x80' + b'\0' * 7
    yield 'length_not_shortest', options(0, 0, 0, 0, 0) + b'\x82\x7e\0\x05hello'


def transforms():
    text = u'a\xe9\u20ac\U0001f600'.encode('utf-8')
    for number, order in enumerate((
            (), (Checksum,), (Doubled,), (Checksum, Doubled), (Doubled, Checksum),
            (PermessageDeflate, Checksum), (Doubled, PermessageDeflate), (PermessageDeflate,))):
        for role in (CLIENT, SERVER):
            header, offered = negotiating.offer(order)
            value, of_server = negotiating.answer(header, order)
            sender = Wire(SERVER, extensions=of_server) if role == CLIENT else Wire(
                CLIENT, extensions=negotiating.accept(value, offered),
                random_bytes=lambda count: b'\1' * count)
            encoder = sender.connection.encoder
            data = encoder.encode(1, text, True) + encoder.encode_part(2, b'abc', False, True) \
                + encoder.encode(9, b'ping') + encoder.encode_part(2, b'', True) \
                + encoder.encode(2, b'x' * 40, True)
            yield '{}-{}'.format(role, number), options(
                role == SERVER, number, 0, 3, 1, 5, 9) + data + encoder.encode(8, b'\x03\xe8')
            yield '{}-{}-limit'.format(role, number), options(
                role == SERVER, number, 0x90, 0) + data
            spoilt = bytearray(data)
            spoilt[len(data) // 2] ^= 0x11
            yield '{}-{}-spoilt'.format(role, number), options(
                role == SERVER, number, 0, 1, 4) + bytes(spoilt)


def receive_buffer():
    for size in range(13):
        yield 'whole-{}'.format(size), options(0, 0, 0x82, size)
        yield 'cut-{}'.format(size), options(
            0, 0, 0x0a) + b'\x82\x7f\0\0\0\0\0\2\0\x05' + options(
            0xc0, 0x60, size, 0xc1, 0x60, 4, 0xc0, 0x60, 8)
    yield 'two', options(0, 0, 0x82, 8, 0xc0, 0x82, 9, 0xc0, 0x81, 4)
    yield 'fragments', options(0, 0, 0x92, 8, 0xc0, 0x89, 2, 0x80, 9)
    yield 'over_the_limit', options(1, 0, 0x82, 9)
    yield 'header_alone', options(0, 0, 0, 0x82, 8, 0xc0, 0x82, 9, 0xc0, 0x81, 0x14)
    deflated = make_frame(2, raw_deflate(b'x' * 9000), rsv=0x40)
    yield 'deflated', options(0, 1, len(deflated)) + deflated + options(0x82, 8)
    small = make_frame(9, b'ping') + make_close(1000, b'bye')
    yield 'and_small', options(0, 0, 0x82, 9, len(small)) + small


def close():
    for code in (0, 999, 1000, 1001, 1004, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000, 65535):
        yield str(code), options(code >> 8, code & 255)
    yield 'empty', b''
    yield 'half', b'\x03'
    yield 'reason', b'\x03\xe8' + u'a\xe9\u20ac\U0001f600'.encode('utf-8')
    yield 'surrogate', b'\x03\xe8\xed\xa0\x80'
    yield 'long', b'\x03\xe8' + b'x' * 123


UPGRADED = (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n')

DEFLATE = b'Sec-WebSocket-Extensions: permessage-deflate'


def response():
    answers = {
        'upgraded': UPGRADED + b'\r\n',
        'upgraded_text': UPGRADED + b'\r\n' + make_frame(1, b'hello') + make_close(1000),
        'protocol': UPGRADED + b'Sec-WebSocket-Protocol: chat\r\n\r\n',
        'protocol_not_offered': UPGRADED + b'Sec-WebSocket-Protocol: other\r\n\r\n',
        'deflate': UPGRADED + DEFLATE + b'; server_no_context_takeover\r\n\r\n'
        + make_frame(1, raw_deflate(b'hello'), rsv=0x40),
        'deflate_bits': UPGRADED + DEFLATE + b'; client_max_window_bits="9"\r\n\r\n',
        'deflate_unknown': UPGRADED + DEFLATE + b'; x=1\r\n\r\n',
        'accept_wrong': UPGRADED.replace(b's3p', b'S3p') + b'\r\n',
        'no_upgrade': b'HTTP/1.1 101 x\r\n\r\n',
        'http_1.0': UPGRADED.replace(b'HTTP/1.1', b'HTTP/1.0') + b'\r\n',
        'interim': b'HTTP/1.1 100 Continue\r\n\r\n' + UPGRADED + b'\r\n',
        'interims': b'HTTP/1.1 103 x\r\n\r\n' * 9,
        'length': b'HTTP/1.1 403 No\r\nContent-Length: 6\r\n\r\nsecretEND',
        'length_wrong': b'HTTP/1.1 403 No\r\nContent-Length: nonsense\r\n\r\nsecret',
        'chunked': b'HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n'
        b'6;x=y\r\nsecret\r\n3\r\nabc\r\n0\r\n\r\n',
        'chunked_wrong': b'HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n'
        b'2\r\nab\r\nnonsense\r\n',
        'no_content': b'HTTP/1.1 204 No\r\n\r\n',
        'not_modified': b'HTTP/1.1 304 Not Modified\r\n\r\nbody',
        'to_the_end': b'HTTP/1.1 500 x\r\n\r\nthe body',
        'cookies': b'HTTP/1.1 403 x\r\nSet-Cookie: a=b; Path=/\r\nSet-Cookie: c=d\r\n\r\n',
        'redirect': b'HTTP/1.1 302 Found\r\nLocation: /other\r\nSet-Cookie: a=b\r\n\r\nx'
        b'\n--\n' + UPGRADED + b'\r\n',
        'redirect_away': b'HTTP/1.1 307 x\r\nLocation: https://other.example/\r\n\r\n'
        b'\n--\nHTTP/1.1 301 x\r\nLocation: ws://example.org/\r\n\r\n',
        'not_http': b'220 smtp.example.org ESMTP\r\n\r\n',
        'status_short': b'HTTP/1.1 400\r\n\r\n',
        'folded': b'HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n',
        'nul': b'HTTP/1.1 200 OK\r\nA: \0\r\n\r\n',
        'unended': b'HTTP/1.1 200 OK\r\nA: ' + b'x' * 300,
    }
    for name, answer in sorted(answers.items()):
        yield name, options('deflate' in name, 'cookies' in name, 0, 0, 3, 30, 4, 1) + answer
    yield 'redirect_not_wanted', options(0, 0, 1, 0, 0) + answers['redirect']
    for name in ('unended', 'chunked', 'to_the_end'):
        yield name + '-small', options(0, 0, 0, 1, 2, 90, 9) + answers[name] + b'x' * 60


ASKED = (b'GET /chat?x=y HTTP/1.1\r\nHost: example.org\r\nUpgrade: websocket\r\n'
         b'Connection: keep-alive, Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
         b'Sec-WebSocket-Version: 13\r\n')


def request():
    requests = {
        'upgrade': ASKED + b'\r\n',
        'upgrade_text': ASKED + b'\r\n' + make_frame(1, b'hello', key=KEY),
        'upgrade_unmasked': ASKED + b'\r\n' + make_frame(1, b'hello'),
        'protocols': ASKED + b'Sec-WebSocket-Protocol: other, chat\r\n\r\n',
        'deflate': ASKED + DEFLATE + b'; client_max_window_bits\r\n\r\n'
        + make_frame(1, raw_deflate(b'hello'), rsv=0x40, key=KEY),
        'deflate_second': ASKED + DEFLATE + b'; x, permessage-deflate; '
        b'server_max_window_bits=10\r\n\r\n',
        'deflate_malformed': ASKED + DEFLATE + b'; =\r\n\r\n',
        'plain_get': b'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
        'post': ASKED.replace(b'GET', b'POST') + b'\r\n',
        'http_1.0': ASKED.replace(b'HTTP/1.1', b'HTTP/1.0') + b'\r\n',
        'version_8': ASKED.replace(b': 13', b': 8') + b'\r\n',
        'key_short': ASKED.replace(b'dGhl', b'') + b'\r\n',
        'no_host': ASKED.replace(b'Host', b'Most') + b'\r\n',
        'no_connection': ASKED.replace(b'Connection', b'X') + b'\r\n',
        'not_http': b'\x16\x03\x01\x02\0\x01\r\n\r\n',
        'empty': b'\r\n\r\n',
        'unended': ASKED + b'A: ' + b'x' * 200,
    }
    for name, asked in sorted(requests.items()):
        yield name, options('deflate' in name, 0, 3, 30, 4, 1) + asked
    yield 'unended-small', options(0, 1, 1, 9) + requests['unended']


def extensions():
    values = [
        b'', b'permessage-deflate', b'permessage-deflate; server_no_context_takeover',
        b'permessage-deflate; client_no_context_takeover; server_max_window_bits=10',
        b'permessage-deflate; client_max_window_bits', b'permessage-deflate, permessage-deflate',
        b'permessage-deflate; client_max_window_bits="1\\2"', b'foo; a=b; c="d e"', b', ,foo,',
        b'permessage-deflate; server_max_window_bits', b'permessage-deflate; x',
        b'permessage-deflate; client_max_window_bits=8; server_max_window_bits=8',
        b'permessage-deflate; server_max_window_bits=16', b'foo; =', b'foo;;', b'foo bar',
        b'foo; a="unended', b'permessage-deflate; client_max_window_bits; client_max_window_bits',
        b'permessage-deflate; server_no_context_takeover=1', b'foo; a="b\xe9"', b'\xe9',
        b'foo; a="b,c;\\"d=", permessage-deflate', b'permessage-deflate; x="a,b"', b'foo; a=""']
    for number, value in enumerate(values):
        yield '{:02}'.format(number), options(number % 4) + value


def proxy():
    http = {
        'ok': b'HTTP/1.1 200 OK\r\n\r\n',
        'ok_and_more': b'HTTP/1.0 200 OK\r\nVia: x\r\n\r\nmore',
        '407': b'HTTP/1.1 407 No\r\nProxy-Authenticate: Basic\r\n\r\n',
        '502': b'HTTP/1.1 502 \xe9\r\n\r\n',
        'interim': b'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
        'not_http': b'\x05\0\r\n\r\n',
        'unended': b'HTTP/1.1 200 OK\r\n',
    }
    for name, answer in sorted(http.items()):
        yield 'http-' + name, options(len(name) % 2, 0, 2, 5, 20) + answer
    socks4 = {'ok': b'\0\x5a' + b'\0' * 6, 'no': b'\0\x5b' + b'\0' * 6, 'more': b'\0\x5a12345678'}
    for name, answer in sorted(socks4.items()):
        yield 'socks4-' + name, options(2 + len(name) % 2, 0, 2, 1, 3) + answer
    socks5 = {
        'ok': b'\x05\0\x05\0\0\x01' + b'\0' * 6,
        'name': b'\x05\0\x05\0\0\x03\x03abc\0\x50',
        'ipv6': b'\x05\0\x05\0\0\x04' + b'\0' * 18 + b'more',
        'no': b'\x05\0\x05\x05\0\x01' + b'\0' * 6,
        'none_acceptable': b'\x05\xff',
        'version': b'\x04\0',
        'address_type': b'\x05\0\x05\0\0\x09' + b'\0' * 6,
    }
    for name, answer in sorted(socks5.items()):
        yield 'socks5-' + name, options(4, len(name) % 3, 2, 1, 3) + answer
    yield 'socks5-password', options(5, 0, 1, 2) + b'\x05\2\1\0\x05\0\0\x01' + b'\0' * 6
    yield 'socks5-password_wrong', options(5, 0, 1, 2) + b'\x05\2\1\1'


def url():
    urls = [
        u'ws://example.org', u'wss://example.org:8443/a/b?c=d', u'ws://me:p%40ss@example.org/',
        u'ws://[::1]:81/', u'ws://[fe80::1%25eth0]/', u'ws://b\xfccher.example/\xe9?\xe9 x',
        u'ws+unix:///run/a%20b.sock:/c?d', u'wss+unix:///a:/', u'ws+unix:///a', u'WS://Example.ORG',
        u'http://proxy:3128', u'https://proxy', u'socks5h://me:secret@proxy', u'proxy:3128',
        u'10.0.0.0/8', u'.example.org, 10.0.0.1:80', u'*', u'[::1]:80', u'::/0', u'ws://',
        u'ws://:80', u'ws://example.org:0', u'ws://example.org:65536', u'ws://a b/', u'ws://x#y',
        u'ws://example.org\\@x', u'ws://\u2100/', u'ws://example.org/\x7f', u'ws://@x', u'ws:/x',
        u'ws://' + u'a' * 64 + u'/', u'ws://example..org/', u'ws://x/%zz%', u'ws://%41/',
        u'ws://me:%ff@x/', u'ws://1.2.3.4:080/', u'//x', u'', u' ws://x/ ', u'ws://x\uff20y/',
        u'ws://x\uff0fy/', u'ws://x:\uff18/']
    for number, value in enumerate(urls):
        yield '{:02}'.format(number), value.encode('utf-8')
    yield 'surrogate', b'ws://x/\xed\xa0\x80'


def location():
    locations = [
        b'/other', b'g?y#s', b'../..', b'', b'?', b'//other.example/x', b'https://example.org/',
        b'http://example.org/', b'ws://me:pw@example.org/', b'HTTPS://Other.Example:443/x#y',
        b'/a b', b'/caf\xc3\xa9', b'/caf\xe9', b'ftp://x/', b'javascript:1', b'\\\\other', b'//',
        b'/x\r\nLocation: /x', b'/x\r\nLocation: /y', b'ws+unix:///a:/', b'//[::1]:8/', b'a:b',
        b'/./g/../h', b'.//x', b';x', b'ws:x', b'//\xff/']
    for number, value in enumerate(locations):
        yield '{:02}'.format(number), options(number % 4, number % 5, number % 7 == 0) + value


def cookies():
    yield 'one', b'a=b'
    yield 'many', b'a=b; Path=/\nc=d; Secure\ne=f; HttpOnly; SameSite=Lax'
    yield 'domain', b'a=b; Domain=.example.org\nc=d; Domain=other.example\n>//x.example.org/'
    yield 'expires', b'a=b; Expires=Wed, 09 Jun 2100 10:18:14 GMT\nb=c; Max-Age=0'
    yield 'expires_odd', b'a=b; expires=Wednesday, 09-Jun-99 1:2\na=b; max-age=x'
    yield 'no_value', b'a\n=b\n=\n;\n;;='
    yield 'quoted', b'a="b;c"; Version="1"; Port="80,81"'
    yield 'version', b'a=b; Version=1; Comment=x; Discard'
    yield 'own', b'own=2; Path=/a'
    yield 'latin', b'\xe9=\xff; Path=/\xe9'
    yield 'redirects', b'a=b; Path=/x\n>/x\nc=d\n>https://example.org/\ne=f; Secure'
    yield 'control', b'a=\x01\x7f\ta; Path=\x01'
    yield 'large', b'a=' + b'x' * 900


def netrc():
    yield 'one', b'machine example.org login me password secret\n'
    yield 'lines', b'machine example.org\n\tlogin me\n\tpassword "a b"\n\taccount x\n'
    yield 'default', b'machine a login b password c\ndefault login me password pw\n'
    yield 'macdef', b'macdef init\ncd /\n\nmachine example.org login me password pw\n'
    yield 'comment', b'# a comment\nmachine example.org # b\n login #me password #pw\n'
    yield 'half', b'machine example.org login'
    yield 'unknown', b'machine example.org what secret'
    yield 'not_utf8', b'machine example.org login \xff password \xe9'
    yield 'quote', b'machine "example.org" login "me\\"" password "'
    yield 'nul', b'machine example.org login \0 password \r\n'
    yield 'twice', b'machine example.org login a\nmachine EXAMPLE.org login b password c\n'


def headers():
    yield 'two', b'X-One: 1\nCookie: a=b'
    yield 'latin', b'X: \xe9'
    yield 'reserved', b'Upgrade: x'
    yield 'cr', b'X: a\rY: b'
    yield 'name', b'a b: c'
    yield 'proxy', b'Proxy-Authorization: x'


SEEDS = {
    'builds': builds,
    'close': close,
    'connection': connection,
    'cookies': cookies,
    'extensions': extensions,
    'headers': headers,
    'location': location,
    'netrc': netrc,
    'proxy': proxy,
    'receive_buffer': receive_buffer,
    'request': request,
    'response': response,
    'transforms': transforms,
    'url': url,
}


def main():
    for name, make in sorted(SEEDS.items()):
        folder = os.path.join(CORPUS, name)
        if not os.path.isdir(folder):
            os.makedirs(folder)
        for seed, data in make():
            with open(os.path.join(folder, seed), 'wb') as file:
                file.write(data)


if __name__ == '__main__':
    main()
