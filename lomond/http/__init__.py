"""HTTP/1.1: URLs, request headers, and the parsing of responses. It does no I/O.

The client reads the server's response to the handshake and a proxy's response to CONNECT with the
same reader.
"""
