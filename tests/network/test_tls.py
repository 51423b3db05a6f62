"""TLS on real connections: what is trusted, what is refused, and the caller's own context."""

from __future__ import absolute_import, division, print_function

import errno
import hashlib
import logging
import socket
import ssl
import struct
import warnings

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.backends import default_backend

from lomond._compat import monotonic
from lomond.net import tls
from lomond.net.tls.handshake import handshake, is_for_address
from lomond.net.waiter import READ, wait
from lomond.websocket import WebSocket

from ..support import PATIENCE, RawServer, answer_upgrade, make_frame, names, read_frame
from .driving import stall

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

FULL_LIFE = ['connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']


def greet(sock):
    """Accept, say hello, and answer the Close frame."""
    answer_upgrade(sock)
    sock.sendall(make_frame(1, b'hello'))
    first, payload = read_frame(sock)
    assert first == 0x88
    sock.sendall(make_frame(8, payload))


def serve(server_tls):
    return RawServer(greet, server_tls)


def live(url, **options):
    """Go through a connection, and close it after the first message; return the events."""
    websocket = WebSocket(url, **options)
    events = []
    for event in websocket:
        events.append(event)
        if event.name == 'text':
            websocket.close()
    return events


def stall_in_tls(server):
    """Try to connect, until connect_timeout; return the ConnectFail."""
    return stall(lambda timeout: WebSocket(url_for(server), connect_timeout=timeout),
                 lambda event: event.phase == 'tls')


def fail(url, **options):
    """Try to connect; return the ConnectFail, of the phase 'tls', and how long it took."""
    started = monotonic()
    events = live(url, **options)
    took = monotonic() - started
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls', events[-1]
    return events[-1], took


def url_for(server, host=u'localhost'):
    return u'wss://{}:{}/'.format(host, server.port)


@pytest.fixture(scope='session')
def other_authority_file(tmpdir_factory):
    """The certificate of an authority that signed nothing here."""
    path = tmpdir_factory.mktemp('tls').join('other.pem')
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


def subject_hash(pem):
    """Return the name, less '.0', that OpenSSL looks a certificate up by in a directory.

    X509_NAME_hash(3): of the SHA-1 of the subject in a canonical form.
    """
    subject = x509.load_pem_x509_certificate(pem, default_backend()).subject
    canonical = b''
    for attribute in subject:
        numbers = [int(number) for number in attribute.oid.dotted_string.split('.')]
        assert numbers[:3] == [2, 5, 4]         # id-at: the names in a certificate
        value = u' '.join(attribute.value.lower().split()).encode('utf-8')
        pair = (b'\x06\x03\x55\x04' + struct.pack('!B', numbers[3])
                + b'\x0c' + struct.pack('!B', len(value)) + value)
        pair = b'\x30' + struct.pack('!B', len(pair)) + pair
        canonical += b'\x31' + struct.pack('!B', len(pair)) + pair
    number, = struct.unpack('<I', hashlib.sha1(canonical).digest()[:4])
    return '{:08x}'.format(number)


def make_directory(tmpdir, authority):
    """Make a directory of certificates as c_rehash does; return its path."""
    pem = authority.cert_pem.bytes()
    tmpdir.join(subject_hash(pem) + '.0').write_binary(pem)
    return str(tmpdir)


# -- who is trusted --

def test_authority_of_ones_own_is_refused_by_default(server_tls):
    with serve(server_tls) as server:
        event, _took = fail(url_for(server))
    assert 'certificate verify failed' in event.reason
    assert 'localhost' in event.reason
    assert isinstance(event.cause, ssl.SSLError)


def test_authority_in_ssl_cafile_is_trusted(server_tls, authority_file):
    with serve(server_tls) as server:
        events = live(url_for(server), ssl_cafile=authority_file)
    assert names(events) == FULL_LIFE
    assert events[-1].graceful


