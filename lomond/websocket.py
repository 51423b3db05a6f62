"""The client's end of a WebSocket: its options, the handshake, and the loop over its events.

It does no I/O itself: `connect` creates a session that does.
"""

from __future__ import absolute_import, division, print_function

from functools import partial

from lomond import errors, events
from lomond._checks import check_count, check_flag, check_seconds, check_spin
from lomond._compat import TYPE_CHECKING, NamedTuple, text_type
from lomond._describe import describe
from lomond._endpoint import Endpoint, with_defaults
from lomond._hints import check_passed_on, takes_options
from lomond._locks import ProcessLock
from lomond._messages import check_bytes
from lomond._options import FRAGMENT_SIZE, MAX_MESSAGE_SIZE, agreed_extensions
from lomond.engine.attempt import Attempt
from lomond.engine.handover import Handover
from lomond.http.redact import TraceRecord
from lomond.http.request import RequestOptions, check_agent
from lomond.http.url import bracket, parse_url
from lomond.net.dial import Dialer
from lomond.net.given import wrap
from lomond.net.options import NetOptions, TLSOptions
from lomond.net.transport import MAX_READ_AHEAD
from lomond.protocol.close import CloseFrame
from lomond.protocol.connection import CLIENT, SERVER
from lomond.protocol.extensions import negotiation
from lomond.protocol.handshake import build_request, check_protocols, check_response
from lomond.protocol.state import StateName
from lomond.session import WebsocketSession

if TYPE_CHECKING:
    from http.cookiejar import CookieJar  # noqa: F401
    from os import PathLike
    from socket import socket  # noqa: F401
    from ssl import SSLContext  # noqa: F401
    from typing import (  # noqa: F401
        Any,
        Callable,
        Dict,
        Generator,
        Iterable,
        Iterator,
        List,
        Mapping,
        Optional,
        Sequence,
        Set,
        Tuple,
        Type,
        TypeVar,
        Union,
    )

    from typing_extensions import Literal, TypedDict, Unpack  # noqa: F401

    from lomond._endpoint import Option
    from lomond._messages import BytesLike  # noqa: F401
    from lomond._options import JSONDumps, JSONLoads, Logger, MessageParts
    from lomond.events import AnyEvent  # noqa: F401
    from lomond.http.response import Response  # noqa: F401
    from lomond.http.url import Target  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401
    from lomond.protocol.extensions.base import Extension  # noqa: F401
    from lomond.protocol.extensions.negotiation import Factory  # noqa: F401
    from lomond.protocol.extensions.permessage_deflate import DeflateOptions  # noqa: F401

    FilePath = Union[str, PathLike[str]]
    Trace = Union[None, bool, Callable[[TraceRecord], Any]]
    HeaderText = Union[bytes, text_type]
    # Any, as mypy makes list[object] of text and lists in one dict.
    HeaderValue = Union[None, HeaderText, Sequence[Any]]
    Headers = Union[Mapping[Any, HeaderValue], Iterable[Tuple[HeaderText, HeaderValue]]]
    # As `socket.getaddrinfo` returns them: family, kind, protocol, canonical name, address.
    Addresses = Iterable[Tuple[int, int, int, str, Tuple[Any, ...]]]
    W = TypeVar('W', bound='WebSocket')

    #: Those of the constructor that `WebSocket.attach` takes.
    AttachOptions = TypedDict('AttachOptions', {
        'max_message_size': Optional[int],
        'write_timeout': Optional[float],
        'json_loads': Optional[JSONLoads],
        'json_dumps': Optional[JSONDumps],
        'fragment_size': Optional[int],
        'max_read_ahead': Optional[int],
        'message_parts': MessageParts,
        'text_as_bytes': bool,
        'trace': Trace,
        'logger': Optional[Logger],
    }, total=False)
    Resolver = Callable[[str, int, int, int], Addresses]

__all__ = ['CloseFrame', 'StateName', 'TraceRecord', 'WebSocket']

#: The options of a loop: those of `WebSocket.connect` except ``session_class``.
Timing = NamedTuple('Timing', [
    ('poll', 'Optional[float]'), ('ping_rate', 'Optional[float]'),
    ('ping_timeout', 'Optional[float]'), ('auto_pong', bool), ('close_timeout', 'Optional[float]'),
    ('idle_timeout', 'Optional[float]'), ('stale_disconnects', bool),
    ('max_age', 'Optional[float]'), ('heartbeat', 'Optional[float]')])

# Those that 0.3.x had not.
_NEWER = frozenset(['idle_timeout', 'stale_disconnects', 'max_age', 'spin', 'heartbeat'])

