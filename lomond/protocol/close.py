"""What a Close frame says: a code and a reason, to bytes and back (RFC 6455 5.5.1, 7.4).

Depends on no state: `state` says whether a Close frame may be sent.
"""

from __future__ import absolute_import, division, print_function

import struct

from lomond._checks import instead_of, whole_number
from lomond._compat import TYPE_CHECKING, NamedTuple, decode_utf8, encode_text, text_type
from lomond.errors import InvalidPayload, ProtocolError
from lomond.protocol.frame import MAX_CONTROL_PAYLOAD
from lomond.status import Status, is_valid_on_wire

if TYPE_CHECKING:
    from typing import Optional, Union  # noqa: F401

#: The code and the reason of a Close frame; 1005 and u'' for one with an empty payload.
CloseFrame = NamedTuple('CloseFrame', [('code', int), ('reason', text_type)])

_code_struct = struct.Struct('!H')

#: The default reason of `close`.
GOODBYE = u'goodbye'

#: The longest reason that fits into a Close frame, in bytes of UTF-8.
MAX_REASON = MAX_CONTROL_PAYLOAD - _code_struct.size


def encode_close(code, reason):
    # type: (Optional[int], Union[bytes, text_type]) -> bytes
    """Build the payload of a Close frame.

    A reason of more than 123 bytes of UTF-8 is cut at a character. ``code`` None makes an empty
    payload. Raises ValueError for a code that may not be sent, and for a reason without a code
    unless it is the default, TypeError for other types.
    """
    if isinstance(reason, bytes):
        try:
            reason = decode_utf8(reason)
        except UnicodeDecodeError:
            raise ValueError('the close reason must be text, or bytes of UTF-8: these are not')
    elif not isinstance(reason, text_type):
        raise TypeError('the close reason must be text, not {!r}'.format(reason))
    if code is None:
        if reason not in (u'', GOODBYE):
            raise ValueError('a Close frame without a code has no reason (RFC 6455 5.5.1): give a '
                             'code, such as 1000, or no reason')
        return b''
    number = whole_number(code)
    if number is None:
        raise TypeError('the close code must be a whole number, {}'.format(instead_of(code)))
    if not is_valid_on_wire(number):
        raise ValueError(
            'close code {} may not be sent: use 1000 to 1003, 1007 to 1014 '
            'or 3000 to 4999 (RFC 6455 7.4)'.format(number))
    data = encode_text(reason)
    if len(data) > MAX_REASON:
        data = encode_text(data[:MAX_REASON].decode('utf-8', 'ignore'))
    return _code_struct.pack(number) + data


def decode_close(payload):
    # type: (bytes) -> CloseFrame
    """Return the code and the reason in the payload of a Close frame.

    Raises ProtocolError, or InvalidPayload if the reason isn't UTF-8.
    """
    if not payload:
        return CloseFrame(Status.NO_STATUS, u'')
    if len(payload) < _code_struct.size:
        raise ProtocolError('a Close frame with 1 byte of payload: a close code takes 2')
    code = _code_struct.unpack_from(payload)[0]  # type: int
    if not is_valid_on_wire(code):
        raise ProtocolError('a Close frame with code {}, which RFC 6455 7.4 forbids', code)
    try:
        return CloseFrame(code, decode_utf8(payload[_code_struct.size:]))
    except UnicodeDecodeError:
        raise InvalidPayload('a close reason that is not UTF-8')
