"""The client's end of a WebSocket: options, the handshake, and the way to its events.

Does no I/O: `connect` hands it to a session that does.
"""

from __future__ import absolute_import, division, print_function

import base64
import os
from functools import partial

from lomond import errors, events
from lomond._checks import check_count, check_seconds
from lomond._compat import TYPE_CHECKING, encode_text, text_type
from lomond._describe import describe
from lomond._endpoint import FRAGMENT_SIZE, MAX_MESSAGE_SIZE, Endpoint
from lomond._hints import takes_options
from lomond.constants import USER_AGENT, WS_VERSION
from lomond.http.answer import ResponseReader
from lomond.http.grammar import check_line
from lomond.http.redirects import RedirectChain
from lomond.http.request import RequestOptions
from lomond.http.url import parse_url
from lomond.net.options import NetOptions, TLSOptions
from lomond.net.transport import MAX_READ_AHEAD
from lomond.protocol.connection import CLIENT
from lomond.protocol.extensions import permessage_deflate
from lomond.protocol.extensions.grammar import format_extension
from lomond.protocol.handshake import (
    build_head,
    check_extensions,
    check_protocols,
    check_response,
    extension_names,
)
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.session import WebsocketSession

if TYPE_CHECKING:
    from typing import (  # noqa: F401
        Any,
        Callable,
        Dict,
        Iterable,
        Iterator,
        List,
        Mapping,
        Optional,
        Set,
        Tuple,
        Type,
        Union,
    )

    from lomond._endpoint import JSONDumps, JSONLoads  # noqa: F401
    from lomond.events import Event  # noqa: F401
    from lomond.http.response import Response  # noqa: F401
    from lomond.http.url import Target  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401

    Trace = Union[bool, Callable[[Dict[str, Any]], Any]]


# Parameters that `_net_options` and `_request_options` hold, taken apart.
_NET = frozenset([
    'proxies', 'source_address', 'tcp_keepalive', 'socket_options', 'sock', 'resolver'])
_TLS = ('ssl_verify', 'ssl_cafile', 'ssl_context', 'ssl_certfile', 'ssl_keyfile',
        'ssl_server_hostname', 'ssl_fingerprint')
_REQUEST = frozenset(['headers', 'cookies', 'netrc'])


def _check_agent(agent):
    # type: (Optional[Union[bytes, text_type]]) -> text_type
    if agent is None:
        agent = USER_AGENT
    if isinstance(agent, bytes):
        try:
            agent = agent.decode('utf-8')
        except UnicodeDecodeError:
            raise ValueError('agent must be text or UTF-8 bytes: these bytes are not UTF-8')
    if not isinstance(agent, text_type):
        raise TypeError('agent must be text or bytes, not {!r}'.format(agent))
    encode_text(agent)
    return check_line('agent', agent)


def _check_trace(trace):
    # type: (Optional[Trace]) -> Optional[Trace]
    if not (callable(trace) or trace in (None, True, False)):
        raise TypeError('trace must be callable, True or None, not {!r}'.format(trace))
    return trace


