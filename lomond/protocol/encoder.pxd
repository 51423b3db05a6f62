cimport cython

from lomond.protocol.state cimport Lifecycle
from lomond.stats cimport Traffic

cdef frozenset _MESSAGES


cdef class Encoder:
    cdef public object deflate
    cdef public object failure
    cdef public object unfinished
    cdef bint _compresses
    cdef object _extensions
    cdef int _rsv
    cdef int _control_rsv
    cdef bint _is_client
    cdef bint _may_be_short
    cdef Lifecycle _lifecycle
    cdef object _stats
    cdef Traffic _sent
    cdef object _random_bytes
    cdef list _keys
    cdef long long _drawn_at

    @cython.locals(size=Py_ssize_t, sent=Traffic)
    cpdef encode(self, object opcode, object payload, bint compress=*)
    cdef tuple _admit(self, object opcode, object payload, bint compress)
    cdef object _masking_key(self)
    cdef list _draw_keys(self)
