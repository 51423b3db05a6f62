# The classes of which a connection makes an object for each message.

cdef class Event:
    cdef public object received_time


cdef class Text(Event):
    cdef public object text
    cdef public object _json


cdef class Binary(Event):
    cdef public object data
