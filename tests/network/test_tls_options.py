"""TLS options on real connections: client certificates, the name to check, pins, key logs."""

from __future__ import absolute_import, division, print_function

import datetime
import gc
import hashlib
import logging
import socket
import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.backends import default_backend
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lomond import WebSocket
from lomond.net import tls
from lomond.server import Server
from tests.network.driving import drain
from tests.support import RawServer, answer_upgrade, names, read_head

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

LIFE = ['connecting', 'connected', 'ready', 'closing', 'disconnected']

can_log_keys = pytest.mark.skipif(
    not hasattr(ssl.SSLContext, 'keylog_filename'), reason='needs Python 3.8')


def hang_up(websocket):
    """Close after the first event."""
    for _event in websocket:
        return


def live(server, host=u'localhost', **options):
    """Go through a connection that the server ends; return the events."""
    url = u'wss://{}:{}/'.format(host, server.url.rpartition(u':')[2].strip(u'/'))
    return list(WebSocket(url, **options))


def fail(server, host=u'localhost', **options):
    """Try to connect; return the ConnectFail."""
    events = live(server, host, **options)
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls'
    return events[-1]


def context_for(certificate):
    """Return a server's context with a certificate of trustme's."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)
    return context


def fingerprint_of(certificate):
    """Return the SHA-256 of the first certificate of a chain of trustme's."""
    pem = certificate.cert_chain_pems[0].bytes().decode('ascii')
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


# -- the client's own certificate --

@pytest.fixture(scope='module')
def own(authority, tmpdir_factory):
    """Files of a client's certificate: chain, key, and both in one."""
    folder = tmpdir_factory.mktemp('own')
    certificate = authority.issue_cert(u'client.example')
    chain, key = certificate.cert_chain_pems[0].bytes(), certificate.private_key_pem.bytes()
    folder.join('chain.pem').write_binary(chain)
    folder.join('key.pem').write_binary(key)
    folder.join('both.pem').write_binary(key + chain)
    folder.join('encrypted.pem').write_binary(
        serialization.load_pem_private_key(key, None, default_backend()).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b'secret')))
    folder.join('other.pem').write_binary(
        authority.issue_cert(u'other.example').private_key_pem.bytes())
    folder.join('none.pem').write_binary(b'no key and no certificate')
    return folder


@pytest.fixture
def demanding_server(authority):
    """A server that wants a certificate of its clients; those that came are in `subjects`."""
    context = context_for(authority.issue_cert(u'localhost'))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    server = Server(hang_up, ssl_context=context)
    with server:
        yield server


@pytest.mark.parametrize('certfile, keyfile', [('chain.pem', 'key.pem'), ('both.pem', None)])
def test_client_certificate_is_shown(demanding_server, authority_file, own, certfile, keyfile):
    events = live(demanding_server, ssl_cafile=authority_file, ssl_certfile=str(own.join(certfile)),
                  ssl_keyfile=keyfile and str(own.join(keyfile)))
    assert names(events) == LIFE


def test_client_certificate_is_not_shown_to_a_server_that_a_redirect_led_away_to(
        authority, authority_file, own):
    shown = []

    def script(sock):
        shown.append(sock.getpeercert())
        if len(shown) == 1:
            read_head(sock)
            sock.sendall(u'HTTP/1.1 302 Found\r\nLocation: {}\r\n\r\n'.format(
                stranger.url).encode('ascii'))
        else:
            answer_upgrade(sock)

    context = context_for(authority.issue_cert(u'127.0.0.1'))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    with RawServer(script, context) as home, RawServer(script, context) as stranger:
        websocket = WebSocket(
            home.url, ssl_cafile=authority_file, ssl_certfile=str(own.join('both.pem')))
        for _ in range(2):
            del shown[:]
            events = list(websocket)
            assert 'redirected' in names(events) and 'ready' in names(events)
            assert shown[0] and not shown[1]


def test_server_that_wants_a_certificate_refuses_a_client_without(
        demanding_server, authority_file):
    events = live(demanding_server, ssl_cafile=authority_file)
    assert 'ready' not in names(events)     # in the handshake (1.2), or right after it (1.3)


@pytest.mark.parametrize('certfile, keyfile, word', [
    ('chain.pem', 'encrypted.pem', 'encrypted:'),       # OpenSSL would ask on the terminal
    ('chain.pem', 'other.pem', 'MISMATCH'),
    ('chain.pem', None, 'no certificate to use'),
    ('chain.pem', 'none.pem', 'no certificate to use'),
    ('none.pem', 'key.pem', 'no certificate to use'),
])
def test_certificate_of_no_use_is_a_connect_fail_that_names_the_file(
        server_tls, authority_file, own, certfile, keyfile, word):
    with Server(hang_up, ssl_context=server_tls) as server:
        event = fail(server, ssl_cafile=authority_file, ssl_certfile=str(own.join(certfile)),
                     ssl_keyfile=keyfile and str(own.join(keyfile)))
    assert word.lower() in event.reason.lower()
    assert str(own.join(keyfile or certfile)) in event.reason


