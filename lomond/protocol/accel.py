"""The one place that picks what is faster than plain Python: the compiled core, wsaccel, zlib-ng.

None of them has to be there. The first two are small, and imported with the package; zlib-ng is
imported when compression is first agreed on.
"""

from __future__ import absolute_import, division, print_function

import zlib

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any  # noqa: F401

# What find_zlib found, or use_zlib set.
_zlib = None  # type: Any


def find_masking():
    # type: () -> Any
    """Return the module of the compiled core that masks, or None."""
    try:
        from lomond.protocol import _masking  # type: ignore[attr-defined]
    except ImportError:
        return None
    return _masking     # pragma: no cover  (measured in pure Python)


def find_masker():
    # type: () -> Any
    """Return the class of wsaccel's that masks, or None."""
    try:
        from wsaccel.xormask import XorMaskerSimple
    except ImportError:  # pragma: no cover  (wsaccel is there)
        return None
    return XorMaskerSimple


def find_zlib():
    # type: () -> Any
    """Return the module that deflates and inflates: zlib-ng, or else Python's own zlib.

    zlib-ng has the interface of zlib, and is faster except for tiny messages. Its ``error`` is
    another class.
    """
    global _zlib  # noqa: PLW0603
    if _zlib is None:
        try:
            from zlib_ng import zlib_ng
            _zlib = zlib_ng
        except (ImportError, SyntaxError):      # SyntaxError: a package for another Python
            _zlib = zlib
        except EnvironmentError:    # no file descriptor is left to read it with: try again later
            return zlib
    return _zlib


def use_zlib(module):
    # type: (Any) -> Any
    """Have `find_zlib` return this module from now on; return the one that it had, or None.

    None has it look for one again. Connections that are open keep theirs.
    """
    global _zlib
    before, _zlib = _zlib, module
    return before
