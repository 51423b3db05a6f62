"""Closes sockets: first every epoll and kqueue of this process forgets the descriptor.

Closing alone isn't enough. While a forked child has a copy of the descriptor, epoll keeps reporting
its number, and can't remove it any more (epoll(7), "Questions and answers"): the loop would spin.

Every socket that a `lomond.net.waiter.Waiter` may be watching is closed here.
"""

from __future__ import absolute_import, division, print_function

import socket
import weakref

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any  # noqa: F401

#: The waiters that have epoll or kqueue, by their ids. Most programs have none.
waiters = weakref.WeakValueDictionary()  # type: weakref.WeakValueDictionary[int, Any]


def add_waiter(waiter):
    # type: (Any) -> None
    """Call ``waiter.forget(fd)`` before each close, in any thread, for as long as it exists.

    Parameters: ``waiter``, a `lomond.net.waiter.Waiter`, or what has an event loop watch sockets.
    """
    waiters[id(waiter)] = waiter


def forget(fd):
    # type: (int) -> None
    """Have every waiter with epoll or kqueue forget a descriptor; from any thread.

    A forked child changes nothing in the sets of its parent's waiters.
    """
    for reference in waiters.valuerefs():      # one call in C copies them
        waiter = reference()
        if waiter is not None:
            waiter.forget(fd)


def close_socket(sock):
    # type: (Any) -> None
    """Close a socket; do nothing if it is closed; from any thread, also while another one waits.

    Raises what the socket's own ``close`` raises.
    """
    try:
        fd = sock.fileno()
    except socket.error:
        fd = -1     # 2.7 raises where 3 returns this: it is closed
    forget(fd)
    sock.close()
