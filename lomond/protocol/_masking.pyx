"""Provisional: masks, and makes whole masked frames."""
from cpython.bytes cimport PyBytes_FromStringAndSize, PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy

cdef void _xor(char* out, const char* data, Py_ssize_t n, uint32_t key) noexcept nogil:
    cdef uint64_t k = key | (<uint64_t>key << 32), w
    cdef Py_ssize_t words = n // 8, i
    for i in range(words):
        memcpy(&w, data + 8 * i, 8)
        w ^= k
        memcpy(out + 8 * i, &w, 8)
    for i in range(words * 8, n):
        out[i] = data[i] ^ (<char*>&k)[i & 7]

cpdef bytes mask(bytes payload, bytes key):
    cdef uint32_t k
    cdef Py_ssize_t n = PyBytes_GET_SIZE(payload)
    if PyBytes_GET_SIZE(key) != 4:
        raise ValueError('a key of 4 bytes')
    memcpy(&k, PyBytes_AS_STRING(key), 4)
    cdef bytes r = PyBytes_FromStringAndSize(NULL, n)
    _xor(PyBytes_AS_STRING(r), PyBytes_AS_STRING(payload), n, k)
    return r

cpdef bytes masked_frame(int first, bytes payload, bytes key):
    cdef uint32_t k
    cdef Py_ssize_t n = PyBytes_GET_SIZE(payload)
    cdef int h = 2 if n < 126 else 4 if n <= 0xFFFF else 10
    cdef int i
    if PyBytes_GET_SIZE(key) != 4:
        raise ValueError('a key of 4 bytes')
    memcpy(&k, PyBytes_AS_STRING(key), 4)
    cdef bytes r = PyBytes_FromStringAndSize(NULL, n + h + 4)
    cdef char* out = PyBytes_AS_STRING(r)
    out[0] = <char>first
    if h == 2:
        out[1] = <char>(0x80 | n)
    elif h == 4:
        out[1] = <char>(0x80 | 126)
        out[2] = <char>(n >> 8)
        out[3] = <char>(n & 0xFF)
    else:
        out[1] = <char>(0x80 | 127)
        for i in range(8):
            out[2 + i] = <char>((n >> (56 - 8 * i)) & 0xFF)
    memcpy(out + h, &k, 4)
    _xor(out + h + 4, PyBytes_AS_STRING(payload), n, k)
    return r
