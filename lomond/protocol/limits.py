"""How much a peer may make us hold. Every buffer of the protocol has a limit here."""

from __future__ import absolute_import, division, print_function

from collections import namedtuple

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401

#: ``head``: bytes of an HTTP head. ``body``: bytes kept of a rejection's body.
#: ``frame``: bytes of one frame's payload. ``message``: bytes of one message,
#: on the wire and inflated. ``fragments``: frames of one message. None is no
#: limit, for these three.
Limits = namedtuple('Limits', ['head', 'body', 'frame', 'message', 'fragments'])

MIB = 1024 * 1024

DEFAULT_LIMITS = Limits(
    head=64 * 1024,
    body=64 * 1024,
    frame=64 * MIB,
    message=64 * MIB,
    fragments=128 * 1024,
)


def message_limits(max_message_size):
    # type: (Optional[int]) -> Limits
    """Return the default limits with another size of message (bytes, or None)."""
    return DEFAULT_LIMITS._replace(frame=max_message_size, message=max_message_size)
