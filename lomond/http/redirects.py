"""Redirects: resolves the target of one, and decides whether to follow it (RFC 7231 6.4).

It does no I/O: the input is a target and a response, the output another target.
"""

from __future__ import absolute_import, division, print_function

import re

from lomond._compat import TYPE_CHECKING, NamedTuple, text_type
from lomond.errors import HandshakeError
from lomond.http.redact import hide_secrets
from lomond.http.url import parse_url

if TYPE_CHECKING:
    from typing import List, Optional  # noqa: F401

    from lomond.http.response import Response  # noqa: F401
    from lomond.http.url import Target  # noqa: F401

#: Statuses of a redirect, which all mean the same here, as the request of a WebSocket is a GET.
REDIRECT_STATUSES = frozenset([301, 302, 303, 307, 308])

# RFC 3986 3.1
_SCHEME = re.compile(u'([A-Za-z][A-Za-z0-9+.-]*):')

# A server that redirects all of its URLs may use http and https for WebSockets, too.
_SCHEMES = {u'ws': u'ws', u'wss': u'wss', u'http': u'ws', u'https': u'wss'}


class RedirectChain(NamedTuple('RedirectChain', [
        ('first', 'Target'), ('target', 'Target'), ('redirects', int), ('is_cross_origin', bool)])):
    """The redirects of one attempt to connect.

    ``first``, the `lomond.http.url.Target` of the user's URL; ``target``, the one to connect to
    now; ``redirects``, the number of redirects between them; ``is_cross_origin``, True once one of
    them led to another scheme, host or port. From then on no credentials for the first origin are
    sent, even if a later redirect leads back to it.
    """

    __slots__ = ()

    @classmethod
    def begin(cls, target):
        # type: (Target) -> RedirectChain
        """Return the chain of an attempt that hasn't been redirected."""
        return cls(target, target, 0, False)

    def follow(self, response, max_redirects, has_socket=False):
        # type: (Response, int, bool) -> Optional[RedirectChain]
        """Return the chain after a redirect, or None if the response isn't one to follow.

        Parameters: ``max_redirects`` in one attempt; ``has_socket``, True if the user passed a
        socket, which can't reach another server. Raises HandshakeError, which says why the
        redirect isn't followed.
        """
        locations = set(response.headers.get_all(u'Location')) - {u''}
        if not max_redirects or response.status_code not in REDIRECT_STATUSES or not locations:
            return None
        if len(locations) > 1:
            raise _refusal(response, u'it has more than one Location header')
        if self.redirects >= max_redirects:
            raise _refusal(
                response, u'more than {} redirects (max_redirects)'.format(max_redirects))
        try:
            target = resolve(locations.pop(), self.target)
        except ValueError as error:
            raise _refusal(response, text_type(error)[:200])
        if self.target.is_secure and not target.is_secure:
            raise _refusal(response, u'it leads from wss to ws, which is not encrypted')
        is_cross_origin = not _is_same_origin(target, self.target)
        if is_cross_origin and (has_socket or _is_local(self.target)):
            raise _refusal(
                response, u'it leads to {}, which sock or the Unix socket does not reach'.format(
                    hide_secrets(target.url)[:200]))
        return self._replace(
            target=target, redirects=self.redirects + 1,
            is_cross_origin=self.is_cross_origin or is_cross_origin)


def resolve(location, target):
    # type: (text_type, Target) -> Target
    """Return the new target for a Location header of ``target``'s response; raises ValueError.

    The Location may be relative (RFC 3986 5.2). Its fragment is dropped, as clients don't send
    fragments. Its credentials replace those of ``target``, which are only kept for the same origin.
    """
    location = _to_text(location)
    match = _SCHEME.match(location)
    if match is not None:
        scheme = _SCHEMES.get(match.group(1).lower())
        if scheme is None:
            raise ValueError('it leads to {!r}, which is not a ws, wss, http or https URL'.format(
                hide_secrets(location)[:80]))
        url = scheme + location[match.end(1):]
    elif location.startswith(u'//'):
        url = u'{}:{}'.format(u'wss' if target.is_secure else u'ws', location)
    else:
        # Only the path is resolved: the rest of the target may not fit into a URL (an IPv6 zone,
        # a socket's path).
        path = location.partition(u'#')[0]
        path = parse_url(u'ws://localhost' + _resolve_path(path, target.resource)).resource
        return target._replace(resource=path)
    found = parse_url(url, drops_fragment=True)
    if _is_same_origin(found, target):
        return target._replace(
            resource=found.resource, credentials=found.credentials or target.credentials)
    return found


def _is_same_origin(one, other):
    # type: (Target, Target) -> bool
    """Return whether two targets have the same origin (RFC 6454 4)."""
    return (one.is_secure, one.host, one.port) == (other.is_secure, other.host, other.port)


def _is_local(target):
    # type: (Target) -> bool
    """Return whether the target is a Unix domain socket."""
    return target.unix_path is not None


def _resolve_path(reference, base):
    # type: (text_type, text_type) -> text_type
    """Resolve a path and query against a base path and query (RFC 3986 5.2.2)."""
    base_path, _mark, base_query = base.partition(u'?')
    path, mark, query = reference.partition(u'?')
    if not path:
        return u'{}?{}'.format(base_path, query if mark else base_query)
    if not path.startswith(u'/'):
        path = base_path[:base_path.rfind(u'/') + 1] + path
    return _remove_dots(path) + mark + query


def _remove_dots(path):
    # type: (text_type) -> text_type
    """Resolve '.' and '..' in an absolute path (RFC 3986 5.2.4)."""
    segments = path.split(u'/')[1:]
    kept = []  # type: List[text_type]
    for segment in segments:
        if segment == u'..':
            del kept[-1:]
        elif segment != u'.':
            kept.append(segment)
    if segments[-1] in (u'.', u'..'):
        kept.append(u'')
    return u'/' + u'/'.join(kept)


def _to_text(location):
    # type: (text_type) -> text_type
    """Return a header, which was decoded as Latin-1, decoded as UTF-8 if it is valid UTF-8."""
    try:
        return location.encode('latin-1').decode('utf-8')
    except UnicodeError:
        return location


def _refusal(response, why):
    # type: (Response, text_type) -> HandshakeError
    return HandshakeError(u'redirect not followed ({} {}): {}'.format(
        response.status_code, response.status, why))
