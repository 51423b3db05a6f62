"""The WebSocket protocol without I/O: bytes to events, and back.

Nothing in this room imports socket, ssl, select, selectors or threading.
"""
