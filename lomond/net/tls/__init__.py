"""TLS on a transport. This room alone knows ssl; the first wss connection imports it."""

from __future__ import absolute_import, division, print_function

from lomond.net.tls.client import (
    TLS_ERRORS,
    advise,
    client_context,
    secure,
    server_context,
    warn_of_no_check,
)
from lomond.net.tls.transport import TLSTransport, handshake, speaks_no_tls

__all__ = [
    'TLS_ERRORS', 'TLSTransport', 'advise', 'client_context', 'handshake', 'secure',
    'server_context', 'speaks_no_tls', 'warn_of_no_check',
]