def test_certificate_that_is_gone_is_a_connect_fail(server_tls, authority_file, own, tmpdir):
    path = tmpdir.join('both.pem')
    own.join('both.pem').copy(path)
    with Server(hang_up, ssl_context=server_tls) as server:
        websocket = WebSocket(server.url, ssl_cafile=authority_file, ssl_certfile=str(path))
        path.remove()
        events = list(websocket)
        assert names(events) == ['connecting', 'connect_fail']
        assert str(path) in events[-1].reason
        own.join('both.pem').copy(path)
        assert names(websocket) == LIFE


def test_encrypted_key_of_a_server_is_refused_too(own):
    with pytest.raises(ValueError) as caught:
        tls.server_context(str(own.join('chain.pem')), str(own.join('encrypted.pem')))
    assert 'encrypted.pem' in str(caught.value)


# -- the name --

def test_server_hostname_is_asked_for_and_checked_instead_of_the_urls_host(
        authority, authority_file):
    context = context_for(authority.issue_cert(u'feed.example.org'))
    asked, hosts = [], []
    context.set_servername_callback(lambda _sock, name, _context: asked.append(name))

    def handler(websocket):
        hosts.append(websocket.request.headers.get(u'Host'))
        hang_up(websocket)
    with Server(handler, ssl_context=context) as server:
        events = live(server, u'127.0.0.1', ssl_cafile=authority_file,
                      ssl_server_hostname='feed.example.org')
        assert names(events) == LIFE
        fail(server, u'127.0.0.1', ssl_cafile=authority_file)
        fail(server, u'127.0.0.1', ssl_cafile=authority_file, ssl_server_hostname='example.org')
    assert asked[0] == 'feed.example.org'
    assert hosts[0].startswith('127.0.0.1:')        # that is HTTP's


def test_server_hostname_may_be_an_address(authority, authority_file):
    with Server(hang_up, ssl_context=context_for(authority.issue_cert(u'192.0.2.1'))) as server:
        events = live(server, ssl_cafile=authority_file, ssl_server_hostname='192.0.2.1')
        assert names(events) == LIFE
        fail(server, ssl_cafile=authority_file, ssl_server_hostname='192.0.2.2')


@pytest.mark.skipif(not hasattr(ssl, 'HAS_NEVER_CHECK_COMMON_NAME'),
                    reason='up to 3.6 the ssl module takes addresses for names')
def test_address_is_not_asked_for(server_tls, authority_file):
    """RFC 6066 3: "Literal IPv4 and IPv6 addresses are not permitted"."""
    asked = []
    server_tls.set_servername_callback(lambda _sock, name, _context: asked.append(name))
    try:
        with Server(hang_up, ssl_context=server_tls) as server:
            assert names(live(server, u'127.0.0.1', ssl_cafile=authority_file)) == LIFE
    finally:
        server_tls.set_servername_callback(None)
    assert asked == [None]


@pytest.mark.parametrize('host', [u'localhost.', u'LOCALHOST'])
def test_dot_at_the_end_of_a_host_is_no_part_of_its_name(server_tls, authority_file, host):
    """RFC 6066 3: "without a trailing dot"."""
    def resolve(_host, *args):
        return socket.getaddrinfo('127.0.0.1', *args)
    with Server(hang_up, ssl_context=server_tls) as server:
        events = live(server, host, ssl_cafile=authority_file, resolver=resolve)
        assert names(events) == LIFE


# -- the fingerprint --

@pytest.fixture(scope='module')
def certificate(authority):
    return authority.issue_cert(u'localhost')


@pytest.fixture(scope='module')
def fingerprint(certificate):
    return fingerprint_of(certificate)


@pytest.fixture
def pinned_server(certificate):
    with Server(hang_up, ssl_context=context_for(certificate)) as server:
        yield server


def with_colons(digest):
    return ':'.join(digest[i:i + 2] for i in range(0, len(digest), 2)).upper()


@pytest.mark.parametrize('make', [
    str, str.upper, with_colons, lambda digest: ['0' * 64, digest]])
def test_right_fingerprint_connects(pinned_server, authority_file, fingerprint, make):
    events = live(pinned_server, ssl_cafile=authority_file, ssl_fingerprint=make(fingerprint))
    assert names(events) == LIFE


@pytest.mark.parametrize('has_context', [False, True])
@pytest.mark.parametrize('verify', [True, False])
def test_wrong_fingerprint_fails_before_the_request_and_names_the_right_one(
        certificate, authority_file, fingerprint, verify, has_context):
    received = []
    options = {'ssl_cafile': authority_file}
    if has_context:
        options = {'ssl_context': tls.client_context(authority_file)}
    with RawServer(lambda sock: received.append(drain(sock)), context_for(certificate)) as server:
        event = fail(server, ssl_verify=verify, ssl_fingerprint=['0' * 64, 'f' * 64], **options)
    assert fingerprint in event.reason
    assert isinstance(event.cause, ssl.SSLError)
    assert received == [b'']


