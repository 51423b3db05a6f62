"""TLS that fails: the ConnectFail names what was trusted, and the option that would help."""

from __future__ import absolute_import, division, print_function

import datetime
import ssl

import certifi
import pytest
import trustme

from lomond import WebSocket
from tests.network.driving import drain
from tests.support import RawServer, answer_upgrade, make_close, names

pytestmark = pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open')

#: OpenSSL's verdicts in numbers: older ones only say that it failed.
has_verdicts = hasattr(ssl, 'SSLCertVerificationError')


def accept_and_close(sock):
    answer_upgrade(sock)
    sock.sendall(make_close(1000))
    drain(sock)


def certify(authority, *identities, **options):
    """Make the context of a server with a certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*identities, **options).configure_cert(context)
    return context


def fail(server, **options):
    """Return the reason of a ConnectFail."""
    events = list(WebSocket(server.url, proxies={}, **options))
    assert names(events) == ['connecting', 'connect_fail']
    assert events[-1].phase == 'tls'
    return events[-1].reason


@pytest.fixture
def server(server_tls):
    with RawServer(accept_and_close, server_tls) as server:
        yield server


@pytest.fixture
def other_file(tmpdir):
    """The certificate of an authority that has signed nothing."""
    path = tmpdir.join('other.pem')
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


# -- an authority that isn't trusted --

def test_a_server_of_an_unknown_authority_names_certifi_and_ssl_cafile(server):
    reason = fail(server)
    assert 'certificate verify failed' in reason
    assert "certifi's" in reason
    assert certifi.where() in reason
    assert 'ssl_cafile' in reason


def test_the_authorities_of_ssl_cafile_are_named_if_they_were_trusted(server, other_file):
    reason = fail(server, ssl_cafile=other_file)
    assert other_file in reason
    assert 'ssl_cafile' in reason
    assert "certifi's" not in reason


def test_the_authorities_of_the_environment_are_named_if_they_were_trusted(
        server, other_file, monkeypatch):
    monkeypatch.setenv('SSL_CERT_FILE', other_file)
    reason = fail(server)
    assert other_file in reason
    assert 'SSL_CERT_FILE' in reason
    assert "certifi's" not in reason


def test_the_directory_of_the_environment_is_named_if_it_was_trusted(server, tmpdir, monkeypatch):
    monkeypatch.setenv('SSL_CERT_DIR', str(tmpdir))
    reason = fail(server)
    assert str(tmpdir) in reason
    assert 'SSL_CERT_DIR' in reason


def test_the_caller_s_own_context_is_told_of(server):
    context = ssl.create_default_context()
    reason = fail(server, ssl_context=context)
    assert 'ssl_context' in reason
    assert 'ssl_cafile' not in reason


def test_what_it_says_helps(server, authority_file):
    websocket = WebSocket(server.url, proxies={})
    assert list(websocket)[-1].name == 'connect_fail'
    websocket.ssl_cafile = authority_file
    assert list(websocket)[-1].graceful


# -- a certificate that doesn't fit --

def test_a_certificate_for_another_name_names_ssl_server_hostname(authority, authority_file):
    with RawServer(accept_and_close, certify(authority, u'other.example')) as server:
        reason = fail(server, ssl_cafile=authority_file)
        assert 'ssl_server_hostname' in reason
        assert "certifi's" not in reason
        websocket = WebSocket(server.url, proxies={}, ssl_cafile=authority_file,
                              ssl_server_hostname='other.example')
        assert list(websocket)[-1].graceful


def test_a_certificate_for_another_host_than_localhost_names_ssl_server_hostname(
        authority, authority_file):
    with RawServer(accept_and_close, certify(authority, u'other.example')) as server:
        server_url = server.url.replace(u'127.0.0.1', u'localhost')
        event = list(WebSocket(server_url, proxies={}, ssl_cafile=authority_file))[-1]
    assert 'ssl_server_hostname' in event.reason


def test_an_expired_certificate_names_the_clock(authority, authority_file):
    expired = certify(authority, u'127.0.0.1', not_after=datetime.datetime(2020, 1, 1))
    with RawServer(accept_and_close, expired) as server:
        reason = fail(server, ssl_cafile=authority_file)
    assert 'expired' in reason
    assert 'clock' in reason
    assert ('ssl_cafile' in reason) != has_verdicts     # without them it may be the reason, too


# -- no TLS at all --

def test_a_server_without_tls_is_told_by_its_words():
    def answer(sock):
        sock.recv(1)
        sock.sendall(b'HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n')
        drain(sock)

    with RawServer(answer) as plain:
        event = list(WebSocket(plain.url.replace(u'ws:', u'wss:'), proxies={}))[-1]
    assert event.phase == 'tls'
    assert 'ws://' in event.reason


def test_other_errors_get_no_advice():
    with RawServer(lambda sock: sock.recv(65536)) as plain:      # unread, it would be a reset
        event = list(WebSocket(plain.url.replace(u'ws:', u'wss:'), proxies={}))[-1]
    assert 'cut off' in event.reason
    assert 'ssl_' not in event.reason
