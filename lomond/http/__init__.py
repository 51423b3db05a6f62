"""HTTP/1.1 as a receiver of answers needs it: heads and bodies, bytes in, no I/O.

For the server's answer to the handshake and a proxy's answer to CONNECT alike.
"""
