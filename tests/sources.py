"""Whether the compiled modules are those of the sources beside them."""

from __future__ import absolute_import, division, print_function

import os
import sys

from lomond._core import OUTDATED, accelerated, why_pure

CI = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), '.ci')

sys.path.insert(0, CI)
try:
    import compiled
finally:
    sys.path.remove(CI)


def are_stale():
    """Return whether a source has changed since the compiled modules were built, if there are any.

    By its content: it may be older than they are, such as one of another branch.
    """
    if not accelerated:
        return why_pure.startswith(OUTDATED)
    from lomond._sources import SOURCES
    return compiled.hash_sources() != SOURCES
