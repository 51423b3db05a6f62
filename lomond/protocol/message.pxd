from lomond.protocol.frame cimport FrameHeader

cdef class MessageAssembler:
    cdef public bint in_message
    cdef public object in_parts
    cdef public bint is_in_parts
    cdef public bint is_transformed
    cdef public object deflate
    cdef public bint offers_buffer
    cdef object _text_class
    cdef object _buffer
    cdef object _max_size
    cdef object _max_fragments
    cdef object _gathered
    cdef object _decoder
    cdef object _inflater
    cdef object _fragments
    cdef object _wire_size
    cdef object _inflated_size
    cdef bint _has_begun_frame
    cdef bint _is_text

    cpdef begin_frame(self, FrameHeader header)
    cdef _begin_message(self, FrameHeader header)
    cpdef add(self, object payload, bint is_last)
    cpdef finish(self, object received_time)
