"""Sockets that listen, on a TCP port or at the path of a Unix socket. Accepts nothing."""

from __future__ import absolute_import, division, print_function

import errno
import os
import socket
import stat
import sys

from lomond._checks import check_port
from lomond._compat import (
    TYPE_CHECKING,
    encode_text,
    native_to_text,
    set_close_on_exec,
    text_to_native,
    text_type,
)
from lomond._describe import describe
from lomond.http.url import bracket, to_ascii
from lomond.net.address import read_address

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Text, Tuple  # noqa: F401

# What to do if it can't listen, for error messages.
_REMEDIES = {
    errno.EADDRINUSE: ': another program listens on this port: use another port, port=0 for any '
                      'free one, or reuse_port=True in both programs',
    errno.EACCES: ': ports below 1024 need privileges: use a port from 1024 to 65535',
    errno.EADDRNOTAVAIL: ': this machine has no such address: use 127.0.0.1 to accept local '
                         'clients only, or 0.0.0.0 to listen on all addresses',
}
_UNIX_REMEDIES = {
    errno.EADDRINUSE: ': another program listens on this Unix socket: stop it, or use another '
                      'unix_path',
    errno.EEXIST: ': there is another file, which is no socket: use another unix_path',
    errno.EACCES: ': the user of this process must be allowed to write in the directory',
    errno.ENOENT: ': create the directory first',
}

#: The longest path of a Unix socket, in bytes: 108 with the NUL at its end on Linux (unix(7)), 104
#: on macOS and the BSDs.
MAX_PATH = 107 if sys.platform.startswith('linux') else 103


def listen(host, port, reuse_port=False):
    # type: (Text, int, bool) -> socket.socket
    """Return a socket that listens on a TCP port, and doesn't block.

    With ``reuse_port``, other sockets of the same user that have it too may listen on the same
    port. Raises TypeError, ValueError, socket.error.
    """
    port = check_port('port', port)
    host = _check_host(host)
    if reuse_port and not hasattr(socket, 'SO_REUSEPORT'):
        raise ValueError('reuse_port=True needs SO_REUSEPORT, which this system does not have: '
                         'listen in one process, or on several ports')

    def bind(sock):
        # type: (Any) -> None
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((host, port))

    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    return _listen(family, bind, u'{}:{}'.format(bracket(text_type(host)), port), _REMEDIES)


class SocketFile(object):
    """The file of a Unix socket that a server listens on.

    Parameters: its ``path``, which is made absolute, as a daemon changes its directory. Raises
    TypeError, ValueError.
    """

    def __init__(self, path):
        # type: (Any) -> None
        if not hasattr(socket, 'AF_UNIX'):
            raise ValueError('unix_path: there are no Unix sockets on this system: use a port')
        self.path = _check_path(path)  # type: text_type
        # In bytes: 2.7, and a C locale, would encode the path as ASCII.
        self._name = self.path.encode('utf-8')
        self._identity = None  # type: Optional[Tuple[int, int]]

    def listen(self):
        # type: () -> socket.socket
        """Return a socket that listens there, and doesn't block; raises socket.error.

        The file of a server that has ended is replaced; that of one that listens isn't.
        """
        return _listen(socket.AF_UNIX, self._bind, self.path, _UNIX_REMEDIES)

    def _bind(self, sock):
        # type: (Any) -> None
        try:
            sock.bind(self._name)
        except socket.error as error:
            if error.errno != errno.EADDRINUSE or not self._is_stale():
                raise
            os.unlink(self._name)
            sock.bind(self._name)
        self._identity = self._identify()

    def _is_stale(self):
        # type: () -> bool
        """Return whether nothing listens on the socket there; socket.error for another file."""
        if not stat.S_ISSOCK(os.lstat(self._name).st_mode):
            raise socket.error(errno.EEXIST, os.strerror(errno.EEXIST))
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.setblocking(False)
            return probe.connect_ex(self._name) == errno.ECONNREFUSED
        finally:
            probe.close()

    def _identify(self):
        # type: () -> Optional[Tuple[int, int]]
        """Return what distinguishes the file at the path from another one; None without a file."""
        try:
            found = os.lstat(self._name)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def remove(self):
        # type: () -> None
        """Remove the file, unless another one has replaced it. Never raises.

        Before the socket is closed: afterwards another file may have the same inode number.
        """
        identity, self._identity = self._identity, None
        if identity is not None and self._identify() == identity:
            try:
                os.unlink(self._name)
            except OSError:     # no permission any more, for example
                pass


def _listen(family, bind, where, remedies):
    # type: (int, Callable[[Any], None], Text, Dict[int, str]) -> socket.socket
    """Return a listening socket; raises socket.error, which says where and what to do."""
    listener = None  # type: Optional[socket.socket]
    try:
        listener = socket.socket(family, socket.SOCK_STREAM)
        set_close_on_exec(listener)
        bind(listener)
        listener.listen(128)
        listener.setblocking(False)
        return listener
    except BaseException as error:
        if listener is not None:
            listener.close()
        if not isinstance(error, EnvironmentError):
            raise
        # On 2.7 os.unlink raises another class.
        error_class = type(error) if isinstance(error, socket.error) else socket.error
        raise error_class(error.errno, text_to_native(u'could not listen on {}: {}{}'.format(
            where, describe(error), remedies.get(error.errno or 0, ''))))


def _check_host(host):
    # type: (Any) -> str
    """Return the name or address to listen on, '' for all; raises TypeError, ValueError."""
    if not isinstance(host, (str, text_type)):
        raise TypeError('host must be an address or a name, not {!r}'.format(host))
    try:
        if ':' not in host:
            return str(to_ascii(native_to_text(host)))
        read_address(host, 0)
        return str(host)
    except (socket.error, ValueError) as error:
        raise ValueError('host must be an address or a name of this machine, not {!r}: {}'.format(
            host, describe(error)))


def _check_path(path):
    # type: (Any) -> text_type
    """Return the path of a Unix socket, absolute; raises TypeError, ValueError."""
    if hasattr(path, '__fspath__'):
        path = path.__fspath__()
    if not isinstance(path, (str, text_type)):
        raise TypeError('unix_path must be the path of a file, as text, not {!r}'.format(path))
    text = native_to_text(path)
    if not text or u'\0' in text:
        raise ValueError('unix_path must be the path of a file, which is not empty and has no NUL, '
                         'not {!r}'.format(path))
    absolute = native_to_text(os.path.abspath(text))
    size = len(encode_text(absolute, 'unix_path'))
    if size > MAX_PATH:
        raise ValueError('unix_path must have at most {} bytes on this system, not the {} of {!r}: '
                         'use a shorter path'.format(MAX_PATH, size, absolute))
    return absolute     # type: ignore[no-any-return]
