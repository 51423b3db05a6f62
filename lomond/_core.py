"""Decide whether this process uses the compiled modules, before any of them is imported.

All of them, or none: they access each other's C structs, so a partial set would crash. Where a
compiled module must not be used, a finder imports its source instead.
"""

from __future__ import absolute_import, division, print_function

import os
import sys

from lomond._compat import TYPE_CHECKING, extension_suffixes

if TYPE_CHECKING:
    from typing import Any, List, Optional  # noqa: F401

#: The modules that setup.py compiles, from .pyx if there is such a file, else from .py.
MODULES = (
    'lomond._sources', 'lomond.events', 'lomond.stats', 'lomond.protocol._masking',
    'lomond.protocol.decoder', 'lomond.protocol.encoder', 'lomond.protocol.frame',
    'lomond.protocol.message', 'lomond.protocol.state')

_HOME = os.path.dirname(os.path.abspath(__file__))


def _path(name):
    # type: (str) -> str
    return os.path.join(_HOME, *name.split('.')[1:])


class _SourceFinder(object):
    """Imports `MODULES` from their .py files; those without one, which only speed up, fail."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        # type: (str, Any, Any) -> Any
        if name not in MODULES:
            return None
        source = _path(name) + '.py'
        if not os.path.exists(source):
            raise ImportError('{} is not imported: {}'.format(name, why_pure))
        from importlib.util import spec_from_file_location
        return spec_from_file_location(name, source)


def _find_reason():
    # type: () -> Optional[str]
    suffixes = extension_suffixes()
    missing = [
        name for name in MODULES
        if not any(os.path.exists(_path(name) + suffix) for suffix in suffixes)]
    if len(missing) == len(MODULES):
        return 'no compiled modules are installed'
    if os.environ.get('LOMOND_COMPILED') == 'no':
        reason = 'LOMOND_COMPILED=no'
    elif missing:
        reason = 'compiled modules are missing: {}'.format(', '.join(missing))
    else:
        return None
    sys.meta_path.insert(0, _SourceFinder)
    return reason


#: Why the modules are used as pure Python, None if they are compiled.
why_pure = _find_reason()

#: Whether the compiled modules are used.
accelerated = why_pure is None