def test_authority_in_ssl_cert_file_is_trusted(server_tls, authority_file, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', authority_file)
    with serve(server_tls) as server:
        assert names(live(url_for(server))) == FULL_LIFE


def test_authority_in_ssl_cert_dir_is_trusted(server_tls, authority, tmpdir, monkeypatch):
    monkeypatch.setenv('SSL_CERT_DIR', make_directory(tmpdir, authority))
    with serve(server_tls) as server:
        assert names(live(url_for(server))) == FULL_LIFE


def test_file_and_directory_of_the_environment_count_both(
        server_tls, authority, other_authority_file, tmpdir, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', other_authority_file)
    monkeypatch.setenv('SSL_CERT_DIR', make_directory(tmpdir, authority))
    with serve(server_tls) as server:
        assert names(live(url_for(server))) == FULL_LIFE


def test_environment_takes_the_place_of_certifi(monkeypatch, other_authority_file):
    by_certifi = tls.client_context().cert_store_stats()['x509_ca']
    monkeypatch.setenv('SSL_CERT_FILE', other_authority_file)
    assert tls.client_context().cert_store_stats()['x509_ca'] == 1 < by_certifi


@pytest.mark.parametrize('name', ['SSL_CERT_FILE', 'SSL_CERT_DIR'])
def test_empty_variable_is_none(name, monkeypatch):
    by_certifi = tls.client_context().cert_store_stats()
    monkeypatch.setenv(name, '')
    assert tls.client_context().cert_store_stats() == by_certifi


def test_ssl_cafile_wins_over_the_environment(
        server_tls, authority, authority_file, other_authority_file, tmpdir, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', authority_file)
    monkeypatch.setenv('SSL_CERT_DIR', make_directory(tmpdir, authority))
    with serve(server_tls) as server:
        event, _took = fail(url_for(server), ssl_cafile=other_authority_file)
        assert 'certificate verify failed' in event.reason
        monkeypatch.setenv('SSL_CERT_FILE', other_authority_file)
        monkeypatch.delenv('SSL_CERT_DIR')
        assert names(live(url_for(server), ssl_cafile=authority_file)) == FULL_LIFE


@pytest.mark.parametrize('content', [b'', b'no certificate'])
def test_file_without_certificates_is_a_connect_fail(server_tls, tmpdir, content):
    path = tmpdir.join('authority.pem')
    path.write_binary(content)
    with serve(server_tls) as server:
        event, _took = fail(url_for(server), ssl_cafile=str(path))
    assert 'authority.pem' in event.reason


def test_missing_file_of_the_environment_is_a_connect_fail(server_tls, tmpdir, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', str(tmpdir.join('authority.pem')))
    with serve(server_tls) as server:
        event, _took = fail(url_for(server))
    assert 'authority.pem' in event.reason


def test_missing_ssl_cafile_raises_value_error(tmpdir):
    with pytest.raises(ValueError) as caught:
        WebSocket(u'wss://localhost/', ssl_cafile=str(tmpdir.join('authority.pem')))
    assert 'authority.pem' in str(caught.value)


# -- who it is --

def test_wrong_host_name_is_refused(authority, authority_file):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'example.org').configure_cert(context)
    with serve(context) as server:
        event, _took = fail(url_for(server), ssl_cafile=authority_file)
    assert 'localhost' in event.reason


def test_certificate_for_an_address_serves_that_address(authority, authority_file):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'127.0.0.1').configure_cert(context)
    with serve(context) as server:
        events = live(url_for(server, u'127.0.0.1'), ssl_cafile=authority_file)
        assert names(events) == FULL_LIFE
        fail(url_for(server), ssl_cafile=authority_file)


@pytest.mark.parametrize('name', [u'127.0.0.2', u'localhost', u'::1'])
def test_certificate_for_another_name_does_not_serve_an_address(authority, authority_file, name):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    with serve(context) as server:
        fail(url_for(server, u'127.0.0.1'), ssl_cafile=authority_file)


@pytest.mark.parametrize('certificate, host, expected', [
    ({'subjectAltName': (('IP Address', '127.0.0.1'),)}, '127.0.0.1', True),
    ({'subjectAltName': (('DNS', 'a'), ('IP Address', '127.0.0.1'))}, '127.0.0.1', True),
    ({'subjectAltName': (('IP Address', '0:0:0:0:0:0:0:1\n'),)}, '::1', True),
    ({'subjectAltName': (('IP Address', '127.0.0.2'),)}, '127.0.0.1', False),
    ({'subjectAltName': (('DNS', '127.0.0.1'),)}, '127.0.0.1', False),
    ({'subjectAltName': (('IP Address', 'example.org'),)}, 'example.org', False),
    ({'subjectAltName': (('IP Address', '<invalid>'),)}, '127.0.0.1', False),
    ({}, '127.0.0.1', False),
])
def test_addresses_of_a_certificate(certificate, host, expected):
    """On 2.7 it is us who compare them."""
    assert is_for_address(certificate, host) is expected


def test_name_of_the_server_is_sent(authority, authority_file):
    """RFC 6066 3."""
    told = []
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost').configure_cert(context)
    context.set_servername_callback(lambda _sock, name, _context: told.append(name))
    with serve(context) as server:
        assert names(live(url_for(server), ssl_cafile=authority_file)) == FULL_LIFE
    assert told == ['localhost']


def test_http_1_1_is_asked_for(authority, authority_file):
    """RFC 7301: so a server that speaks HTTP/2 too doesn't."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost').configure_cert(context)
    context.set_alpn_protocols(['h2', 'http/1.1'])
    chosen = []

    def script(sock):
        chosen.append(sock.selected_alpn_protocol())
        greet(sock)
    with RawServer(script, context) as server:
        assert names(live(url_for(server), ssl_cafile=authority_file)) == FULL_LIFE
    assert chosen == ['http/1.1']


# -- versions --

def old_context(purpose):
    """Make a context for TLS 1.1 at most, or skip."""
    context = ssl.SSLContext(purpose)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        if hasattr(context, 'minimum_version'):
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        else:
            context.options |= ssl.OP_NO_TLSv1_2 | getattr(ssl, 'OP_NO_TLSv1_3', 0)
            context.options &= ~(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    try:
        context.set_ciphers('DEFAULT:@SECLEVEL=0')      # OpenSSL 3 has it off otherwise
    except ssl.SSLError:
        context.set_ciphers('DEFAULT')                  # OpenSSL 1.0
    return context


def test_server_with_tls_1_1_only_is_refused(authority, authority_file):
    protocols = (
        getattr(ssl, 'PROTOCOL_TLS_SERVER', ssl.PROTOCOL_SSLv23),
        getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23))
    server_context, client_context = map(old_context, protocols)
    authority.issue_cert(u'localhost').configure_cert(server_context)
    authority.configure_trust(client_context)
    with serve(server_context) as server:
        events = live(url_for(server), ssl_context=client_context)
        if names(events) != FULL_LIFE:
            pytest.skip('OpenSSL makes no TLS 1.1 here: {}'.format(events[-1].reason))
        fail(url_for(server), ssl_cafile=authority_file)
        fail(url_for(server), ssl_verify=False)


def test_tls_1_2_is_accepted(authority, authority_file):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost').configure_cert(context)
    if hasattr(context, 'maximum_version'):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= getattr(ssl, 'OP_NO_TLSv1_3', 0)
    versions = []
    with serve(context) as server:
        websocket = WebSocket(
            url_for(server), ssl_cafile=authority_file,
            trace=lambda record: versions.extend(
                [record['version']] if record['stage'] == 'tls' else []))
        for event in websocket:
            if event.name == 'text':
                websocket.close()
    assert versions == ['TLSv1.2']


# -- options --

def test_ssl_verify_false_takes_any_certificate_and_warns(server_tls, caplog):
    with caplog.at_level(logging.WARNING, logger='lomond'), serve(server_tls) as server:
        events = live(url_for(server), ssl_verify=False)
    assert names(events) == FULL_LIFE
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1
    assert 'not verified' in warned[0].getMessage()


def test_verified_connection_warns_of_nothing(server_tls, authority_file, caplog):
    with caplog.at_level(logging.WARNING, logger='lomond'), serve(server_tls) as server:
        live(url_for(server), ssl_cafile=authority_file)
    assert not caplog.records


def test_context_is_made_once_for_a_websocket(server_tls, authority_file):
    """Loading certificates takes long; `persist` connects often."""
    with serve(server_tls) as server:
        websocket = WebSocket(url_for(server), ssl_cafile=authority_file)
        contexts = []
        for _ in range(2):
            for event in websocket:
                if event.name == 'text':
                    websocket.close()
            contexts.append(websocket.dialer.tls.context(websocket.net_options.tls))
    assert contexts[0] is contexts[1]


def look(context):
    """Return what a context can be compared by."""
    return {
        name: getattr(context, name) for name in (
            'options', 'verify_mode', 'verify_flags', 'check_hostname', 'protocol',
            'minimum_version', 'maximum_version', 'sni_callback', 'keylog_filename')
        if hasattr(context, name)
    }, context.cert_store_stats()


def unverifying():
    context = ssl.SSLContext(getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23))
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.parametrize('make', [ssl.create_default_context, unverifying])
@pytest.mark.parametrize('options', [
    {}, {'ssl_verify': False}, {'ssl_verify': True, 'ssl_cafile': 'other'}])
def test_context_of_the_caller_is_used_as_it_is(
        server_tls, authority, other_authority_file, make, options, caplog):
    if 'ssl_cafile' in options:
        options = dict(options, ssl_cafile=other_authority_file)
    context = make()
    if context.verify_mode != ssl.CERT_NONE:
        authority.configure_trust(context)
    before = look(context)
    with serve(server_tls) as server:
        assert names(live(url_for(server), ssl_context=context, **options)) == FULL_LIFE
    assert look(context) == before
    assert not caplog.records


def test_context_of_the_caller_that_trusts_nobody_is_obeyed(server_tls, authority_file):
    with serve(server_tls) as server:
        fail(url_for(server), ssl_context=ssl.create_default_context(), ssl_verify=False,
             ssl_cafile=authority_file)


def test_client_certificate_of_the_callers_context_is_sent(authority):
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost').configure_cert(server_context)
    authority.configure_trust(server_context)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    authority.issue_cert(u'client.example').configure_cert(client_context)
    seen = []

    def script(sock):
        seen.append(sock.getpeercert()['subjectAltName'])
        greet(sock)
    with RawServer(script, server_context) as server:
        events = live(url_for(server), ssl_context=client_context)
        assert names(events) == FULL_LIFE
        assert seen == [(('DNS', 'client.example'),)]
        # Without one: refused, in the handshake (1.2) or right after it (1.3).
        bare_context = ssl.create_default_context()
        authority.configure_trust(bare_context)
        events = live(url_for(server), ssl_context=bare_context)
    assert names(events)[-1] in ('connect_fail', 'disconnected')
    assert 'ready' not in names(events)


def test_server_context_requires_tls_1_2(authority, tmpdir):
    certificate = authority.issue_cert(u'localhost')
    chain, key = tmpdir.join('chain.pem'), tmpdir.join('key.pem')
    certificate.cert_chain_pems[0].write_to_path(str(chain))
    certificate.private_key_pem.write_to_path(str(key))
    context = tls.server_context(str(chain), str(key))
    client_context = old_context(getattr(ssl, 'PROTOCOL_TLS_CLIENT', ssl.PROTOCOL_SSLv23))
    authority.configure_trust(client_context)
    with serve(context) as server:
        fail(url_for(server), ssl_context=client_context)
        good_context = ssl.create_default_context()
        authority.configure_trust(good_context)
        assert names(live(url_for(server), ssl_context=good_context)) == FULL_LIFE


# -- servers that speak no TLS --

def read_to_the_end(sock):
    while sock.recv(4096):
        pass


def test_server_that_never_answers_ends_at_the_deadline():
    with RawServer(read_to_the_end) as server:
        assert 'timed out' in stall_in_tls(server).reason


def test_server_that_drips_ends_at_the_deadline():
    """The header of a TLS record that never comes to its end."""
    def script(sock):
        sock.sendall(b'\x16\x03\x03')
        read_to_the_end(sock)
    with RawServer(script) as server:
        assert 'timed out' in stall_in_tls(server).reason


@pytest.mark.parametrize('answer', [
    b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n', b'SSH-2.0-OpenSSH_9.6\r\n',
    b'\x15\x03\x01\x00\x02\x02\x28', b'\0' * 1000])
def test_server_that_speaks_something_else_is_a_connect_fail(answer):
    def script(sock):
        sock.recv(4096)
        sock.sendall(answer)
        read_to_the_end(sock)
    with RawServer(script) as server:
        event, _took = fail(url_for(server))
    assert isinstance(event.cause, ssl.SSLError)


def test_connection_that_broke_before_tls_leaves_nothing_open():
    """From 3.8 to 3.12 `wrap_socket` leaves its socket open then."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(1)
    sock = socket.create_connection(listener.getsockname(), PATIENCE)
    peer, _address = listener.accept()
    listener.close()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    peer.close()        # that's a reset
    assert wait(((sock.fileno(), READ),), PATIENCE)
    with pytest.raises(socket.error) as caught:
        next(handshake(sock, tls.client_context(), monotonic() + PATIENCE, 'localhost'))
    assert caught.value.errno == errno.ECONNRESET
    sock.close()


@pytest.mark.parametrize('start', [b'', b'\x16\x03\x03\x00'])
def test_server_that_closes_is_a_connect_fail_in_words(start):
    def script(sock):
        sock.recv(4096)
        sock.sendall(start)
    with RawServer(script) as server:
        event, _took = fail(url_for(server))
    assert 'the connection was cut off' in event.reason


def test_close_ends_the_wait_for_tls():
    def script(sock):
        websocket.close()
        read_to_the_end(sock)
    with RawServer(script) as server:
        websocket = WebSocket(url_for(server))
        assert names(list(websocket)) == ['connecting', 'connect_fail']


def test_loop_left_during_the_handshake_leaves_nothing_open():
    with RawServer(read_to_the_end) as server:
        events = WebSocket(url_for(server)).connect()
        assert next(events).name == 'connecting'
        events.close()