# Parameters that `_net_options` and `_request_options` hold in parsed form.
_NET = frozenset(NetOptions._fields) - {'tls'}
_TLS = {'ssl_' + field: field for field in TLSOptions._fields}
_REQUEST = frozenset(['headers', 'cookies', 'netrc'])


# The options that `WebSocket.attach` passes to the constructor.
_ATTACHED = frozenset([
    'max_message_size', 'write_timeout', 'json_loads', 'json_dumps', 'fragment_size',
    'max_read_ahead', 'message_parts', 'text_as_bytes', 'trace', 'logger'])


def _url_of(transport):
    # type: (Transport) -> text_type
    """Return a URL for a connection whose URL isn't known: of the other end's address."""
    address = transport.peer_address
    if not isinstance(address, tuple):
        return u'ws://localhost/'       # a Unix socket
    return u'{}://{}:{}/'.format(
        u'wss' if transport.is_secure else u'ws', bracket(text_type(address[0]).partition(u'%')[0]),
        address[1])


def _check_trace(trace):
    # type: (Trace) -> Trace
    if not (callable(trace) or trace in (None, True, False)):
        raise TypeError('trace must be callable, True or None, not {!r}'.format(trace))
    return trace


@takes_options('aio.connect', 'aio.connect(websocket, {}=...)', ('policy', 'max_queue'))
def check_timing(
    poll=None,              # type: Optional[float]
    ping_rate=30.0,         # type: Optional[float]
    ping_timeout=None,      # type: Optional[float]
    auto_pong=True,         # type: bool
    close_timeout=30.0,     # type: Optional[float]
    idle_timeout=None,      # type: Optional[float]
    stale_disconnects=False,    # type: bool
    max_age=None,           # type: Optional[float]
    heartbeat=None,         # type: Optional[float]
):
    # type: (...) -> Timing
    """Return the options of a loop, as `Session.begin` takes them; raises TypeError, ValueError."""
    auto_pong = check_flag('auto_pong', auto_pong)
    stale_disconnects = check_flag('stale_disconnects', stale_disconnects)
    if stale_disconnects and not idle_timeout:
        raise ValueError('stale_disconnects=True has no effect without idle_timeout: set '
                         'idle_timeout, in seconds, too')
    return Timing(
        check_seconds('poll', poll), check_seconds('ping_rate', ping_rate),
        check_seconds('ping_timeout', ping_timeout), auto_pong,
        check_seconds('close_timeout', close_timeout), check_seconds('idle_timeout', idle_timeout),
        stale_disconnects, check_seconds('max_age', max_age),
        check_seconds('heartbeat', heartbeat))


def _blocking_options(spin=0.0, **timing):
    # type: (Optional[float], **Any) -> Dict[str, Any]
    """Return the options of a loop that waits, as a session's `run` takes them; raises as above.

    The newer ones only if they are set: a ``session_class`` may have 0.3.x's `run`.
    """
    options = dict(check_timing(**timing)._asdict(), spin=check_spin(spin))
    return {name: value for name, value in options.items() if value or name not in _NEWER}


