"""Decide whether this process uses the compiled modules, before any of them is imported.

All of them, or none: they access each other's C structs, so a partial set would crash. Where a
compiled module must not be used, a finder imports its source instead. Raises ImportError if the
environment variable LOMOND_COMPILED has a value that isn't known.
"""

from __future__ import absolute_import, division, print_function

import os
import sys

from lomond._compat import TYPE_CHECKING, extension_suffixes

if TYPE_CHECKING:
    from typing import Any, Dict, Optional  # noqa: F401

#: The modules that setup.py compiles, from .pyx if there is such a file, else from .py.
MODULES = (
    'lomond._sources', 'lomond.events', 'lomond.stats', 'lomond.protocol._masking',
    'lomond.protocol.decoder', 'lomond.protocol.encoder', 'lomond.protocol.frame',
    'lomond.protocol.gathering', 'lomond.protocol.message', 'lomond.protocol.state')

#: How the reason begins for modules in a clone that aren't used, as a source is newer.
OUTDATED = 'a source has changed since these were compiled'

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
    choice = os.environ.get('LOMOND_COMPILED', '')
    if choice not in ('', 'no', 'yes', 'required'):
        raise ImportError('LOMOND_COMPILED={}: set it to no, yes or required'.format(choice))
    compiled = {}
    for name in MODULES:
        for suffix in extension_suffixes():
            if os.path.exists(_path(name) + suffix):
                compiled[name] = _path(name) + suffix
    if not compiled:
        return 'no compiled modules are installed'
    reason = 'LOMOND_COMPILED=no' if choice == 'no' else _find_fault(compiled)
    if reason is not None:
        sys.meta_path.insert(0, _SourceFinder)
    return reason


def _find_fault(compiled):
    # type: (Dict[str, str]) -> Optional[str]
    """Return why compiled modules can't be used, given the paths of those that are there."""
    missing = [name for name in MODULES if name not in compiled]
    if missing:
        return 'compiled modules are missing: {}'.format(', '.join(missing))
    outdated = [name for name in MODULES if _is_outdated(name, compiled[name])]
    if outdated:
        return '{}: {} (`make compiled` does it again, `make pure` removes them)'.format(
            OUTDATED, ', '.join(outdated))
    return None


def _is_outdated(name, compiled):
    # type: (str, str) -> bool
    """Return whether a source in a clone is newer; nobody edits what is installed."""
    # Not by setup.py: some packages put theirs into site-packages.
    if not os.path.exists(os.path.join(os.path.dirname(_HOME), '.ci', 'compiled.py')):
        return False
    sources = [_path(name) + suffix for suffix in ('.py', '.pxd', '.pyx')]
    return os.path.getmtime(compiled) < max(
        os.path.getmtime(source) for source in sources if os.path.exists(source))


#: Why the modules are used as pure Python, None if they are compiled.
why_pure = _find_reason()  # type: Optional[str]

#: Whether the compiled modules are used.
accelerated = why_pure is None  # type: bool
