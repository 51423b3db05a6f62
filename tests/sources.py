"""Whether the compiled modules are those of the sources beside them."""

from __future__ import absolute_import, division, print_function

import os
import sys

CI = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), '.ci')

sys.path.insert(0, CI)
try:
    import compiled
finally:
    sys.path.remove(CI)


def are_stale():
    """Return whether a source has changed since the modules, which are imported, were built."""
    from lomond._sources import SOURCES
    return compiled.hash_sources() != SOURCES
