"""``--commands``: typed lines that aren't messages, such as ``/ping`` and ``/close 4000 bye``.

It sends nothing: it only reads the line.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, encode_text
from lomond.cli.formats import Message
from lomond.opcode import Opcode
from lomond.status import Status

if TYPE_CHECKING:
    from typing import Text, Tuple, Union  # noqa: F401

__all__ = ['HELP', 'read_command']

HELP = '/ping [DATA], /pong [DATA], /close [CODE [REASON]]; //TEXT sends /TEXT'

_CONTROLS = {u'/ping': Opcode.PING, u'/pong': Opcode.PONG}


def read_command(line):
    # type: (Text) -> Union[Message, Tuple[int, Text]]
    """Return what a line that begins with a slash says: a message, or the code and reason to close.

    Raises ValueError for a command that isn't right.
    """
    name, _space, rest = line.partition(u' ')
    if name in _CONTROLS:
        data = encode_text(rest)
        if len(data) > 125:
            raise ValueError('a ping or pong has 125 bytes at most')
        return Message(_CONTROLS[name], data)
    if name != u'/close':
        raise ValueError('the commands are {}'.format(HELP))
    code, _space, reason = rest.partition(u' ')
    if not code:
        return Status.NORMAL, u''
    if not code.isdecimal() or not 1000 <= int(code) <= 4999:
        raise ValueError('after /close comes a code from 1000 to 4999')
    return int(code), reason
