cimport cython

from lomond.events cimport Binary, Text
from lomond.protocol.frame cimport FrameHeader, FrameParser
from lomond.protocol.message cimport MessageAssembler
from lomond.protocol.state cimport Lifecycle
from lomond.stats cimport Traffic

cdef int _WHOLE_TEXT, _WHOLE_BINARY, _DEFLATED_TEXT, _MANY, _BATCH
cdef bint _IS_BYTEARRAY


cdef class Decoder:
    cdef public bint auto_pong
    cdef public bint is_receiving
    cdef public object error
    cdef public object receive_buffer
    cdef public object pending
    cdef public object pong
    cdef public list news
    cdef public object text_class
    cdef object __weakref__
    cdef bint _may_be_short
    cdef object _extensions
    cdef tuple _deflated
    cdef Lifecycle _lifecycle
    cdef object _stats
    cdef Traffic _received
    cdef object _clock
    cdef FrameParser _parser
    cdef MessageAssembler _message
    cdef Py_ssize_t _short_limit
    cdef object _max_message
    cdef Py_ssize_t _batch_bytes
    cdef bytes _leftover
    cdef object _missing
    cdef FrameHeader _header
    cdef object _parts
    cdef object _echo

    @cython.locals(
        end=Py_ssize_t, limit=Py_ssize_t, payload_bytes=Py_ssize_t, first=int, length=Py_ssize_t,
        start=Py_ssize_t, stop=Py_ssize_t, is_plain=bint, text=Text, binary=Binary)
    cdef Py_ssize_t _take_batch(
        self, bytes buffer, Py_ssize_t pos, object received_time, list batch) except -1
