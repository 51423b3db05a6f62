"""Passwords from a netrc file, read for each request, as they may change while a daemon runs."""

from __future__ import absolute_import, division, print_function

import errno
import os
import stat

from lomond._compat import TYPE_CHECKING, native_path, native_to_text, text_type
from lomond._describe import describe
from lomond.errors import ConnectFail

if TYPE_CHECKING:
    from typing import Any, Dict, Optional, Tuple  # noqa: F401


def check_netrc(netrc):
    # type: (Any) -> Optional[NetrcFile]
    """Return the `NetrcFile` for True or a path, None for False. Raises TypeError, ValueError."""
    if netrc is None or netrc is False:
        return None
    if netrc is True:
        return NetrcFile(None)
    if not isinstance(netrc, (bytes, text_type)) and not hasattr(netrc, '__fspath__'):
        raise TypeError('netrc must be True, False or the path of a file, not {!r}'.format(netrc))
    path = native_path(os.path.expanduser(netrc))
    if not os.path.isfile(path):
        raise ValueError('netrc file not found: {!r}'.format(netrc))
    return NetrcFile(path)


class NetrcFile(object):
    """A file of passwords in the netrc format, read for each lookup.

    Parameters: its ``path``; None for the file that NETRC in the environment names, or ~/.netrc,
    which may be missing.
    """

    def __init__(self, path):
        # type: (Optional[str]) -> None
        self._path = path

    def find(self, host, with_default):
        # type: (text_type, bool) -> Optional[Tuple[text_type, text_type]]
        """Return (user, password) for a host, or None.

        Parameters: ``with_default``, whether the file's ``default`` entry may be used.
        Raises ConnectFail, whose message has nothing of the file's content.
        """
        path = self._path or os.environ.get('NETRC') or _home_netrc()
        if path is None:
            return None
        try:
            if path == _home_netrc():
                _check_private(path)
            return _look_up(path, host, with_default)
        except EnvironmentError as error:
            if self._path is None and error.errno in (errno.ENOENT, errno.ENOTDIR):
                return None
            raise ConnectFail.during(
                'request', u'could not read the netrc file: {}'.format(describe(error)), error)
        except ConnectFail:
            raise
        except Exception as error:
            # The parser's error isn't kept as the cause: it quotes the file, maybe a password.
            line = getattr(error, 'lineno', None)
        raise ConnectFail.during(
            'request', u'could not parse the netrc file{}'.format(
                u'' if line is None else u' near line {}'.format(line)))


def _home_netrc():
    # type: () -> Optional[str]
    try:
        return os.path.join(os.path.expanduser('~'), '.netrc')
    except KeyError:        # no HOME, and no entry for the user in the system's database
        return None


def _check_private(path):
    # type: (str) -> None
    """Raise ConnectFail if others may read the file, as ftp(1) does."""
    if os.name != 'posix':
        return
    status = os.stat(path)
    if status.st_uid != os.getuid() or status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConnectFail.during(
            'request', u'~/.netrc must be yours and readable by you alone: chmod 600 ~/.netrc')


def _look_up(path, host, with_default):
    # type: (Any, text_type, bool) -> Optional[Tuple[text_type, text_type]]
    from netrc import netrc  # here, as few programs need it
    entries = netrc(path).hosts  # type: Dict[str, Any]
    default = entries.pop('default', None)
    by_host = {native_to_text(name).lower(): entry for name, entry in entries.items()}
    entry = by_host.get(host, default if with_default else None)
    if entry is None or not (entry[0] or entry[2]):
        return None
    login, _account, password = entry
    if ':' in (login or ''):    # the password would begin there
        raise ConnectFail.during(
            'request', u'the user for {} in the netrc file contains a colon, which Basic '
            u'authentication does not allow (RFC 7617 2)'.format(host))
    return native_to_text(login or ''), native_to_text(password or '')