@with_defaults
class WebSocket(Endpoint):
    """A WebSocket client: iterate over it to connect, and to get its events.

    Parameters:

    - ``url``: ``ws://`` or ``wss://``, or ``ws+unix:///path:/resource`` or ``wss+unix:``;
      ``user:password@`` is sent as Basic authorization.
    - ``proxies``: a dict with the proxy's URL under 'ws' or 'http' (for ws), 'wss' or 'https' (for
      wss), or 'all', in this order of precedence; 'no' is a list like NO_PROXY. None uses the
      environment, {} no proxy.
    - ``protocols``: names of the subprotocols to offer, the preferred one first.
    - ``agent``: the User-Agent header; None for `constants.USER_AGENT`.
    - ``compress``: True to offer permessage-deflate, or a `lomond.extensions.DeflateOptions`.
    - ``ssl_verify``: False to accept any certificate.
    - ``ssl_cafile``: a file of certificates to trust; None for certifi's, or those that
      SSL_CERT_FILE and SSL_CERT_DIR name.
    - ``ssl_context``: an `ssl.SSLContext` to use as it is; the two options above have no effect
      then.
    - ``trace``: a function that is called on the way to the connection and at its end, with a dict
      whose 'stage' is a name and 'url' the target; True logs these, without passwords, tokens and
      cookies.
    - ``max_message_size``: bytes of the largest message to accept, on the wire and inflated
      (64 MiB); None for no limit. A larger one ends the connection with 1009.
    - ``connect_timeout``: seconds for the DNS lookup, connecting, TLS and the handshake together
      (30); None or 0 for no limit.
    - ``write_timeout``: seconds that a send may wait while the server reads less than 16 KiB (30);
      None or 0 for no limit.
    - ``headers``: headers to add to the request: a mapping, whose values may be lists, a list of
      pairs, or a function that returns either, which is called for each request. ``{'User-Agent':
      None}`` leaves that header out.
    - ``cookies``: an `http.cookiejar.CookieJar`, or True for a new one; None for no cookies.
    - ``netrc``: True to read the host's password from ``~/.netrc``, or the path of such a file.
    - ``max_redirects``: how many redirects to follow in one attempt (5); 0 for none.
    - ``ssl_certfile``, ``ssl_keyfile``: files with the client's own certificate and its key, in
      PEM; the key may be in the first. These files and those of the authorities are read again for
      a connection if they have changed.
    - ``ssl_server_hostname``: the name to request in TLS (SNI) and to check, instead of the URL's
      host.
    - ``ssl_fingerprint``: the SHA-256 of the server's certificate in hexadecimal, or a list of
      these; another certificate is refused. With ``ssl_verify=False`` nothing else is checked.
    - ``source_address``: the address to connect from, or a pair of it and a port.
    - ``tcp_keepalive``: seconds without traffic before the system probes the other end (60); None
      or 0 for never.
    - ``socket_options``: triples for `socket.setsockopt`.
    - ``sock``: a connected socket to use as it is, instead of connecting, or a function that
      returns one for each attempt, called in a thread.
    - ``resolver``: a function to call instead of `socket.getaddrinfo`, in a thread.
    - ``json_loads``: the function that decodes a text event's ``json``, such as ``orjson.loads``;
      None for `json.loads`.
    - ``json_dumps``: the function that encodes an object for `send_json`, as text or UTF-8 bytes,
      such as ``orjson.dumps``; None for `json.dumps`.
    - ``fragment_size``: bytes of payload in one frame (1 MiB): a larger message is sent in
      fragments (RFC 6455 5.4), with pings, pongs and Close frames in between. None sends each
      message as one frame.
    - ``max_read_ahead``: bytes from the server that a waiting send buffers (64 MiB, and at least
      ``max_message_size``); None for no limit.
    - ``extensions``: factories of extensions to offer, such as subclasses of
      `lomond.extensions.Extension` (none). Its attribute is ``extension_factories``.
    - ``message_parts``: True to get messages in parts, as they arrive (False); or a function of
      an opcode and the bytes that a message's frames have announced so far, which says so.
    - ``text_as_bytes``: True to get texts as their UTF-8, checked, in ``event.data`` (False).
    - ``logger``: the `logging.Logger` or `logging.LoggerAdapter` for what is logged about this
      WebSocket, ``trace=True`` included; None for the logger ``lomond``.

    Raises TypeError and ValueError for invalid arguments.

    Each parameter is also an attribute. Setting it checks the value as the constructor does, and
    has an effect from the next connection on (``write_timeout``, ``trace``, ``json_dumps`` and
    ``logger``: immediately). A dict or list that you pass is read once: a later change of it has no
    effect, so set another one. ``protocols`` is a list of its own, ``cookies`` the jar, or None.
    """

    _role = CLIENT

    _checks = dict(
        Endpoint._checks,
        agent=check_agent,
        trace=_check_trace,
        connect_timeout=partial(check_seconds, 'connect_timeout'),
        max_redirects=partial(check_count, 'max_redirects', least=0),
    )

    if TYPE_CHECKING:
        agent = Option()  # type: Option[Union[None, bytes, text_type], text_type]
        cookies = Option()  # type: Option[Union[None, bool, CookieJar], Optional[CookieJar]]

    @takes_options('WebSocket', 'WebSocket(url, {}=...)')
    def __init__(
        self,
        url,                                # type: text_type
        proxies=None,                       # type: Optional[Mapping[str, Optional[str]]]
        protocols=None,                     # type: Optional[Iterable[str]]
        agent=None,                         # type: Union[None, bytes, text_type]
        compress=False,                     # type: Union[None, bool, DeflateOptions]
        ssl_verify=True,                    # type: bool
        ssl_cafile=None,                    # type: Optional[FilePath]
        ssl_context=None,                   # type: Optional[SSLContext]
        trace=None,                         # type: Trace
        max_message_size=MAX_MESSAGE_SIZE,  # type: Optional[int]
        connect_timeout=30.0,               # type: Optional[float]
        write_timeout=30.0,                 # type: Optional[float]
        headers=None,                       # type: Union[None, Headers, Callable[[], Headers]]
        cookies=None,                       # type: Union[None, bool, CookieJar]
        netrc=False,                        # type: Union[bool, str, PathLike[str]]
        max_redirects=5,                    # type: int
        ssl_certfile=None,                  # type: Optional[FilePath]
        ssl_keyfile=None,                   # type: Optional[FilePath]
        ssl_server_hostname=None,           # type: Optional[str]
        ssl_fingerprint=None,               # type: Union[None, str, Iterable[str]]
        source_address=None,                # type: Union[None, str, Tuple[str, int]]
        tcp_keepalive=60.0,                 # type: Optional[float]
        socket_options=(),                  # type: Iterable[Tuple[int, int, Union[int, bytes]]]
        sock=None,                          # type: Union[None, socket, Callable[[], socket]]
        resolver=None,                      # type: Optional[Resolver]
        json_loads=None,                    # type: Optional[JSONLoads]
        json_dumps=None,                    # type: Optional[JSONDumps]
        fragment_size=FRAGMENT_SIZE,        # type: Optional[int]
        max_read_ahead=MAX_READ_AHEAD,      # type: Optional[int]
        extensions=(),                      # type: Iterable[Factory]
        message_parts=False,                # type: MessageParts
        text_as_bytes=False,                # type: bool
        logger=None,                        # type: Optional[Logger]
    ):
        # type: (...) -> None
        super(WebSocket, self).__init__(
            protocols, compress, max_message_size, write_timeout, json_loads, json_dumps,
            fragment_size, max_read_ahead, extensions, message_parts, text_as_bytes, logger)
        self.url = url
        self.agent = agent
        self.trace = trace  # type: Trace
        self.connect_timeout = connect_timeout  # type: Optional[float]
        self.max_redirects = max_redirects  # type: int
        self._net_options = NetOptions(
            proxies=proxies, source_address=source_address, tcp_keepalive=tcp_keepalive,
            socket_options=socket_options, sock=sock, resolver=resolver, logger=logger,
            tls=TLSOptions(
                verify=ssl_verify, cafile=ssl_cafile, context=ssl_context, certfile=ssl_certfile,
                keyfile=ssl_keyfile, server_hostname=ssl_server_hostname,
                fingerprint=ssl_fingerprint))
        #: What connects it.
        self.dialer = Dialer()  # type: Dialer
        self.proxies = proxies  # type: Optional[Mapping[str, Optional[str]]]
        self.source_address = source_address  # type: Union[None, str, Tuple[str, int]]
        self.tcp_keepalive = tcp_keepalive  # type: Optional[float]
        self.socket_options = socket_options  # type: Iterable[Tuple[int, int, Union[int, bytes]]]
        self.sock = sock  # type: Union[None, socket, Callable[[], socket]]
        self.resolver = resolver  # type: Optional[Resolver]
        self.ssl_verify = ssl_verify  # type: bool
        self.ssl_cafile = ssl_cafile  # type: Optional[FilePath]
        self.ssl_context = ssl_context  # type: Optional[SSLContext]
        self.ssl_certfile = ssl_certfile  # type: Optional[FilePath]
        self.ssl_keyfile = ssl_keyfile  # type: Optional[FilePath]
        self.ssl_server_hostname = ssl_server_hostname  # type: Optional[str]
        self.ssl_fingerprint = ssl_fingerprint  # type: Union[None, str, Iterable[str]]
        self._request_options = RequestOptions(headers, cookies, netrc)
        self.headers = headers  # type: Union[None, Headers, Callable[[], Headers]]
        self.cookies = self._request_options.jar
        self.netrc = netrc  # type: Union[bool, str, PathLike[str]]
        self._is_made = True

    if not TYPE_CHECKING:
        def __setattr__(self, name, value):
            """Set an attribute; a parameter has an effect from the next connection on."""
            if self._is_made:
                if name in _NET:
                    self._net_options = self._net_options.replace(**{name: value})
                elif name in _TLS:
                    tls = self._net_options.tls.replace(**{_TLS[name]: value})
                    self._net_options = self._net_options.replace(tls=tls)
                    self.dialer.forget_tls()
                elif name in _REQUEST:
                    self._request_options.change(name, value)
                    if name == 'cookies':
                        value = self._request_options.jar
            elif value is getattr(self, name, self):
                return      # the class's default, in the constructor: most are, and a call is saved
            super(WebSocket, self).__setattr__(name, value)

    def __repr__(self):
        # type: () -> str
        return 'WebSocket({!r})'.format(str(self.target.url))

    @property
    def stream(self):
        # type: () -> Connection
        """The protocol's side of the present or last connection."""
        return self._attempt.connection

    # -- a handshake made elsewhere --

    @classmethod
    def attach(
        cls,                # type: Type[W]
        sock,               # type: Any
        role=CLIENT,        # type: Literal['client', 'server']
        protocol=None,      # type: Optional[text_type]
        extensions=(),      # type: Union[text_type, Iterable[Extension]]
        rest=b'',           # type: BytesLike
        response=None,      # type: Any
        url=None,           # type: Optional[text_type]
        **options           # type: Unpack[AttachOptions]
    ):
        # type: (...) -> W
        """Return a WebSocket over a socket whose opening handshake was made elsewhere.

        It is for one connection. Begin as always, by iterating, by `open`, or in a
        `lomond.pool.Pool` or `lomond.aio`: the first event is Ready; there is neither Connecting
        nor Connected. Until then nothing is sent or received. The socket is the WebSocket's from
        now on: it is closed at the end, by `close` and `force_disconnect` before the beginning, and
        with the WebSocket.

        Parameters:

        - ``sock``: a connected stream socket, or an `ssl.SSLSocket` after its TLS handshake.
          Whether it blocks, and its timeout, don't matter.
        - ``role``: which end this is, 'client' or 'server'.
        - ``protocol``: the subprotocol that was agreed on (None).
        - ``extensions``: those that were agreed on: the Sec-WebSocket-Extensions of the server's
          answer, if they are none or permessage-deflate; or the list that
          `lomond.extensions.accept` or `lomond.extensions.answer` returned (none).
        - ``rest``: the bytes that were read behind the handshake.
        - ``response``: what Ready has as its ``response`` (None), such as a
          `lomond.response.Response`, or at the server's end a `lomond.server.Request`.
        - ``url``: what the WebSocket is called by its repr and in logs, and its ``host``, ``port``,
          ``resource`` ...; None for one made of the other end's address.
        - ``options``: ``max_message_size``, ``write_timeout``, ``json_loads``, ``json_dumps``,
          ``fragment_size``, ``max_read_ahead``, ``message_parts``, ``text_as_bytes``, ``trace`` and
          ``logger``, as for a `WebSocket`.

        Raises TypeError and ValueError for wrong arguments, and ConnectFail if the socket isn't
        connected, or not any more; then it stays yours.
        """
        unknown = sorted(set(options) - _ATTACHED)
        if unknown:
            raise TypeError('attach() has no option {}, as it makes no handshake: its options are '
                            '{}'.format(unknown[0], ', '.join(sorted(_ATTACHED))))
        if role not in (CLIENT, SERVER):
            raise ValueError("role must be 'client' or 'server', not {!r}".format(role))
        agreed = agreed_extensions(extensions, role)
        if protocol is not None:
            check_protocols([protocol])
        rest = check_bytes('rest', rest)
        websocket = cls(u'ws://localhost/' if url is None else url, **options)
        websocket._role = role
        transport = wrap(sock)
        if url is None:
            websocket.url = _url_of(transport)
        websocket.reset()       # for a connection in this role
        if rest:
            transport.put_back(rest)
        websocket.handover = Handover(transport, role, protocol, agreed, response)
        return websocket

    def open_attached(self):
        # type: () -> Iterator[AnyEvent]
        """Open a connection whose handshake was made elsewhere; the session calls this."""
        handover = self.handover  # type: Any
        self._attempt.reader = None     # a connection that is open is small
        self.stream.protocol = handover.protocol
        self.stream.accept(extensions=handover.extensions)
        yield events.Ready(
            handover.response, handover.protocol, set(self.stream.extensions),
            self.stats.connections + 1)

    def check_may_reconnect(self):
        # type: () -> None
        """Raise TypeError if this has a socket for one connection only."""
        if self.handover is not None:
            raise TypeError('a WebSocket of attach() can not be connected again, as its socket is '
                            'for one connection: iterate over it without persist and policy=')

    # -- the target --

    @property
    def url(self):
        # type: () -> str
        """The URL as it was passed. You can set another one between two connections.

        Setting it raises TypeError, ValueError, and WebSocketUnavailable while a loop runs.
        """
        return self._url

    @url.setter
    def url(self, url):
        # type: (str) -> None
        target = parse_url(url)
        with self._loop_lock():
            self.check_idle()
            self._url = url
            connection = self.stream if self._is_made else self._new_connection()
            self._attempt = Attempt(target, connection)

    @property
    def target(self):
        # type: () -> Target
        """The parsed URL to connect to, or that of the last redirect in this attempt."""
        return self._attempt.target

    @property
    def net_options(self):
        # type: () -> NetOptions
        """How to connect to the target: a value, of what the attributes say now."""
        options = self._net_options
        return options.for_other_origin() if self._attempt.chain.is_cross_origin else options

    @property
    def scheme(self):
        # type: () -> text_type
        """'ws', 'wss', 'ws+unix' or 'wss+unix'."""
        return self.target.scheme

    @property
    def host(self):
        # type: () -> text_type
        """The server's name in ASCII, or its address without brackets."""
        return self.target.host

    @property
    def port(self):
        # type: () -> int
        """The server's port."""
        return self.target.port

    @property
    def address(self):
        # type: () -> Union[Tuple[text_type, int], text_type]
        """Where the server is, as the URL says: a pair of host and port, or a Unix socket's path.

        Known before connecting; `peer_address` is what the connection led to. After a redirect it
        is that of its target, as ``host`` and ``port`` are.
        """
        target = self.target
        return (target.host, target.port) if target.unix_path is None else target.unix_path

    @property
    def resource(self):
        # type: () -> text_type
        """The path and query."""
        return self.target.resource

    @property
    def is_secure(self):
        # type: () -> bool
        """True for a wss or wss+unix URL."""
        return self.target.is_secure

    @property
    def key(self):
        # type: () -> bytes
        """The Sec-WebSocket-Key of the present or next attempt."""
        return self._attempt.key

    # -- the loop --

    @takes_options('connect', 'websocket.connect({}=...)')
    def connect(
        self,
        session_class=WebsocketSession,     # type: Callable[[WebSocket], WebsocketSession]
        poll=5.0,                           # type: Optional[float]
        ping_rate=30.0,                     # type: Optional[float]
        ping_timeout=None,                  # type: Optional[float]
        auto_pong=True,                     # type: bool
        close_timeout=30.0,                 # type: Optional[float]
        idle_timeout=None,                  # type: Optional[float]
        stale_disconnects=False,            # type: bool
        max_age=None,                       # type: Optional[float]
        spin=0.0,                           # type: Optional[float]
        heartbeat=None,                     # type: Optional[float]
    ):
        # type: (...) -> Generator[AnyEvent, None, None]
        """Return an iterator that connects and yields events. It connects when you iterate.

        Parameters, all times in seconds, None or 0 for never:

        - ``session_class``: the class that drives the connection, `WebsocketSession` or a subclass.
        - ``poll``: how often Poll comes (5); with None or 0 it comes once, after Ready.
        - ``ping_rate``: how often a ping is sent (30).
        - ``ping_timeout``: how long the server may stay silent, although a ping was sent, before
          Unresponsive (None). After half of it a silent server gets a ping, even before
          ``ping_rate``.
        - ``auto_pong``: whether pings are answered (True).
        - ``close_timeout``: how long to wait for the answer to a Close frame (30).
        - ``idle_timeout``: how long no text or binary message may come before Stale (None).
        - ``stale_disconnects``: whether Stale ends the connection (False).
        - ``max_age``: how long after Ready to close the connection, so that `persist` replaces it
          (None). A random time of up to a tenth of it is subtracted.
        - ``spin``: for how long, before each wait, to ask the system for data again and again
          instead of sleeping (0.0), at most 1. What arrives in that time is received sooner; until
          then a core is busy.
        - ``heartbeat``: how often an unsolicited pong without a payload is sent (None). It keeps
          the connection alive on the way, and the server doesn't answer it (RFC 6455 5.5.3).

        Raises TypeError and ValueError, and WebSocketUnavailable if a loop over this WebSocket is
        running.
        """
        if not callable(session_class):
            raise TypeError(
                'session_class must be a class, not {!r}: pass options by name, as in '
                'connect(poll=1)'.format(session_class))
        options = _blocking_options(
            poll=poll, ping_rate=ping_rate, ping_timeout=ping_timeout, auto_pong=auto_pong,
            close_timeout=close_timeout, idle_timeout=idle_timeout,
            stale_disconnects=stale_disconnects, max_age=max_age, spin=spin, heartbeat=heartbeat)
        session = self.new_session(session_class)
        return session.run(**options)   # type: ignore[no-any-return]

    def open(self, timeout=None, background=False, **options):
        # type: (Optional[float], bool, **Any) -> events.Ready
        """Connect, for calls instead of a loop; return the event Ready.

            with WebSocket(url) as websocket:
                websocket.open(timeout=10)
                websocket.send_text(u'hi')
                print(websocket.receive(timeout=5))

        Leaving the block normally sends a Close frame with 1000, and waits for the server's, at
        most ``close_timeout``; leaving it by an exception breaks the connection. After the end you
        can call it again, for another connection, once you have received the messages of the last
        one: call `receive` until it raises WebSocketClosed, or `force_disconnect` to drop them.

        Parameters:

        - ``timeout``: seconds until it gives up (None: only ``connect_timeout`` of the WebSocket
          counts).
        - ``background``: True to start a thread that keeps the connection alive between the calls:
          it answers pings, and receives up to 1 MiB of messages ahead, then stops reading until
          `receive` takes them. It ends with the connection. Any number of threads may then call
          `receive` (False: one thread at a time).
        - ``options``: those of `connect`, without ``session_class`` and ``poll``. ``idle_timeout``
          has an effect with ``stale_disconnects=True`` only: there is no event Stale.

        Raises WebSocketTimeout, ConnectFail, Rejected, and CriticalProtocolError if the server
        doesn't speak HTTP, all of `lomond.errors`; WebSocketUnavailable if it is open, if messages
        of the last connection wait for `receive`, or if a loop over this WebSocket is running;
        socket.error if no thread can be started; TypeError and ValueError.
        """
        check_passed_on('open', options, WebSocket.connect)
        options = _blocking_options(**options)
        background = check_flag('background', background)
        return self._next_calls().open(     # type: ignore[no-any-return]
            lambda: self.connect(**options), timeout, background)

    def new_session(self, session_class):
        # type: (Callable[[WebSocket], Any]) -> Any
        """Return the session of the next connection, not begun: for what drives it in steps.

        Parameters: ``session_class``, called with this WebSocket, such as
        `lomond.drivers.QueuedClientSession`.

        Raises TypeError, and WebSocketUnavailable if a loop over this WebSocket is running.
        """
        if not callable(session_class):
            raise TypeError('new_session takes a class, such as '
                            'lomond.drivers.QueuedClientSession, not {!r}'.format(session_class))
        with self._loop_lock():
            self.reset()
            session = session_class(self)
            self.attach_session(session)
            return session

    def __iter__(self):
        # type: () -> Generator[AnyEvent, None, None]
        return self.connect()

    if not TYPE_CHECKING:       # for a type checker it is an error already
        def __aiter__(self):
            raise TypeError(
                'in an event loop write: from lomond import aio; async for event in '
                'aio.connect(websocket): ...')

    def reconnect_now(self):
        # type: () -> None
        """End the present back-off of `persist`: the next attempt begins now.

        Call it from any thread or a signal handler, for example when the network is back. It
        overrides a server's Retry-After. The policy's delays and limits don't start over: if the
        attempt fails, the next wait is as long as it would have been. Does nothing at any other
        moment. Never waits, never raises.
        """
        machine = self._machine()
        if machine is not None:
            machine.end_back_off()

    def reset(self):
        # type: () -> None
        """Forget the last connection; raises WebSocketUnavailable while a loop runs."""
        with self._loop_lock():
            self.check_idle()
            self.attach_session(None)
            self._attempt = Attempt(self._attempt.chain.first, self._new_connection())

    def make_twin(self):
        # type: () -> WebSocket
        """Return a WebSocket with the same options and counters, for a connection of its own."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        twin._loop_lock = ProcessLock()
        twin._session = twin._sender = None
        twin.__dict__.pop('_calls', None)
        twin._attempt = Attempt(self._attempt.chain.first, self._new_connection())
        return twin

    def exchange(self, twin):
        # type: (WebSocket) -> None
        """Have a twin's connection from now on, and the twin have this one's."""
        twin._attempt, self._attempt = self._attempt, twin._attempt
        ours, theirs = self._session, twin._session
        for websocket, session in ((self, theirs), (twin, ours)):
            if session is not None:
                session.move(websocket)
            websocket.attach_session(session)

    def check_idle(self):
        # type: () -> None
        """Raise WebSocketUnavailable while a loop runs."""
        session = self._session
        if session is None or not session.is_running:
            if self.handover is not None and self.handover.is_used:
                raise errors.WebSocketUnavailable(
                    'the socket of this WebSocket was used or closed, and it has no other: '
                    'attach() makes a WebSocket for each socket')
            return
        if self._calls is not None and self._calls.drives(session):
            raise errors.WebSocketUnavailable(
                'this WebSocket is open already, by open(): use receive() or messages(), not a '
                'loop; end the connection by leaving its with block, or by force_disconnect()')
        if getattr(session, 'is_released', False):
            raise errors.WebSocketUnavailable(
                'this WebSocket was taken out of a pool with its connection open: go on with that '
                'by adding it to a pool, pool.add(websocket), or end it by force_disconnect()')
        is_members = getattr(session, 'gate', None) is not None     # only a pool's has one
        if is_members and self.is_closed:
            raise errors.WebSocketUnavailable(
                'this WebSocket was removed from a pool, whose loop frees it in its next turn: '
                'try again after that, or create another WebSocket')
        if is_members:
            raise errors.WebSocketUnavailable(
                'this WebSocket is a member of a pool: end it by close(), or take it out by '
                'pool.remove(websocket); for a second connection, create another WebSocket')
        raise errors.WebSocketUnavailable(
            'a loop over this WebSocket is already running: end it by close() or '
            'force_disconnect(); if the loop was left early, call close() on its iterator, or '
            'dispose() on the session of a driver of your own; '
            'for a second connection, create another WebSocket')

    # -- the handshake --

    @property
    def request_takes_time(self):
        # type: () -> bool
        """True if `build_request` may wait: for the user's functions, or for files."""
        options = self._request_options
        return callable(options.headers) or options.netrc is not None \
            or options.cookies is not None or type(self) is not WebSocket

    def add_header(self, header, value):
        # type: (HeaderText, HeaderText) -> None
        """Add a header to the request.

        Your Host, User-Agent and Authorization replace the package's own. Text is sent as UTF-8,
        bytes as they are. Raises TypeError, and ValueError for invalid characters, for headers that
        the handshake sets, and for Proxy-Authorization.
        """
        self._request_options.add_header(header, value)

    @property
    def is_refused(self):
        # type: () -> bool
        """True once the handshake can only fail, while the rest of the response arrives."""
        reader = self._attempt.reader
        return reader is not None and reader.is_refusal

    def build_request(self):
        # type: () -> bytes
        """Return the upgrade request (RFC 6455 4.1); the session calls this.

        It calls the headers function, and reads cookies and the netrc file, each time. Raises
        ConnectFail if one of these fails.
        """
        try:
            key = self.key
        except EnvironmentError as error:       # 2.7 opens a device for random bytes
            raise errors.ConnectFail.during(
                'request', u'could not read random bytes for Sec-WebSocket-Key: {}'.format(
                    describe(error)), error)
        own = self._request_options.fields(self._attempt.chain, self.logger)
        target = self.target
        protocols = check_protocols(self.protocols)     # again, as the list may have been changed
        return build_request(
            target.host_header, target.resource, key, protocols, self._offer(), self.agent, own)

    def _offer(self):
        # type: () -> text_type
        """Make the extensions of this attempt; return their Sec-WebSocket-Extensions."""
        try:
            header, self._attempt.extensions = negotiation.offer(self._make_extensions())
            return header
        except Exception as error:
            raise errors.ConnectFail.during(
                'request', u'could not offer the extensions: {}'.format(describe(error)), error)

    def _shake_hands(self, data):
        # type: (bytes) -> Iterator[AnyEvent]
        try:
            found = self._attempt.reader.feed(data)
        except errors.CriticalProtocolError as error:
            self.stream.reject()
            yield events.ProtocolError(text_type(error), critical=True)
            return
        redirected, reason = self._follow_redirect()
        if redirected is not None:
            yield redirected
            return
        if found is None:
            return
        response, rest = found
        self._request_options.store_cookies(response, self._attempt.chain, self.logger)
        if reason is None:
            try:
                protocol, extensions = self.on_response(response)
            except errors.HandshakeError as error:
                reason = text_type(error)
        if reason is not None:
            self.stream.reject()
            yield events.Rejected(response, reason)
            return
        self._attempt.reader = None     # a connection that is open is small
        # This connection's decoder, now: while Ready is handled, `exchange` may give it away.
        received = self.stream.receive(rest)
        yield events.Ready(response, protocol, extensions, self.stats.connections + 1)
        for event in received:
            yield event

    def _follow_redirect(self):
        # type: () -> Tuple[Optional[AnyEvent], Optional[text_type]]
        """Follow a redirect; return its event, or else the reason why it isn't followed.

        Both are None if there is no redirect. This needs the headers of the response only, and
        doesn't wait for its body.
        """
        response = self._attempt.reader.response
        if response is None:
            return None, None
        try:
            chain = self._attempt.chain.follow(
                response, self.max_redirects, self.net_options.sock is not None)
        except errors.HandshakeError as error:
            return None, text_type(error)
        if chain is None:
            return None, None
        self._request_options.store_cookies(response, self._attempt.chain, self.logger)
        self._attempt.begin_request(chain)
        return events.Redirected(response, chain.target.url), None

    def on_response(self, response):
        # type: (Response) -> Tuple[Optional[text_type], Set[text_type]]
        """Check the server's response, and open the connection.

        Returns the subprotocol or None, and a set of the extensions' names. Raises HandshakeError.
        """
        protocol = self.stream.protocol = check_response(response, self.key, self.protocols)
        extensions = self.process_extensions(
            response.headers.get_all(u'Sec-WebSocket-Extensions'))
        return protocol, extensions

    def process_extensions(self, extensions):
        # type: (Iterable[text_type]) -> Set[text_type]
        """Enable the extensions that the server chose; return their names.

        Parameters: ``extensions``, the values of Sec-WebSocket-Extensions. Raises HandshakeError.
        """
        attempt = self._attempt
        offered = attempt.extensions
        if offered is None:
            offered = self._make_extensions()
        agreed = negotiation.accept(u', '.join(extensions), offered)
        self.stream.accept(extensions=agreed)
        attempt.extensions = None
        return set(self.stream.extensions)
