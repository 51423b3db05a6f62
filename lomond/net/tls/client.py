"""TLS: contexts, whom to trust, and how to begin it.

Only `tls` and the modules whose names begin so import ssl; they are imported
with the first wss connection.
"""

from __future__ import absolute_import, division, print_function

import hashlib
import logging
import os
import ssl
import sys
from functools import partial

import certifi

from lomond._compat import SESSIONS_LEAK, TYPE_CHECKING
from lomond._describe import describe
from lomond.net.steps import operation
from lomond.net.tls.transport import TLSTransport, handshake, handshake_within, speaks_no_tls

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Text, Tuple  # noqa: F401

    from lomond.net.options import TLSOptions  # noqa: F401
    from lomond.net.steps import Operation, Steps  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401

__all__ = [
    'TLS_ERRORS', 'TLSTransport', 'advise', 'client_context', 'handshake', 'secure',
    'server_context', 'speaks_no_tls',
]

log = logging.getLogger('lomond')

#: What making TLS raises: SSLError, unreadable files, names that TLS can't carry,
#: and CertificateError, a ValueError up to 3.6.
TLS_ERRORS = (EnvironmentError, ValueError)

#: How many sessions are kept to be resumed. A WebSocket has one server, and
#: those it is redirected to.
MAX_SESSIONS = 4

#: How many resumptions a WebSocket may try where each one leaks memory.
MAX_LEAKS = 64


# -- contexts --

def client_context(cafile=None, verify=True, certfile=None, keyfile=None, capath=None):
    # type: (Optional[str], bool, Optional[str], Optional[str], Optional[str]) -> ssl.SSLContext
    """Make a context that verifies the server, with TLS 1.2 or newer.

    Parameters: ``cafile`` and ``capath``, a file and a directory of
    certificates to trust, without either those of `find_authorities`.
    ``verify=False`` takes any certificate. ``certfile`` and ``keyfile``, the
    client's own certificate and its key.

    Raises one of `TLS_ERRORS`, which names the file that is to blame.
    """
    context = _new_context('PROTOCOL_TLS_CLIENT')
    if ssl.HAS_ALPN:
        context.set_alpn_protocols(['http/1.1'])
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        _load_authorities(context, cafile, capath)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certfile is not None:
        _load_own_certificate(context, certfile, keyfile)
    _log_keys(context)
    return context


def server_context(certfile, keyfile=None):
    # type: (str, Optional[str]) -> ssl.SSLContext
    """Make a server's context, with TLS 1.2 or newer.

    After a renewal call ``load_cert_chain`` on it: it counts from the next
    connection on.

    Raises one of `TLS_ERRORS`, which names the file that is to blame.
    """
    context = _new_context('PROTOCOL_TLS_SERVER')
    _load_own_certificate(context, certfile, keyfile)
    _log_keys(context)
    return context


