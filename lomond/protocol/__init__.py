"""The WebSocket protocol without I/O: bytes to events, and back.

`handshake` opens, with `extensions`; then a `connection` has a `decoder`, an `encoder` and their
`state`. These use `frame`, `mask`, `message`, `gathering`, `close` and `limits`. `accel` picks
what is faster than plain Python.

Nothing in here imports socket, ssl, select, selectors or threading.
"""
