"""TLS contexts: making them, which authorities they trust, and sharing them among WebSockets.

Loading certificates takes some 20 ms and 0.8 MB, so WebSockets with equal options share a context.
For each TLS connection a few calls of stat show whether a file has changed: then there is a new
context, and a renewed certificate is used from the next connection on.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import ssl
import sys
from weakref import WeakValueDictionary

import certifi

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe
from lomond._locks import ProcessLock

if TYPE_CHECKING:
    from os import PathLike
    from typing import Any, Callable, Hashable, List, Optional, Text, Tuple, Union  # noqa: F401

    FilePath = Union[str, PathLike[str]]

log = logging.getLogger('lomond')  # type: logging.Logger

#: How many unused contexts are kept: the next WebSocket may have the same options.
MAX_IDLE = 16


# -- making --

def client_context(cafile=None, verify=True, certfile=None, keyfile=None, capath=None):
    # type: (Optional[FilePath], bool, Optional[FilePath], Optional[FilePath], Optional[str]) -> ssl.SSLContext
    """Make a context that verifies the server, with TLS 1.2 or newer.

    Parameters: ``cafile`` and ``capath``, a file and a directory of
    certificates to trust, by default those of `find_authorities`;
    ``verify``, False to accept any certificate; ``certfile`` and ``keyfile``, the
    client's own certificate and its key.

    Raises EnvironmentError (an ssl.SSLError is one) or ValueError, which names the file.
    """
    context = _new_context('PROTOCOL_TLS_CLIENT')
    if ssl.HAS_ALPN:
        context.set_alpn_protocols(['http/1.1'])
    if verify:
        context.verify_mode = ssl.CERT_REQUIRED
        context.check_hostname = True
        _load_authorities(context, cafile, capath)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certfile is not None:
        _load_own_certificate(context, certfile, keyfile)
    _log_keys(context)
    return context


def server_context(certfile, keyfile=None):
    # type: (FilePath, Optional[FilePath]) -> ssl.SSLContext
    """Make a server's context, with TLS 1.2 or newer.

    After you renewed the certificate, call ``load_cert_chain`` on it: that is used from the next
    connection on.

    Raises EnvironmentError (an ssl.SSLError is one) or ValueError, which names the file.
    """
    context = _new_context('PROTOCOL_TLS_SERVER')
    _load_own_certificate(context, certfile, keyfile)
    _log_keys(context)
    return context


def _new_context(protocol):
    # type: (str) -> ssl.SSLContext
    """Make a context for one of 3.6's protocols: TLS 1.2 or newer, and alike on every Python.

    `ssl.create_default_context` checks more on some: from 3.13 on VERIFY_X509_STRICT, for which
    authorities that devices in the field have trusted for years miss an extension.
    """
    # 2.7 has only one protocol, for all versions.
    context = ssl.SSLContext(getattr(ssl, protocol, ssl.PROTOCOL_SSLv23))
    context.options |= ssl.OP_NO_COMPRESSION    # 2.7 leaves it to OpenSSL; CVE-2012-4929
    # 3.8 and 3.9 report a cut connection as a clean end.
    context.options &= ~getattr(ssl, 'OP_IGNORE_UNEXPECTED_EOF', 0)
    if hasattr(context, 'minimum_version'):
        context.minimum_version = ssl.TLSVersion.TLSv1_2
    else:
        context.options |= (
            ssl.OP_NO_SSLv2 | ssl.OP_NO_SSLv3 | ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    return context


def find_authorities(cafile=None):
    # type: (Optional[FilePath]) -> Tuple[Optional[FilePath], Optional[str]]
    """Return the file and the directory of certificates to trust, either of which may be None.

    These are ``cafile`` alone, if it is given; or what SSL_CERT_FILE and SSL_CERT_DIR of the
    environment name now; or certifi's file.
    """
    if cafile is not None:
        return cafile, None
    cafile = os.environ.get('SSL_CERT_FILE') or None
    capath = os.environ.get('SSL_CERT_DIR') or None
    if cafile is None and capath is None:
        cafile = certifi.where()
    return cafile, capath


def _as_text(path):
    # type: (Any) -> Any
    """Return the text of a path: PyPy's ssl takes no `os.PathLike`."""
    return path.__fspath__() if hasattr(path, '__fspath__') else path


def _load_authorities(context, cafile, capath):
    # type: (ssl.SSLContext, Optional[FilePath], Optional[str]) -> None
    if capath is None:
        cafile, capath = find_authorities(cafile)
    try:
        context.load_verify_locations(_as_text(cafile), capath)
    except EnvironmentError as error:
        raise _explain(error, u'no certificates in {!r}'.format(cafile or capath))


