"""The hash of the sources from which the compiled modules were built.

`.ci/compiled.py` computes it, and setup.py passes it as a macro. In a clone the tests compare it with
the sources, since Python imports a compiled module even if its source has changed.
"""

cdef extern from *:
    const char* LOMOND_SOURCES

SOURCES = LOMOND_SOURCES.decode('ascii')
