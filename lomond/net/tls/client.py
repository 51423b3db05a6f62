"""TLS with a server, or with a proxy, as its client: checks of the host, sessions to resume.

The handshake itself is in `handshake`, the words for what fails in `advice`.
"""

from __future__ import absolute_import, division, print_function

import hashlib
import logging
import ssl
from functools import partial

from lomond._compat import SESSIONS_LEAK, TYPE_CHECKING
from lomond.errors import ConnectFail
from lomond.net.closing import close_socket
from lomond.net.steps import operation
from lomond.net.tls.advice import explain_failure
from lomond.net.tls.contexts import shared_context
from lomond.net.tls.handshake import TLS_ERRORS, handshake, handshake_within

if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Text, Tuple  # noqa: F401

    from lomond.errors import Phase  # noqa: F401
    from lomond.net.options import TLSOptions  # noqa: F401
    from lomond.net.steps import Operation, Steps  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: How many sessions are kept to be resumed. A WebSocket has one server, and
#: those it is redirected to.
MAX_SESSIONS = 4

#: How many resumptions a WebSocket may try where each one leaks memory.
MAX_LEAKS = 64


class TLSClient(object):
    """Makes TLS for one WebSocket, and keeps what its next connection can use.

    That is the context, which it may share with other WebSockets, and the session, which it
    doesn't.
    """

    __slots__ = ('_contexts', '_resumptions', 'sessions')

    def __init__(self):
        # type: () -> None
        # The last one for each options, to keep it.
        self._contexts = {}  # type: Dict[TLSOptions, ssl.SSLContext]
        #: What the next connection may resume: objects with a ``session``, by a tuple that begins
        #: with the context, of all that has to be the same for that.
        self.sessions = {}  # type: Dict[Any, Any]
        self._resumptions = 0

    def context(self, options, logger=log):
        # type: (TLSOptions, Any) -> ssl.SSLContext
        """Return the user's context, or one of our own.

        Options that are equal share one, until a file that it was made of changes. Raises
        one of `TLS_ERRORS`.
        """
        is_first = options not in self._contexts
        context = options.context
        if context is None:
            context = shared_context(
                options.cafile, options.verify, options.certfile, options.keyfile)
            if is_first and not (options.verify or options.fingerprint):
                logger.warning('TLS certificates are not verified: anyone on the way can read and '
                               'change what is sent')
        self._contexts[options] = context
        return context      # type: ignore[no-any-return]

    @operation
    def secure(self, transport, host, options, deadline, phase, logger=log):
        # type: (Transport, str, TLSOptions, float, Phase, Any) -> Steps
        """Make TLS with a host on a transport, and check the host's certificate by the options.

        The result is the new transport, which replaces the other. Raises ConnectFail, with the
        ``phase``, 'tls' or 'proxy'; then nothing is left open.
        """
        secured = None  # type: Any
        try:
            context = self.context(options, logger)
            name = options.server_hostname or _server_name(host)
            # A handshake that resumes checks no certificate: what was checked when the session
            # was made must be what would be checked now.
            key = (context, name, phase, context.verify_mode, context.check_hostname,
                   context.verify_flags)
            session = self._take_session(key)
            secured = yield _shake_hands(transport, context, deadline, name, session)
            _check_fingerprint(secured.certificate, options.fingerprint)
            secured.on_session = partial(self.keep_session, key)
        except BaseException as error:
            (transport if secured is None else secured).close()
            if not isinstance(error, TLS_ERRORS):
                raise
            raise ConnectFail.during(phase, explain_failure(error, options, host, phase), error)
        yield secured

    def _take_session(self, key):
        # type: (Any) -> Any
        """Return the `ssl.SSLSession` to resume, or None. The key begins with the context."""
        contexts = list(self._contexts.values())
        for other in list(self.sessions):
            if other[0] not in contexts:        # its files have changed since
                self.sessions.pop(other, None)
        owner = self.sessions.pop(key, None)   # RFC 8446 C.4: once is enough
        # Its session is asked for only now: many clients never connect again.
        if owner is None or SESSIONS_LEAK and self._resumptions >= MAX_LEAKS:
            return None
        self._resumptions += 1
        session = owner.session
        return session if session is not None and (session.has_ticket or session.id) else None

    def keep_session(self, key, owner):
        # type: (Any, Any) -> None
        """Keep what has a session; called at the end of a connection, by any thread."""
        # A copy: the loop may take one meanwhile, while a sender closes the last connection.
        for oldest in list(self.sessions)[:1 - MAX_SESSIONS]:
            self.sessions.pop(oldest, None)
        self.sessions[key] = owner


def _shake_hands(transport, context, deadline, name, session):
    # type: (Transport, ssl.SSLContext, float, str, Any) -> Operation
    """Shake hands; a plain transport's socket is given to OpenSSL itself."""
    # OpenSSL, on the socket, wouldn't see what the transport has received already.
    if transport.is_secure or transport.has_pending():
        return handshake_within(transport, context, deadline, name, session)
    return _shake_hands_on(transport.detach(), context, deadline, name, session)


@operation
def _shake_hands_on(sock, context, deadline, name, session):
    # type: (Any, ssl.SSLContext, float, str, Any) -> Steps
    try:
        secured = yield handshake(sock, context, deadline, name, session)
    except BaseException:
        close_socket(sock)
        raise
    yield secured


def _server_name(host):
    # type: (str) -> str
    """Return a host as certificates have it: without zone or final dot (RFC 6874 4, RFC 6066 3)."""
    return host.partition('%')[0].rstrip('.')


def _check_fingerprint(certificate, fingerprints):
    # type: (Optional[bytes], Tuple[Text, ...]) -> None
    if not fingerprints:
        return
    digest = hashlib.sha256(certificate or b'').hexdigest()
    # It is no secret: the server shows its certificate to every client.
    if digest not in fingerprints:
        raise ssl.SSLError(ssl.SSL_ERROR_SSL, 'ssl_fingerprint names another certificate; '
                           'the SHA-256 of this one is {}'.format(digest))
