"""Constants of the opening handshake (RFC 6455 1.3 and 4.1)."""

from __future__ import absolute_import, division, print_function

from lomond import __version__

#: Default value of the User-Agent header.
USER_AGENT = 'Lomond/' + __version__

#: The GUID that turns Sec-WebSocket-Key into Sec-WebSocket-Accept.
WS_KEY = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'

#: The protocol version that this package supports, as in Sec-WebSocket-Version.
WS_VERSION = 13
