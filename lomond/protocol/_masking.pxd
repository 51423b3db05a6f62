cpdef bytes mask(payload, key)
cpdef bytes masked_frame(unsigned char first, payload, key)
