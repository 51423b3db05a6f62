"""Detours: connections that a test leads to another address than the one that the URL names.

`lomond.testing.redirect` adds them; otherwise there are none, and a dial costs one check. Connects
to nothing: `lomond.net.dial` asks where to connect to.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Callable, List, Optional, Tuple  # noqa: F401

    from lomond.http.url import Target
    from lomond.net.options import NetOptions

    Detour = Callable[[Target, NetOptions, bool], Optional[Tuple[Target, NetOptions]]]

#: Functions of a target, its options, and whether no other one is asked after this; the latest
#: last. Each returns the target to connect to and the options to do that with, or None to leave the
#: decision to the one before it. It may raise ConnectFail. Any thread may add or remove one, which
#: has an effect from the next dial on.
detours = []  # type: List[Detour]


def find_detour(target, options):
    # type: (Target, NetOptions) -> Tuple[Target, NetOptions]
    """Return where to connect to, and with which options, instead of these, or these."""
    if options.sock is None and target.unix_path is None:
        waiting = list(detours)
        while waiting:
            detour = waiting.pop()
            found = detour(target, options, not waiting)
            if found is not None:
                return found
    return target, options
