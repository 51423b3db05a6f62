"""RFC 6455 and 7692 once more, in the plainest way: a whole conversation.

Shares no code with lomond: it says what a `Connection` has to make of the same bytes.
"""

from __future__ import absolute_import, division, print_function

import zlib

from tests.support import xor

_TAIL = (0x80, 0xbf)

#: RFC 3629 4: first bytes, from and to, and those that follow.
_UTF8 = [
    (0x00, 0x7f, []),
    (0xc2, 0xdf, [_TAIL]),
    (0xe0, 0xe0, [(0xa0, 0xbf), _TAIL]),
    (0xe1, 0xec, [_TAIL, _TAIL]),
    (0xed, 0xed, [(0x80, 0x9f), _TAIL]),
    (0xee, 0xef, [_TAIL, _TAIL]),
    (0xf0, 0xf0, [(0x90, 0xbf), _TAIL, _TAIL]),
    (0xf1, 0xf3, [_TAIL, _TAIL, _TAIL]),
    (0xf4, 0xf4, [(0x80, 0x8f), _TAIL, _TAIL]),
]


class Fault(Exception):
    """The peer broke a rule; its argument is the close code, or BAD."""


class Unsure(Exception):
    """The model doesn't know: a deflate stream ended, and another may begin within the message."""


#: Of what is compressed may be wrong at once: it is too large, doesn't inflate, isn't UTF-8.
BAD = 'bad'


def is_utf8(data, is_whole):
    """Tell if this is UTF-8, or (if more is to come) can become it."""
    expected = []
    for byte in bytearray(data):
        if expected:
            (low, high), expected = expected[0], expected[1:]
            if not low <= byte <= high:
                return False
            continue
        for low, high, following in _UTF8:
            if low <= byte <= high:
                expected = following
                break
        else:
            return False
    return not (is_whole and expected)


def check_close(payload):
    """Return the code and the reason, both as they were sent; raises Fault."""
    if not payload:
        return 1005, b''
    if len(payload) == 1:
        raise Fault(1002)
    high, low = bytearray(payload[:2])
    code = high * 256 + low
    if code < 1000 or code in (1004, 1005, 1006) or 1015 <= code <= 2999 or code >= 5000:
        raise Fault(1002)
    if not is_utf8(payload[2:], True):
        raise Fault(1007)
    return code, payload[2:]


class Model(object):
    """The events and the replies that a connection has to make.

    Parameters: whether it is the server's end; its limits; whether it has
    sent its Close frame already; whether compression was agreed on, and
    whether the window stays from message to message. ``events``: a name, and
    what the event has (of a fault the close code). ``replies``: pairs of an
    opcode and a payload (of a fault the close code).
    """

    def __init__(self, is_server, limits, has_closed, deflates=False, takeover=True):
        self.events = []
        self.replies = []
        self._is_server = is_server
        self._limits = limits
        self._has_closed = has_closed
        self._deflates = deflates
        self._takeover = takeover
        self._inflater = zlib.decompressobj(-15)
        self._message = None    # the opcode and payload of the message that has begun

    def read(self, data):
        try:
            while data is not None:
                data = self._read_frame(data)
        except Fault as fault:
            code, = fault.args
            if self._deflates and code in (1007, 1009):
                code = BAD
            self.events.append(('protocol_error', code))
            if not self._has_closed:
                self.replies.append((8, code))
        return self

    def _read_frame(self, data):
        """Read a frame, or what there is of it; return what follows, None at the end."""
        if len(data) < 2:
            return None
        first, second = bytearray(data[:2])
        opcode, length = first & 15, second & 0x7f
        is_last = first >= 0x80
        if opcode not in (0, 1, 2, 8, 9, 10) or first & 0x30:
            raise Fault(1002)
        is_compressed = bool(first & 0x40)
        if is_compressed and not (self._deflates and opcode in (1, 2)):
            raise Fault(1002)
        if (second >= 0x80) is not self._is_server:
            raise Fault(1002)
        if opcode >= 8 and (not is_last or length > 125):
            raise Fault(1002)
        start = 2
        if length > 125:
            start = 4 if length == 126 else 10
        payload_start = start + (4 if self._is_server else 0)
        if len(data) < payload_start:
            return None
        if length > 125:
            shortest = 126 if length == 126 else 0x10000
            length = int(''.join('{:02x}'.format(byte) for byte in bytearray(data[2:start])), 16)
            if not shortest <= length < 1 << 63:
                raise Fault(1002)
        payload = data[payload_start:payload_start + length]
        if self._is_server:
            payload = xor(payload, data[start:payload_start])
        is_whole = len(payload) == length
        if opcode >= 8:
            if not is_whole:
                return None
            if self._control(opcode, payload):
                return None
        else:
            self._data(opcode, payload, length, is_last, is_whole, is_compressed)
        return data[payload_start + length:] if is_whole else None

    def _data(self, opcode, payload, length, is_last, is_whole, is_compressed):
        limits = self._limits
        if limits.frame is not None and length > limits.frame:
            raise Fault(1009)
        if (opcode == 0) is not (self._message is not None):
            raise Fault(1002)
        if opcode:
            self._message, self._fragments, self._size = (opcode, b''), 0, 0
            self._is_compressed = is_compressed
        self._fragments += 1
        self._size += length
        if limits.fragments is not None and self._fragments > limits.fragments \
                or limits.message is not None and self._size > limits.message:
            raise Fault(1009)
        opcode, gathered = self._message
        gathered += payload
        self._message = opcode, gathered
        is_last = is_last and is_whole
        if self._is_compressed:
            gathered = self._inflate(gathered, is_last)
        if opcode == 1 and not is_utf8(gathered, is_last):
            raise Fault(1007)
        if is_last:
            self._message = None
            self.events.append(
                ('text', gathered.decode('utf-8')) if opcode == 1 else ('binary', gathered))

    def _inflate(self, data, is_last):
        """Inflate a message, or what there is of it."""
        inflater = self._inflater.copy()
        limit = self._limits.message
        try:
            # RFC 7692 7.2.2
            inflated = inflater.decompress(
                data + b'\0\0\xff\xff' if is_last and data else data,
                0 if limit is None else limit + 1)
        except zlib.error:
            raise Fault(BAD)
        if limit is not None and len(inflated) > limit:
            raise Fault(BAD)
        left = len(inflater.unused_data)
        if left > (4 if is_last else 0):
            raise Unsure
        if is_last:     # what is left, if anything is, is of the four bytes above
            keeps = self._takeover and not left
            self._inflater = inflater if keeps else zlib.decompressobj(-15)
        return inflated

    def _control(self, opcode, payload):
        """Note a control frame; return True if it is the last of all."""
        if opcode == 9:
            self.events.append(('ping', payload))
            if not self._has_closed:
                self.replies.append((10, payload))
        elif opcode == 10:
            self.events.append(('pong', payload))
        else:
            code, reason = check_close(payload)
            self.events.append((
                'closed' if self._has_closed else 'closing', code, reason.decode('utf-8')))
            if not self._has_closed:
                self.replies.append((8, payload[:2]))
            return True
        return False