def _load_own_certificate(context, certfile, keyfile):
    # type: (ssl.SSLContext, FilePath, Optional[FilePath]) -> None
    asked = []

    def guess():
        # type: () -> str
        # OpenSSL would ask for a password on the terminal. (An exception raised in here
        # would not keep it from asking again.)
        asked.append(True)
        return ''
    try:
        context.load_cert_chain(_as_text(certfile), _as_text(keyfile), guess)
    except EnvironmentError as error:
        if asked:
            raise ValueError('the key in {!r} is encrypted: decrypt it, or give an ssl_context '
                             'that has its password'.format(keyfile or certfile))
        if keyfile is None:
            files = u'{!r} (its key must be in there too, or in a key file)'.format(certfile)
        else:
            files = u'{!r} with the key {!r}'.format(certfile, keyfile)
        raise _explain(error, u'no certificate to use in {}'.format(files))


def _explain(error, words):
    # type: (EnvironmentError, Text) -> EnvironmentError
    """Return an error like this one, with words that name the file."""
    kind = ssl.SSLError if isinstance(error, ssl.SSLError) else IOError
    return kind(error.errno, u'{}: {}'.format(words, describe(error)))


def find_key_log():
    # type: () -> Optional[str]
    """Return the path that SSLKEYLOGFILE of the environment names now, or None."""
    if sys.flags.ignore_environment:
        return None
    return os.environ.get('SSLKEYLOGFILE') or None


def _log_keys(context):
    # type: (ssl.SSLContext) -> None
    """Write the keys into a file, for Wireshark and its like (3.8+)."""
    path = find_key_log()
    if path is None or not hasattr(context, 'keylog_filename'):
        return
    try:
        context.keylog_filename = path
    except EnvironmentError as error:
        log.warning(u'SSLKEYLOGFILE names %r, which can not be written: %s',
                    path, describe(error))


# -- sharing --

class Contexts(object):
    """Makes contexts, and finds those made before, from any thread."""

    def __init__(self):
        # type: () -> None
        # By the options and the files' stamps. WebSockets and connections hold references.
        self._used = WeakValueDictionary()  # type: WeakValueDictionary[Hashable, ssl.SSLContext]
        # The last ones made, with their options; replaced as a whole, as any thread may fork.
        self._recent = []  # type: List[Tuple[Hashable, ssl.SSLContext]]
        self._lock = ProcessLock()

    def __len__(self):
        # type: () -> int
        """Return how many contexts there are, in use or kept."""
        return len(self._used)

    def get(self, cafile, verify, certfile, keyfile):
        # type: (Optional[FilePath], bool, Optional[FilePath], Optional[FilePath]) -> ssl.SSLContext
        """Return the context for these options, the environment and the files as they are now.

        Parameters and errors are those of `client_context`. A failure isn't kept: the next
        call looks at the files again.
        """
        capath = None
        if verify:
            cafile, capath = find_authorities(cafile)
        else:
            cafile = None
        key_log = find_key_log()
        options = (verify, cafile, capath, certfile, keyfile, key_log)
        files = [cafile, certfile, keyfile] + (capath.split(os.pathsep) if capath else [])
        # Taken before the files are read: a change during that makes another context next time.
        stamps = tuple([_stamp(path) for path in files if path])
        context = self._used.get((options, stamps, _identity(key_log)))
        if context is not None:
            return context
        with self._lock():
            context = self._used.get((options, stamps, _identity(key_log)))
            if context is None:
                context = client_context(cafile, verify, certfile, keyfile, capath)
                # This has made the key log's file too, if there was none.
                self._used[options, stamps, _identity(key_log)] = context
                if key_log is None:     # that file is open as long as the context is there
                    others = [kept for kept in self._recent if kept[0] != options]
                    self._recent = others[-MAX_IDLE + 1:] + [(options, context)]
        return context


def _stamp(path):
    # type: (FilePath) -> Any
    """Return a value that differs once a file, or the names in a directory, have changed."""
    try:
        status = os.stat(path)
    except EnvironmentError:
        return None
    return status.st_mtime, status.st_ctime, status.st_size, status.st_ino, status.st_dev


def _identity(path):
    # type: (Optional[str]) -> Any
    """Return a value that stays the same while a file grows; None if there is no file."""
    stamp = None if path is None else _stamp(path)
    return stamp and stamp[3:]


_contexts = Contexts()

#: `Contexts.get`, for the whole process.
shared_context = _contexts.get  # type: Callable[..., ssl.SSLContext]
