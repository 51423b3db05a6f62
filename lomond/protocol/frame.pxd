cimport cython

cdef class FrameHeader:
    cdef public int opcode
    cdef public bint fin
    cdef public int rsv
    cdef public object length
    cdef public object masking_key


cdef class FrameParser:
    cdef public bint expects_mask
    cdef public bint compression
    cdef public int rsv
    cdef object _max_payload

    @cython.locals(
        available=Py_ssize_t, first=int, second=int, start=Py_ssize_t, key_size=int,
        length_size=int, header=FrameHeader)
    cpdef tuple read_header(self, object buffer, Py_ssize_t pos)

    @cython.locals(opcode=int, unknown=int)
    cdef _check(self, int first, int second)