def _new_context(protocol):
    # type: (str) -> ssl.SSLContext
    """Make a context for one of 3.6's protocols: TLS 1.2 or newer, and alike on every Python.

    Not by `ssl.create_default_context`: what that asks of a certificate differs. From 3.13
    on it is VERIFY_X509_STRICT, for which authorities that devices in the
    field have trusted for years lack an extension.
    """
    # 2.7 has but the one that leads to any version.
    context = ssl.SSLContext(getattr(ssl, protocol, ssl.PROTOCOL_SSLv23))
    context.options |= ssl.OP_NO_COMPRESSION    # 2.7 leaves it to OpenSSL; CVE-2012-4929
    # 3.8 and 3.9 take a cut connection for a clean end.
    context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
    if hasattr(context, 'minimum_version'):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= (
            ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    return context


def find_authorities(cafile=None):
    # type: (Optional[str]) -> Tuple[Optional[str], Optional[str]]
    """Return the file and the directory of certificates to trust, one of them maybe None.

    Those that SSL_CERT_FILE and SSL_CERT_DIR of the environment name now, or
    certifi's file; with ``cafile`` that one alone.
    """
    if cafile is not None:
        return cafile, None
    cafile = os.environ.get('SSL_CERT_FILE') or None
    capath = os.environ.get('SSL_CERT_DIR') or None
    if cafile is None and capath is None:
        cafile = certifi.where()
    return cafile, capath


def warn_of_no_check():
    # type: () -> None
    """Log that nothing makes sure of the server."""
    log.warning('TLS certificates are not verified: anyone on the way can read and '
                'change what is sent')


def _load_authorities(context, cafile, capath):
    # type: (ssl.SSLContext, Optional[str], Optional[str]) -> None
    if capath is None:
        cafile, capath = find_authorities(cafile)
    try:
        context.load_verify_locations(cafile, capath)
    except EnvironmentError as error:
        raise _explain(error, u'no certificates in {!r}'.format(cafile or capath))


def _load_own_certificate(context, certfile, keyfile):
    # type: (ssl.SSLContext, str, Optional[str]) -> None
    asked = []

    def guess():
        # type: () -> str
        # OpenSSL would ask on the terminal, where there may be nobody. (And
        # it may ask again, with an exception from in here still pending.)
        asked.append(True)
        return ''
    try:
        context.load_cert_chain(certfile, keyfile, guess)
    except EnvironmentError as error:
        if asked:
            raise ValueError('the key in {!r} is encrypted: decrypt it, or give an ssl_context '
                             'that has its password'.format(keyfile or certfile))
        files = u'{!r}'.format(certfile) if keyfile is None \
            else u'{!r} with the key {!r}'.format(certfile, keyfile)
        raise _explain(error, u'no certificate to use in {}'.format(files))


def _explain(error, words):
    # type: (EnvironmentError, Text) -> EnvironmentError
    """Return an error like this one, with words that name the file."""
    kind = ssl.SSLError if isinstance(error, ssl.SSLError) else IOError
    return kind(error.errno, u'{}: {}'.format(words, describe(error)))


def find_key_log():
    # type: () -> Optional[str]
    """Return the path that SSLKEYLOGFILE of the environment names now, or None."""
    if sys.flags.ignore_environment:
        return None
    return os.environ.get('SSLKEYLOGFILE') or None


def _log_keys(context):
    # type: (ssl.SSLContext) -> None
    """Write the keys into a file, for Wireshark and its like (3.8+)."""
    path = find_key_log()
    if path is None or not hasattr(context, 'keylog_filename'):
        return
    try:
        context.keylog_filename = path
    except EnvironmentError as error:
        log.warning(u'SSLKEYLOGFILE names %r, which can not be written: %s',
                    path, describe(error))


# -- what to do --

# OpenSSL's verdicts on a certificate (x509_vfy.h): the first are about who has signed it.
_UNTRUSTED = frozenset([2, 18, 19, 20, 21])
_OUT_OF_TIME = frozenset([9, 10])
_OTHER_NAME = frozenset([62, 64])

# What OpenSSL calls an answer that isn't TLS.
_NO_TLS = frozenset(['WRONG_VERSION_NUMBER', 'UNKNOWN_PROTOCOL', 'HTTP_REQUEST'])

_TIME_ADVICE = u'the certificate has expired or is not valid yet, or the clock here is wrong'


def advise(error, options, phase):
    # type: (BaseException, TLSOptions, str) -> Text
    """Return ': ' and what to do about an error of making TLS; nothing if that isn't known.

    Parameters: one of `TLS_ERRORS`; the options that were gone by; the phase,
    'tls' or 'proxy'.
    """
    reason = getattr(error, 'reason', None)
    verdict = getattr(error, 'verify_code', None)
    advice = None  # type: Optional[Text]
    if reason in _NO_TLS:
        advice = u'there is no TLS: the scheme without it is {}'.format(
            u'ws://' if phase == 'tls' else u'http://')
    elif verdict in _OTHER_NAME \
            or isinstance(error, ssl.CertificateError) and not isinstance(error, ssl.SSLError):
        advice = u'the certificate is for another name'
        if phase == 'tls':      # a proxy's is that of its URL
            advice += u': if that is the right one, give it as ssl_server_hostname'
    elif verdict in _OUT_OF_TIME:
        advice = _TIME_ADVICE
    elif verdict in _UNTRUSTED:
        advice = _tell_trusted(options)
    elif reason == 'CERTIFICATE_VERIFY_FAILED' and verdict is None:
        # Up to 3.6 Python doesn't tell any more.
        advice = u'{}; or {}'.format(_tell_trusted(options), _TIME_ADVICE)
    return u'' if advice is None else u': {}'.format(advice)


def _tell_trusted(options):
    # type: (TLSOptions) -> Text
    """Say which authorities are trusted, and how to trust another."""
    if options.has_context:
        return u'load the authority that signed the certificate into your ssl_context'
    if options.cafile is not None:
        return u'the authority that signed the certificate is not in ssl_cafile, {!r}'.format(
            options.cafile)
    cafile, capath = find_authorities()
    if os.environ.get('SSL_CERT_FILE') or os.environ.get('SSL_CERT_DIR'):
        trusted = u'what SSL_CERT_FILE or SSL_CERT_DIR names, {!r}'.format(cafile or capath)
    else:
        trusted = u"certifi's, {!r}".format(cafile)
    return (u'the authority that signed the certificate is not among those trusted here ({}): '
            u'give the file of its own certificate as ssl_cafile'.format(trusted))


# -- making TLS as a client --

@operation
def secure(transport, options, host, deadline):
    # type: (Transport, TLSOptions, str, float) -> Steps
    """Make TLS with a host on a transport, and check the host's certificate by the options.

    The result is the new transport, which takes the place of the other. Raises one of
    `TLS_ERRORS`; then nothing is left open.
    """
    secured = None  # type: Any
    try:
        context = options.context()
        name = options.server_hostname or _server_name(host)
        # What was verified then is what would be verified now: a handshake
        # that resumes looks at no certificate.
        key = (context, name, context.verify_mode, context.check_hostname, context.verify_flags)
        session = _take_session(options, key)
        secured = yield _begin(transport, context, deadline, name, session)
        _check_fingerprint(secured.certificate, options.fingerprints)
        secured.on_session = partial(_keep_session, options.sessions, key)
    except BaseException:
        (transport if secured is None else secured).close()
        raise
    yield secured


def _begin(transport, context, deadline, name, session):
    # type: (Transport, ssl.SSLContext, float, str, Any) -> Operation
    """Shake hands; a plain transport's socket is given to OpenSSL itself."""
    # What has been received already is in the transport: OpenSSL would miss it.
    if transport.is_secure or transport.has_pending():
        return handshake_within(transport, context, deadline, name, session)
    return _handshake_on(transport.detach(), context, deadline, name, session)


@operation
def _handshake_on(sock, context, deadline, name, session):
    # type: (Any, ssl.SSLContext, float, str, Any) -> Steps
    try:
        secured = yield handshake(sock, context, deadline, name, session)
    except BaseException:
        sock.close()
        raise
    yield secured


def _server_name(host):
    # type: (str) -> str
    """Return a host as certificates have it: without zone or final dot (RFC 6874 4, RFC 6066 3)."""
    return host.partition('%')[0].rstrip('.')


def _check_fingerprint(certificate, fingerprints):
    # type: (Optional[bytes], List[Text]) -> None
    if not fingerprints:
        return
    digest = hashlib.sha256(certificate or b'').hexdigest()
    # No secret: anyone who connects is shown the certificate.
    if digest not in fingerprints:
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, 'ssl_fingerprint names another certificate; '
                           'the SHA-256 of this one is {}'.format(digest))


def _take_session(options, key):
    # type: (TLSOptions, Any) -> Any
    """Return the `ssl.SSLSession` to resume, or None. The key begins with the context."""
    for other in list(options.sessions):
        if other[0] is not key[0]:      # by files that have changed since
            options.sessions.pop(other, None)
    owner = options.sessions.pop(key, None)     # RFC 8446 C.4: once is enough
    # Not asked before it is needed: many a client never connects again.
    if owner is None or SESSIONS_LEAK and options.resumptions >= MAX_LEAKS:
        return None
    options.resumptions += 1
    session = owner.session
    return session if session is not None and (session.has_ticket or session.id) else None


def _keep_session(sessions, key, owner):
    # type: (Dict[Any, Any], Any, Any) -> None
    # A copy: the loop may take one meanwhile, while a sender closes the last connection.
    for oldest in list(sessions)[:1 - MAX_SESSIONS]:
        sessions.pop(oldest, None)
    sessions[key] = owner
