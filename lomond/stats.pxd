# The counters of messages and bytes.

cdef class Traffic:
    cdef public long long messages
    cdef public long long payload_bytes
    cdef public long long wire_bytes
