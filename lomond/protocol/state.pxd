cdef class Lifecycle:
    cdef public object state
    cdef public bint may_send
    cdef public object close_sent
    cdef public object close_received
    cdef public object lock
