"""How much a peer can make a connection hold. Every buffer of the protocol has a limit here."""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, NamedTuple
from lomond.http.answer import MAX_BODY, MAX_HEAD

if TYPE_CHECKING:
    from typing import Optional  # noqa: F401

#: ``head``: bytes of an HTTP head. ``body``: bytes kept of a rejection's body. ``frame``: bytes of
#: one frame's payload. ``message``: bytes of one message, on the wire and inflated. ``fragments``:
#: frames of one message. For the last three None is no limit.
Limits = NamedTuple('Limits', [
    ('head', int), ('body', int), ('frame', 'Optional[int]'), ('message', 'Optional[int]'),
    ('fragments', 'Optional[int]')])

#: What a connection holds at the moment. ``leftover``: bytes of a header or a control frame that
#: isn't whole. ``payload``: bytes, or characters, of a message that isn't whole; ``pieces``: the
#: objects they are in. ``buffer``: bytes of memory for large messages, used or not.
Held = NamedTuple('Held', [
    ('leftover', int), ('payload', int), ('pieces', int), ('buffer', int)])

MIB = 1024 * 1024

DEFAULT_LIMITS = Limits(
    head=MAX_HEAD,
    body=MAX_BODY,
    frame=64 * MIB,
    message=64 * MIB,
    fragments=128 * 1024,
)

# The latest: one object for all connections with the same.
_latest = [DEFAULT_LIMITS]


def message_limits(max_message_size):
    # type: (Optional[int]) -> Limits
    """Return the default limits with another size of message (bytes, or None)."""
    limits = _latest[0]
    if limits.message != max_message_size:
        limits = _latest[0] = DEFAULT_LIMITS._replace(
            frame=max_message_size, message=max_message_size)
    return limits
