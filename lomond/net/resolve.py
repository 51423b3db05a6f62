"""From a host and a port to addresses: by reading them, or by asking the system's resolver.

The system's lookup of a name (getaddrinfo) has no timeout, and can't be
interrupted; so a thread makes it (see `lomond.net.offload`). What waits for it ends in
time, but the thread goes on until the system gives up: with glibc's defaults
that is after 5 seconds, twice, for each nameserver. Connects to nothing.
"""

from __future__ import absolute_import, division, print_function

import functools
import socket

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe, describe_with_type
from lomond.errors import ConnectFail
from lomond.net.address import read_address
from lomond.net.offload import logged, offload
from lomond.net.shortage import find_shortage
from lomond.net.steps import operation

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Text  # noqa: F401

    from lomond.net.options import NetOptions  # noqa: F401
    from lomond.net.progress import Progress  # noqa: F401
    from lomond.net.steps import Steps  # noqa: F401


@operation
def resolve(host, port, options, deadline, progress, abandoned=None):
    # type: (Text, int, NetOptions, float, Progress, Optional[List[Any]]) -> Steps
    """Find the addresses of a host: at least one, in the form of `socket.getaddrinfo`.

    An address is never looked up. Parameters: ``options``, whose ``resolver`` is called in the
    thread instead of `socket.getaddrinfo`; ``progress``, which a lookup enters; ``abandoned``, a
    list that `offload` describes. Raises ConnectFail.
    """
    name = str(host)
    try:
        addresses = read_address(name, port)  # type: Any
    except (socket.error, UnicodeError) as error:
        if ':' in name:     # an address, of a zone that this machine hasn't
            raise _failed(host, describe(error), error)
        addresses = None
    if addresses is None:
        progress.enter('resolve')
        look_up = functools.partial(
            _look_up, options.resolver or socket.getaddrinfo, name, port)  # type: Callable[[], Any]
        if options.resolver is not None:
            look_up = logged(look_up, 'resolver', options.logger)
        try:
            addresses = yield offload(look_up, deadline, abandoned=abandoned)
        except socket.timeout as error:
            raise _failed(host, u'the resolver did not answer in time', error)
        except (socket.error, UnicodeError) as error:
            raise _failed(host, describe(error), error)
        except Exception as error:      # the user's resolver
            raise _failed(
                host, u'the resolver failed: {}'.format(describe_with_type(error)),
                error)
        _check(host, addresses)
    yield addresses


def _look_up(resolver, name, port):
    # type: (Callable[..., Iterable[Any]], str, int) -> List[Any]
    """Call a resolver, in a thread."""
    try:
        return list(resolver(name, port, 0, socket.SOCK_STREAM))
    except socket.gaierror:
        # Without a descriptor for its question, the system's says that there is no such name.
        shortage = find_shortage()
        if shortage is not None:
            raise shortage
        raise


def _check(host, addresses):
    # type: (Text, List[Any]) -> None
    """Check what a resolver returned; raises ConnectFail."""
    try:
        for _family, _kind, _proto, _name, address in addresses:
            # connect() would look up a name, and block the loop.
            read_address(address[0], address[1])
    except (socket.error, TypeError, ValueError, LookupError) as error:
        raise _failed(
            host, u'the resolver returned {!r}, and not a list as socket.getaddrinfo does'.format(
                addresses), error)
    if not addresses:
        raise _failed(host, u'it has no address', None)


def _failed(host, words, cause):
    # type: (Text, Text, Any) -> ConnectFail
    return ConnectFail.during('resolve', u'could not find {}: {}'.format(host, words), cause)
