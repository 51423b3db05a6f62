cdef class Pieces:
    cdef object _join
    cdef list _small
    cdef list _merged

    cpdef add(self, piece)
    cpdef join(self)
