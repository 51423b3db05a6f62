"""A certificate authority of this process's own, and the certificates of a test server.

Made by trustme, an optional package. Nothing outside the process trusts it.
"""

from __future__ import absolute_import, division, print_function

import os
import shutil
import socket
import tempfile
import warnings
from itertools import count

from lomond._compat import TYPE_CHECKING, native_to_text
from lomond._locks import ProcessLock
from lomond.http.url import to_ascii
from lomond.net.address import read_address
from lomond.net.tls.contexts import server_context

if TYPE_CHECKING:
    from typing import Any, Dict, List, Sequence  # noqa: F401

    from lomond._compat import text_type  # noqa: F401

#: The names in the certificate for a client that asks for no name, or for an unknown one.
LOCAL = (u'localhost', u'127.0.0.1', u'::1')

_authority = []  # type: List[Any]
_lock = ProcessLock()


def find_authority():
    # type: () -> Any
    """Return the authority, a `trustme.CA`; raises ImportError, which says what to install."""
    with _lock():
        if not _authority:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter('ignore')     # what it is made with warns of old Pythons
                    import trustme  # few programs need it
            except ImportError as error:
                raise ImportError(
                    'TLS in lomond.testing needs trustme, which makes certificates: '
                    'pip install trustme ({})'.format(error))
            _authority.append(trustme.CA())
        return _authority[0]


class Certificates(object):
    """The certificates of one server: for this machine, and for each name that was added.

    Attributes: ``cafile``, the path of the authority's certificate; ``context``, a server's.
    """

    def __init__(self):
        # type: () -> None
        self._authority = find_authority()
        self._folder = tempfile.mkdtemp(prefix='lomond-testing-')
        self._count = count()
        self._by_name = {}  # type: Dict[text_type, Any]    # TLS contexts
        # A client asks for no address: one certificate names them all.
        self._addresses = list(LOCAL)
        self._lock = ProcessLock()
        #: The path of the authority's certificate, in PEM.
        self.cafile = os.path.join(self._folder, 'authority.pem')  # type: str
        self._authority.cert_pem.write_to_path(self.cafile)
        #: A server's TLS context.
        self.context = self._new_context(LOCAL)  # type: Any
        self._without_name = self.context
        # The newer `sni_callback` isn't on 2.7 and 3.6.
        self.context.set_servername_callback(self._choose)

    def add(self, name):
        # type: (str) -> None
        """Have a certificate for a name in ASCII, or for an address."""
        name = native_to_text(name).lower()
        with self._lock():
            if name in self._by_name or name in self._addresses:
                return
            if _is_address(name):
                self._addresses.append(name)
                self._without_name = self._new_context(self._addresses)
            else:
                self._by_name[name] = self._new_context([name])

    def _new_context(self, names):
        # type: (Sequence[text_type]) -> Any
        path = os.path.join(self._folder, 'server-{}.pem'.format(next(self._count)))
        certificate = self._authority.issue_cert(*names)
        certificate.private_key_and_cert_chain_pem.write_to_path(path)
        return server_context(path)

    def _choose(self, sock, name, _context):
        # type: (Any, Any, Any) -> None
        """Answer with the certificate for the name that the client asks for."""
        # Some Pythons have decoded it from IDNA.
        key = to_ascii(native_to_text(name)).lower() if name else u''
        sock.context = self._by_name.get(key, self._without_name)

    def close(self):
        # type: () -> None
        """Remove the files."""
        shutil.rmtree(self._folder, ignore_errors=True)


def _is_address(name):
    # type: (text_type) -> bool
    try:
        read_address(str(name), 0)
    except (socket.error, UnicodeError):
        return False
    return True