def test_fingerprint_does_not_replace_the_chain_nor_the_name(
        pinned_server, authority_file, fingerprint):
    assert 'verify failed' in fail(pinned_server, ssl_fingerprint=fingerprint).reason
    fail(pinned_server, u'127.0.0.1', ssl_cafile=authority_file, ssl_fingerprint=fingerprint)


def test_fingerprint_alone_counts_if_nothing_is_verified(pinned_server, fingerprint, caplog):
    """So a certificate that nobody signed can be trusted. That is safe: nothing to warn of."""
    with caplog.at_level(logging.WARNING, logger='lomond'):
        events = live(pinned_server, u'127.0.0.1', ssl_verify=False, ssl_fingerprint=fingerprint)
    assert names(events) == LIFE
    assert not caplog.records


def test_fingerprint_counts_with_a_context_that_trusts_anyone(pinned_server, fingerprint):
    context = tls.client_context(verify=False)
    assert names(live(pinned_server, ssl_context=context, ssl_fingerprint=fingerprint)) == LIFE
    fail(pinned_server, ssl_context=context, ssl_fingerprint='0' * 64)


# -- SSLKEYLOGFILE --

@can_log_keys
def test_keys_are_logged_where_the_environment_says(
        server_tls, authority_file, tmpdir, monkeypatch):
    path = tmpdir.join('keys.txt')
    monkeypatch.setenv('SSLKEYLOGFILE', str(path))
    with Server(hang_up, ssl_context=server_tls) as server:
        assert names(live(server, ssl_cafile=authority_file)) == LIFE
    assert 'CLIENT_' in path.read()
    gc.collect()        # the file stays open as long as the context is there


@can_log_keys
def test_keys_of_a_context_of_the_callers_are_its_own_matter(
        server_tls, authority_file, tmpdir, monkeypatch):
    path = tmpdir.join('keys.txt')
    context = tls.client_context(authority_file)
    monkeypatch.setenv('SSLKEYLOGFILE', str(path))
    with Server(hang_up, ssl_context=server_tls) as server:
        assert names(live(server, ssl_context=context)) == LIFE
    assert not path.check()


@can_log_keys
def test_key_log_that_can_not_be_written_is_a_warning(
        server_tls, authority_file, own, tmpdir, monkeypatch, caplog):
    monkeypatch.setenv('SSLKEYLOGFILE', str(tmpdir))        # a directory
    with caplog.at_level(logging.WARNING, logger='lomond'):
        with Server(hang_up, ssl_context=server_tls) as server:
            assert names(live(server, ssl_cafile=authority_file)) == LIFE
        tls.server_context(str(own.join('both.pem')))
    assert [str(tmpdir) in record.getMessage() for record in caplog.records] == [True, True]


# -- alike on every Python --

def issue_as_of_old(tmpdir):
    """Return a server's context whose authority, in a file, lacks what RFC 5280 4.2.1 asks for."""
    def build(subject, issuer, key, signing_key, extension):
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
        builder = builder.public_key(key.public_key()).serial_number(1000)
        builder = builder.not_valid_before(datetime.datetime(2020, 1, 1))
        builder = builder.not_valid_after(datetime.datetime(2099, 1, 1))
        certificate = builder.add_extension(extension, False).sign(
            signing_key, hashes.SHA256(), default_backend())
        return certificate.public_bytes(serialization.Encoding.PEM)

    def name(text):
        return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
    root_key, key = [ec.generate_private_key(ec.SECP256R1(), default_backend()) for _ in range(2)]
    root = build(name(u'old root'), name(u'old root'), root_key, root_key,
                 x509.BasicConstraints(True, None))
    leaf = build(name(u'localhost'), name(u'old root'), key, root_key,
                 x509.SubjectAlternativeName([x509.DNSName(u'localhost')]))
    tmpdir.join('root.pem').write_binary(root)
    tmpdir.join('leaf.pem').write_binary(leaf + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    return tls.server_context(str(tmpdir.join('leaf.pem'))), str(tmpdir.join('root.pem'))


def test_authority_of_old_is_trusted_on_every_python(tmpdir):
    """`ssl.create_default_context` refuses it from 3.13 on: VERIFY_X509_STRICT."""
    context, root = issue_as_of_old(tmpdir)
    with Server(hang_up, ssl_context=context) as server:
        assert names(live(server, ssl_cafile=root)) == LIFE
        strict = tls.client_context(root)
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        fail(server, ssl_context=strict)        # a context of the caller's may be strict
    assert not tls.client_context(root).verify_flags & ssl.VERIFY_X509_STRICT
