"""Close codes (RFC 6455 7.4 and the IANA WebSocket close code registry)."""

from __future__ import absolute_import, division, print_function


class Status(object):
    """Names for the registered close codes."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    DATA_NOT_UNDERSTOOD = 1003
    NO_STATUS = 1005            # never on the wire: a Close frame with no code
    ABNORMAL = 1006             # never on the wire: no Close frame at all
    BAD_DATA = 1007
    POLICY_VIOLATION = 1008
    MESSAGE_TOO_LARGE = 1009
    EXTENSION_FAILED = 1010
    UNEXPECTED_CONDITION = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013
    BAD_GATEWAY = 1014
    TLS_HANDSHAKE = 1015        # never on the wire

    @classmethod
    def to_str(cls, code):
        # type: (int) -> str
        """Return the name of a close code in capitals, or ``CODE 4000`` for one without a name.

        The names are those of this class, for the codes of RFC 6455 7.4.1 and the IANA registry.
        """
        return _NAMES.get(code) or 'CODE {}'.format(code)


_NAMES = {code: name for name, code in vars(Status).items() if isinstance(code, int)}


_ON_THE_WIRE = frozenset(
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014]
)


def is_valid_on_wire(code):
    # type: (int) -> bool
    """Return whether a Close frame may carry this code (RFC 6455 7.4.1, 7.4.2)."""
    return code in _ON_THE_WIRE or 3000 <= code <= 4999
