"""Too few descriptors, or too little memory: found for what fails with another error then.

A lookup reports that there is no such name, an import that there is no such module.
"""

from __future__ import absolute_import, division, print_function

import errno
import socket

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List, Optional  # noqa: F401

#: The errors of too few descriptors, for this process or the system, and of too little memory.
SHORTAGES = frozenset([errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])


def find_shortage(count=1):
    # type: (int) -> Optional[socket.error]
    """Return the error of opening ``count`` descriptors at once, None if they can be opened."""
    opened = []  # type: List[socket.socket]
    try:
        while len(opened) < count:
            opened.append(socket.socket())
    except socket.error as error:
        if error.errno in SHORTAGES:
            error.__traceback__ = None      # it leads to the caller
            return error
    finally:
        for sock in opened:
            sock.close()
    return None
