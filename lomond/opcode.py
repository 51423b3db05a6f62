"""Frame opcodes (RFC 6455 5.2 and 11.8)."""

from __future__ import absolute_import, division, print_function


class Opcode(object):
    """The opcodes that RFC 6455 defines; 8 and above are control frames."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10

    @classmethod
    def to_str(cls, opcode):
        # type: (int) -> str
        """Return the name of an opcode in capitals, or ``OPCODE 0x3`` for an unknown one."""
        return _NAMES.get(opcode) or 'OPCODE 0x{:X}'.format(opcode)


_NAMES = {
    Opcode.CONTINUATION: 'CONTINUATION',
    Opcode.TEXT: 'TEXT',
    Opcode.BINARY: 'BINARY',
    Opcode.CLOSE: 'CLOSE',
    Opcode.PING: 'PING',
    Opcode.PONG: 'PONG',
}