class WebSocket(Endpoint):
    """A WebSocket client. Iterate over it to connect, and to get its events.

    Parameters:

    - ``url``: ``ws://`` or ``wss://``, or ``ws+unix:///path:/resource`` and
      ``wss+unix:``; ``user:password@`` becomes Basic authorization.
    - ``proxies``: a dict with a proxy's URL under 'ws' or 'http' (for ws), 'wss'
      or 'https' (for wss), or 'all', the first of these that is there; 'no' is
      as NO_PROXY. None asks the environment, {} means none.
    - ``protocols``: names of the subprotocols to offer, the preferred first.
    - ``agent``: the User-Agent header; None for `constants.USER_AGENT`.
    - ``compress``: True to offer permessage-deflate, or a
      `lomond.extensions.DeflateOptions`.
    - ``ssl_verify``: False takes any certificate.
    - ``ssl_cafile``: a file of certificates to trust; None for certifi's,
      or what SSL_CERT_FILE and SSL_CERT_DIR name.
    - ``ssl_context``: an `ssl.SSLContext` to use as it is; then the two
      above don't count.
    - ``trace``: called on the way to the connection and at its end with a
      dict, whose 'stage' is a name and 'url' where it goes; True logs these,
      without passwords, tokens and cookies.
    - ``max_message_size``: bytes of the largest message taken in, on the wire
      and inflated (64 MiB); None for no limit. A larger one ends the
      connection with 1009.
    - ``connect_timeout``: seconds for connecting, TLS and the handshake
      together (30); None for no limit.
    - ``write_timeout``: seconds that a send may wait while the server reads
      less than 16 KiB (30); None for no limit.
    - ``headers``: more headers for the request: a mapping, whose values may be
      lists, a list of pairs, or a function that returns either, called anew
      for each request.
    - ``cookies``: an `http.cookiejar.CookieJar`, or True for one of its own;
      None sends and keeps none.
    - ``netrc``: True to look for the host's password in ``~/.netrc``, or the
      path of such a file.
    - ``max_redirects``: how many redirects are followed in one attempt (5).
    - ``ssl_certfile``, ``ssl_keyfile``: files with the client's own
      certificate and its key, in PEM; the key may be in the first. These and
      the authorities' are read again for a connection if they have changed.
    - ``ssl_server_hostname``: the name to ask for in TLS (SNI), and to check
      the certificate against, instead of the URL's host.
    - ``ssl_fingerprint``: the SHA-256 of the server's certificate in
      hexadecimal, or a list of these; with another the connection fails.
      With ``ssl_verify=False`` nothing but this is checked.
    - ``source_address``: the address to connect from, or a pair of it and a port.
    - ``tcp_keepalive``: after how many seconds without traffic the system asks
      if the other end is there (60); None for never.
    - ``socket_options``: triples for `socket.setsockopt`.
    - ``sock``: a connected socket to use instead of connecting, as it is, or a
      function that returns one for each attempt; called in a thread.
    - ``resolver``: called instead of `socket.getaddrinfo`, in a thread.
    - ``json_loads``: what reads a text event's ``json``: called with its text,
      returns the object, such as ``orjson.loads``; None for `json.loads`.
    - ``json_dumps``: what writes the text of `send_json`: called with an object,
      returns text, or its UTF-8 in bytes, such as ``orjson.dumps``; None for
      `json.dumps`.
    - ``fragment_size``: bytes of payload in one frame (1 MiB): a larger message
      is sent in fragments (RFC 6455 5.4), and pings, pongs and Close frames go
      out in between. None sends each message as one frame.
    - ``max_read_ahead``: bytes that a send which waits for the server keeps of
      what the server sends (64 MiB, and at least ``max_message_size``); None
      for no limit.

    Raises TypeError and ValueError for arguments that make no sense.

    Each is an attribute, too. Setting it checks the value as the constructor
    does. It holds from the next connection on (``write_timeout``, ``trace``
    and ``json_dumps``: at once). A dict or list is read once, when it is given:
    set another one instead of changing it. ``cookies`` is the jar, or None.
    """

    _role = CLIENT

    _checks = dict(
        Endpoint._checks,
        agent=_check_agent,
        trace=_check_trace,
        connect_timeout=partial(check_seconds, 'connect_timeout'),
        max_redirects=partial(check_count, 'max_redirects', least=0),
    )

    @takes_options('WebSocket', 'WebSocket(url, {}=...)')
    def __init__(self, url, proxies=None, protocols=None, agent=None, compress=False,
                 ssl_verify=True, ssl_cafile=None, ssl_context=None, trace=None,
                 max_message_size=MAX_MESSAGE_SIZE, connect_timeout=30.0, write_timeout=30.0,
                 headers=None, cookies=None, netrc=False, max_redirects=5, ssl_certfile=None,
                 ssl_keyfile=None, ssl_server_hostname=None, ssl_fingerprint=None,
                 source_address=None, tcp_keepalive=60.0, socket_options=(), sock=None,
                 resolver=None, json_loads=None, json_dumps=None, fragment_size=FRAGMENT_SIZE,
                 max_read_ahead=MAX_READ_AHEAD):
        # type: (str, Optional[Mapping[str, Optional[str]]], Optional[Iterable[str]], Optional[str], Union[bool, DeflateOptions], bool, Optional[str], Any, Optional[Trace], Optional[int], Optional[float], Optional[float], Any, Any, Union[bool, str], int, Optional[str], Optional[str], Optional[str], Union[None, str, Iterable[str]], Any, Optional[float], Iterable[Tuple[int, int, Any]], Any, Optional[Callable[..., Any]], Optional[JSONLoads], Optional[JSONDumps], Optional[int], Optional[int]) -> None
        super(WebSocket, self).__init__(
            protocols, compress, max_message_size, write_timeout, json_loads, json_dumps,
            fragment_size, max_read_ahead)
        self.url = url
        self.agent = agent  # type: text_type   # type: ignore[assignment]  # once checked
        self.trace = trace
        self.connect_timeout = connect_timeout
        self.max_redirects = max_redirects
        #: How to reach the server: a `lomond.net.options.NetOptions`.
        self._net_options = NetOptions(
            proxies, source_address, tcp_keepalive, socket_options, sock, resolver,
            TLSOptions(ssl_verify, ssl_cafile, ssl_context, ssl_certfile, ssl_keyfile,
                       ssl_server_hostname, ssl_fingerprint))
        self.proxies = proxies
        self.source_address = source_address
        self.tcp_keepalive = tcp_keepalive
        self.socket_options = socket_options
        self.sock = sock
        self.resolver = resolver
        self.ssl_verify = ssl_verify
        self.ssl_cafile = ssl_cafile
        self.ssl_context = ssl_context
        self.ssl_certfile = ssl_certfile
        self.ssl_keyfile = ssl_keyfile
        self.ssl_server_hostname = ssl_server_hostname
        self.ssl_fingerprint = ssl_fingerprint
        self._request_options = RequestOptions(headers, cookies, netrc)
        self.headers = headers
        self.cookies = self._request_options.jar
        self.netrc = netrc
        self._key = None  # type: Optional[bytes]
        self.reset()
        self._is_made = True

    if not TYPE_CHECKING:
        def __setattr__(self, name, value):
            """Set an attribute; a parameter's holds from the next connection on."""
            if self._is_made:
                if name in _NET:
                    self._net_options.change(name, value)
                elif name in _TLS:
                    given = dict(self.__dict__, **{name: value})
                    self._net_options.tls = TLSOptions(*[given[each] for each in _TLS])
                elif name in _REQUEST:
                    self._request_options.change(name, value)
                    if name == 'cookies':
                        value = self._request_options.jar
            super(WebSocket, self).__setattr__(name, value)

    def __repr__(self):
        # type: () -> str
        return 'WebSocket({!r})'.format(str(self.target.url))

    # -- where to --

    @property
    def url(self):
        # type: () -> str
        """The URL as it was given. Another one may be set between two connections.

        Raises TypeError, ValueError, and WebSocketUnavailable while a loop runs.
        """
        return self._url

    @url.setter
    def url(self, url):
        # type: (str) -> None
        target = parse_url(url)
        with self._loop_lock():
            self._check_idle()
            self._url = url
            self._chain = RedirectChain.begin(target)

    @property
    def target(self):
        # type: () -> Target
        """Where to connect: the URL taken apart, or where a redirect led in this attempt."""
        return self._chain.target      # type: ignore[no-any-return]

    @property
    def net_options(self):
        # type: () -> NetOptions
        """How to connect to the target."""
        options = self._net_options
        return options.for_strangers() if self._chain.is_cross_origin else options

    @property
    def scheme(self):
        # type: () -> text_type
        """'ws', 'wss', 'ws+unix' or 'wss+unix'."""
        return self.target.scheme   # type: ignore[no-any-return]

    @property
    def host(self):
        # type: () -> text_type
        """The server's name in ASCII, or its address without brackets."""
        return self.target.host     # type: ignore[no-any-return]

    @property
    def port(self):
        # type: () -> int
        """The server's port."""
        return self.target.port     # type: ignore[no-any-return]

    @property
    def resource(self):
        # type: () -> text_type
        """The path and query."""
        return self.target.resource     # type: ignore[no-any-return]

    @property
    def is_secure(self):
        # type: () -> bool
        """True for a wss or wss+unix URL."""
        return self.target.is_secure

    @property
    def key(self):
        # type: () -> bytes
        """The Sec-WebSocket-Key of the present or next attempt."""
        if self._key is None:
            self._key = base64.b64encode(os.urandom(16))    # RFC 6455 4.1
        return self._key

    # -- the loop --

    @takes_options('connect', 'websocket.connect({}=...)')
    def connect(self, session_class=WebsocketSession, poll=5.0, ping_rate=30.0,
                ping_timeout=None, auto_pong=True, close_timeout=30.0):
        # type: (Callable[[WebSocket], Any], Optional[float], Optional[float], Optional[float], bool, Optional[float]) -> Iterator[Event]
        """Return an iterator that connects and yields events; iterating does it, this doesn't.

        Parameters, each in seconds, None or 0 for never:

        - ``poll``: how often Poll comes.
        - ``ping_rate``: how often a ping goes out.
        - ``ping_timeout``: how long the server may stay silent, when asked by
          a ping, before Unresponsive. After half of it a silent server is
          asked, also before `ping_rate` has passed.
        - ``close_timeout``: how long to wait for the answer to a Close frame.

        And ``auto_pong``, whether pings are answered, and ``session_class``,
        what drives the connection: `WebsocketSession` or a subclass of it.

        Raises WebSocketUnavailable if a loop over this WebSocket is running.
        """
        if not callable(session_class):
            raise TypeError(
                'session_class must be a class, not {!r}: pass options by name, as in '
                'connect(poll=1)'.format(session_class))
        options = {
            'poll': check_seconds('poll', poll),
            'ping_rate': check_seconds('ping_rate', ping_rate),
            'ping_timeout': check_seconds('ping_timeout', ping_timeout),
            'close_timeout': check_seconds('close_timeout', close_timeout),
        }
        with self._loop_lock():
            self.reset()
            session = session_class(self)
            self._attach(session)
        return session.run(auto_pong=auto_pong, **options)  # type: ignore[no-any-return]

    def __iter__(self):
        # type: () -> Iterator[Event]
        return self.connect()

    def reset(self):
        # type: () -> None
        """Forget the last connection; WebSocketUnavailable while there is one."""
        with self._loop_lock():
            self._check_idle()
            self._attach(None)
            self._stream = self._new_stream()
            self._begin_request(RedirectChain.begin(self._chain.first))

    def _begin_request(self, chain):
        # type: (RedirectChain) -> None
        """Prepare for a request to the chain's target."""
        self._chain = chain
        self._key = None    # drawn when the request is built
        self._reader = ResponseReader(
            DEFAULT_LIMITS.head, DEFAULT_LIMITS.body,
            secure_scheme=None if chain.target.is_secure else u'wss')

    def _check_idle(self):
        # type: () -> None
        if self._session is not None and self._session.is_running:
            raise errors.WebSocketUnavailable(
                'a loop over this WebSocket is already running: end it by close() or '
                'force_disconnect(); if the loop was left early, call close() on its iterator; '
                'for a second connection, create another WebSocket')

    # -- the handshake --

    def add_header(self, header, value):
        # type: (Union[bytes, text_type], Union[bytes, text_type]) -> None
        """Add a header to the request; Host, User-Agent and Authorization are replaced.

        Text goes in UTF-8, bytes as they are. Raises TypeError, and ValueError
        for what can't stand in a header, for those that the handshake itself
        sets, and for Proxy-Authorization.
        """
        self._request_options.add_header(header, value)

    @property
    def is_refused(self):
        # type: () -> bool
        """True once the handshake can only fail, the rest of the answer being on its way."""
        return self._reader.is_refusal

    def build_request(self):
        # type: () -> bytes
        """Return the upgrade request (RFC 6455 4.1); the session calls this.

        Raises ConnectFail if there are no headers, no cookies or no password
        to be had: these are asked for anew each time.
        """
        try:
            key = self.key
        except EnvironmentError as error:       # 2.7 opens a device for it
            raise errors.ConnectFail.during(
                'request', u'could not read random bytes for Sec-WebSocket-Key: {}'.format(
                    describe(error)), error)
        own = self._request_options.fields(self._chain)
        replaced = {name.lower() for name, _value in own}
        target = self.target
        fields = [
            (u'Host', target.host_header),
            (u'Upgrade', u'websocket'),
            (u'Connection', u'Upgrade'),
            (u'Sec-WebSocket-Key', key.decode('ascii')),
            (u'Sec-WebSocket-Version', text_type(WS_VERSION)),
        ]  # type: List[Tuple[text_type, Union[bytes, text_type]]]
        protocols = check_protocols(self.protocols)     # a list: it may have been changed
        if protocols:
            fields.append((u'Sec-WebSocket-Protocol', u', '.join(protocols)))
        if self._deflate_options is not None:
            fields.append((u'Sec-WebSocket-Extensions', format_extension(
                permessage_deflate.NAME, permessage_deflate.offer(self._deflate_options))))
        if self.agent:
            fields.append((u'User-Agent', self.agent))
        fields = [field for field in fields if field[0].lower() not in replaced]
        fields.extend(own)
        return build_head(u'GET {} HTTP/1.1'.format(target.resource), fields)

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[Event]
        try:
            found = self._reader.feed(data)
        except errors.CriticalProtocolError as error:
            self._stream.reject()
            yield events.ProtocolError(text_type(error), critical=True)
            return
        redirected, reason = self._follow_redirect()
        if redirected is not None:
            yield redirected
            return
        if found is None:
            return
        response, rest = found
        self._request_options.store_cookies(response, self._chain)
        if reason is None:
            try:
                protocol, extensions = self.on_response(response)
            except errors.HandshakeError as error:
                reason = text_type(error)
        if reason is not None:
            self._stream.reject()
            yield events.Rejected(response, reason)
            return
        yield events.Ready(response, protocol, extensions)
        for event in self._stream.receive(rest):
            yield event

    def _follow_redirect(self):
        # type: () -> Tuple[Optional[Event], Optional[text_type]]
        """Go where a redirect leads; return the event of it, or why it isn't followed.

        Both are None if there is no redirect. The head of the answer is
        enough: its body may be long in coming.
        """
        response = self._reader.response
        if response is None:
            return None, None
        try:
            chain = self._chain.follow(
                response, self.max_redirects, self.net_options.sock is not None)
        except errors.HandshakeError as error:
            return None, text_type(error)
        if chain is None:
            return None, None
        self._request_options.store_cookies(response, self._chain)
        self._begin_request(chain)
        return events.Redirected(response, chain.target.url), None

    def on_response(self, response):
        # type: (Response) -> Tuple[Optional[text_type], Set[text_type]]
        """Check the server's answer, and open; return the subprotocol and the extensions.

        Raises HandshakeError.
        """
        protocol = check_response(response, self.key, self.protocols)
        extensions = self.process_extensions(
            response.headers.get_all(u'Sec-WebSocket-Extensions'))
        return protocol, extensions

    def process_extensions(self, extensions):
        # type: (Iterable[text_type]) -> Set[text_type]
        """Put the extensions that the server chose in force; return their names.

        Parameters: the header's values. Raises HandshakeError.
        """
        codec = check_extensions(u', '.join(extensions), self._deflate_options)
        self._stream.accept(codec)
        return extension_names(codec)
