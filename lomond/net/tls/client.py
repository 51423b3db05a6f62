"""TLS with a server, or with a proxy, as its client: who it has to be, and sessions to resume."""

from __future__ import absolute_import, division, print_function

import hashlib
import ssl
from functools import partial

from lomond._compat import SESSIONS_LEAK, TYPE_CHECKING
from lomond.errors import ConnectFail
from lomond.net.steps import operation
from lomond.net.tls.advice import explain_failure
from lomond.net.tls.handshake import TLS_ERRORS, handshake, handshake_within

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Text  # noqa: F401

    from lomond.net.options import TLSOptions  # noqa: F401
    from lomond.net.steps import Operation, Steps  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401

#: How many sessions are kept to be resumed. A WebSocket has one server, and
#: those it is redirected to.
MAX_SESSIONS = 4

#: How many resumptions a WebSocket may try where each one leaks memory.
MAX_LEAKS = 64


@operation
def secure(transport, options, host, deadline, phase):
    # type: (Transport, TLSOptions, str, float, str) -> Steps
    """Make TLS with a host on a transport, and check the host's certificate by the options.

    The result is the new transport, which takes the place of the other. Raises ConnectFail, in
    the phase 'tls' or 'proxy' that is given; then nothing is left open.
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
    except BaseException as error:
        (transport if secured is None else secured).close()
        if not isinstance(error, TLS_ERRORS):
            raise
        raise ConnectFail.during(phase, explain_failure(error, options, host, phase), error)
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
