"""Finds the client's socket behind a WSGI request, and what the server has read beyond the request.

PEP 3333 has neither, so each server keeps them elsewhere: docs/howto/wsgi.md says what was tried.
Sends nothing, and reads nothing of the connection but what a server's buffered reader would.
"""

from __future__ import absolute_import, division, print_function

import socket

from lomond._compat import TYPE_CHECKING
from lomond.errors import WebSocketUnavailable

if TYPE_CHECKING:
    from typing import Any, Dict, Iterator  # noqa: F401

#: Where applications, middleware and some servers put the socket.
SOCKET_KEYS = ('lomond.socket', 'werkzeug.socket', 'gunicorn.socket')

#: What holds the socket in an environ, or the environ itself, and so would keep a descriptor open.
HOLDERS = SOCKET_KEYS + (
    'wsgi.input', 'wsgi.file_wrapper', 'eventlet.input', 'waitress.client_disconnected',
    'werkzeug.request')

# By which attribute a stream has the one that it wraps, down to the socket.
_WRAPPED = ('rfile', 'raw', 'buffer', 'stream', 'input', '_sock')
_DEEPEST = 8

# A server that hands over its sockets by cooperation with others in one thread.
_COOPERATIVE = ('gevent', 'eventlet')


class _Descriptor(object):
    """A socket of which only the number is known."""

    def __init__(self, fd):
        # type: (int) -> None
        self._fd = fd

    def fileno(self):
        # type: () -> int
        return self._fd


def find_socket(environ):
    # type: (Dict[str, Any]) -> Any
    """Return the client's socket, or what has its ``fileno``; WebSocketUnavailable without one."""
    for key in SOCKET_KEYS:
        if environ.get(key) is not None:
            return environ[key]
    if hasattr(environ.get('eventlet.input'), 'get_socket'):
        return environ['eventlet.input'].get_socket()
    if 'uwsgi.version' in environ:
        import uwsgi  # of the process, not of a package
        return _Descriptor(uwsgi.connection_fd())
    channel = getattr(environ.get('waitress.client_disconnected'), '__self__', None)
    if hasattr(channel, 'socket'):
        return channel.socket   # type: ignore[union-attr]
    for stream in _streams(environ):
        if hasattr(stream, 'recv') and hasattr(stream, 'fileno'):
            return stream
    raise WebSocketUnavailable(
        'this WSGI server gives no access to the socket of a request (mod_wsgi does not, nor does '
        "an ASGI server's adapter for WSGI): use one that lomond's docs/howto/wsgi.md lists, such "
        "as gunicorn or cheroot, or put the socket into environ['lomond.socket']")


def _streams(environ):
    # type: (Dict[str, Any]) -> Iterator[Any]
    """Yield wsgi.input, and what it wraps."""
    stream = environ.get('wsgi.input')
    for _ in range(_DEEPEST):
        if stream is None:
            return
        yield stream
        stream = next((inner for inner in (getattr(stream, name, None) for name in _WRAPPED)
                       if inner is not None and inner is not stream), None)


def take_read_ahead(environ):
    # type: (Dict[str, Any]) -> bytes
    """Return the bytes that the server has read beyond the request, which are taken from it."""
    reader = getattr(environ.get('wsgi.input'), 'reader', None)
    buffered = getattr(getattr(reader, 'unreader', None), 'buf', None)
    if buffered is not None:        # gunicorn's
        rest = buffered.getvalue()  # type: bytes
        buffered.seek(0)
        buffered.truncate()
        return rest
    for stream in _streams(environ):
        if hasattr(stream, '_rbuf'):        # a file of 2.7's socket
            return stream.read(len(stream._rbuf.getvalue()))    # type: ignore[no-any-return]
        if hasattr(stream, 'peek') and hasattr(getattr(stream, 'raw', None), '_sock'):
            return _take_peeked(stream, stream.raw._sock)
    return b''


def _take_peeked(stream, sock):
    # type: (Any, Any) -> bytes
    """Take what a buffered reader has; with nothing in it, it reads its socket once."""
    timeout = sock.gettimeout()
    sock.settimeout(0)
    try:
        return stream.read(len(stream.peek()))  # type: ignore[no-any-return]
    except socket.error:        # of TLS, that there is nothing
        return b''
    finally:
        sock.settimeout(timeout)


def check_cooperation(sock):
    # type: (Any) -> None
    """Raise WebSocketUnavailable if a loop would keep a cooperative server from all others."""
    package = type(sock).__module__.partition('.')[0]
    if package in _COOPERATIVE and not socket.socket.__module__.startswith(package):
        raise WebSocketUnavailable(
            'a loop over this WebSocket would stop all other requests, as {0} has not patched the '
            'standard library: patch it when the program starts ({1}), or pass detach=True'.format(
                package, 'gevent.monkey.patch_all()' if package == 'gevent'
                else 'eventlet.monkey_patch()'))


def kills_long_requests(environ):
    # type: (Dict[str, Any]) -> bool
    """Return whether this is a sync worker of gunicorn, which ends after ``--timeout``."""
    return 'gunicorn.socket' in environ and not environ.get('wsgi.multithread')
