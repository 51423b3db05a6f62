"""A real server that does on each connection what a test's script says."""

from __future__ import absolute_import, division, print_function

import logging
import os
import socket
import threading

from lomond import sansio
from lomond._checks import check_flag, check_seconds
from lomond._compat import TYPE_CHECKING
from lomond._describe import describe_with_type
from lomond.net.listen import listen
from lomond.net.waiter import READ, wait
from lomond.net.waker import Waker
from lomond.testing.authority import Certificates, find_authority
from lomond.testing.end import ScriptedEnd
from lomond.testing.steps import check_script, reject
from lomond.testing.transcript import Transcript

if TYPE_CHECKING:
    from types import TracebackType  # noqa: F401
    from typing import Any, List, Optional, Tuple, Type, Union  # noqa: F401

    from lomond._compat import text_type  # noqa: F401
    from lomond.protocol.handshake import Request  # noqa: F401
    from lomond.testing.steps import Step  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

#: How long a step may take, in seconds.
TIMEOUT = 10.0

_TOO_MANY = u'this server has no script for another connection\n'


class ScriptedServer(object):
    """A server in threads of its own, on 127.0.0.1, whose every move a test has written down.

        with ScriptedServer([say(u'hello'), expect(u'hi'), close()]) as server:
            run_program(server.url)

    Each connection takes the next script. It is accepted, the steps follow one after the other,
    and after the last the server answers pings and a Close frame until the client leaves.

    Leaving the block waits until the steps that have begun are done, stops the server, and raises
    AssertionError with a transcript if a step was not met, a message or a connection came that no
    script expects, a script was not used, or the server's thread raised. If the block itself has
    raised, that goes through: the transcript is added to it as a note (Python 3.11 and newer), or
    logged as an error.

    Parameters: the scripts, lists of steps such as `say`; and by name:

    - ``tls``: True for wss, with a certificate of an authority made for this process, which needs
      the package trustme (False). A client trusts it by ``ssl_cafile=server.cafile``.
    - ``protocols``, ``compress``: as for a `lomond.server.Server`.
    - ``strict``: False to only record what no step expects; then an `expect` skips the messages
      that are others (True).
    - ``timeout``: how long a step may take, in seconds (10).

    Raises TypeError and ValueError, and ImportError for TLS without trustme.
    """

    def __init__(self, *scripts, **options):
        # type: (*List[Step], **Any) -> None
        self._scripts = [check_script(script) for script in scripts]
        self._is_secure = check_flag('tls', options.pop('tls', False))
        #: Whether what no step expects is a failure.
        self.is_strict = check_flag('strict', options.pop('strict', True))  # type: bool
        #: How long a step may take, in seconds.
        self.timeout = check_seconds('timeout', options.pop('timeout', TIMEOUT)) or 0.0  # type: float
        if not self.timeout:
            raise ValueError('timeout must be more than 0 seconds')
        unknown = sorted(set(options) - {'protocols', 'compress'})
        if unknown:
            raise TypeError('ScriptedServer has no option {}: its options are tls, protocols, '
                            'compress, strict and timeout'.format(unknown[0]))
        sansio.Server(**options)        # raises for invalid ones
        self._options = options
        if self._is_secure:
            find_authority()            # raises without trustme
        #: The requests of the clients, in the order in which they came.
        self.requests = []  # type: List[Request]
        #: All messages of the clients, text and bytes, in the order in which they came.
        self.received = []  # type: List[Union[text_type, bytes]]
        #: What happened so far: ``str()`` of it is text.
        self.transcript = Transcript()  # type: Transcript
        #: Set once each script has come to its end, or something has failed. (As an ``exit_event``
        #: it could end a loop too early: what was sent last may not have arrived.)
        self.done = threading.Event()  # type: threading.Event
        #: Set once the block ends.
        self.stopping = threading.Event()  # type: threading.Event
        #: Whether the steps that have begun are to end at once.
        self.is_broken_off = False  # type: bool
        self._lock = threading.RLock()
        self._failures = []  # type: List[text_type]
        self._ends = []  # type: List[ScriptedEnd]
        self._finished = 0
        self._threads = []  # type: List[threading.Thread]
        # What is open in the block only.
        self._certificates = None  # type: Optional[Certificates]
        self._waker = self._listener = None  # type: Any
        #: Where it listens.
        self.host = u'127.0.0.1'  # type: text_type

    @property
    def port(self):
        # type: () -> int
        """The port that it listens on; RuntimeError outside of its block."""
        if self._listener is None:
            raise RuntimeError('this server listens in its block only: with server: ...')
        return self._port

    @property
    def url(self):
        # type: () -> text_type
        """The URL for a client on this machine."""
        scheme = u'wss' if self._is_secure else u'ws'
        return u'{}://{}:{}/'.format(scheme, self.host, self.port)

    @property
    def cafile(self):
        # type: () -> Optional[str]
        """The path of the authority's certificate, to be trusted; None without TLS."""
        return None if self._certificates is None else self._certificates.cafile

    def certify(self, name):
        # type: (str) -> None
        """Have a certificate for a host's name, too: `redirect` calls this. From any thread."""
        if self._certificates is not None:
            self._certificates.add(name)

    # -- the block --

    def __enter__(self):
        # type: () -> ScriptedServer
        if self._threads:
            raise RuntimeError(
                'this server {}: make another one'.format(
                    'runs already' if self._listener is not None else 'has run its scripts'))
        if not self._scripts:
            self.done.set()
        self._listener = listen(self.host, 0, False)
        self._port = self._listener.getsockname()[1]  # type: int
        self._process = os.getpid()  # type: int
        self._waker = Waker()
        if self._is_secure:
            self._certificates = Certificates()
        self._start(self._accept_all)
        return self

    def __exit__(self, exc_type, error, traceback):
        # type: (Optional[Type[BaseException]], Optional[BaseException], Optional[TracebackType]) -> None
        with self._lock:
            failures = self._failures[:1]       # before it breaks off what is left
        self.stop(error is None)
        if error is None:
            self.check()
            return
        words = u'what its ScriptedServer saw:\n{}'.format(
            u'\n'.join(failures + [u'{}'.format(self.transcript)]))
        if hasattr(error, 'add_note'):
            error.add_note(words)
        else:
            log.error('the test failed; %s', words)

    def check(self):
        # type: () -> None
        """Raise AssertionError if something has not gone as the scripts say; after the block."""
        failure = self._failure()
        if failure is not None:
            raise AssertionError(u'{}\n{}'.format(failure, self.transcript))

    def _failure(self):
        # type: () -> Optional[text_type]
        with self._lock:
            if self._failures:
                return self._failures[0]
            if len(self._ends) < len(self._scripts):
                return u'there are {} scripts, and only {} connections came'.format(
                    len(self._scripts), len(self._ends))
            return None

    def stop(self, waits=True):
        # type: (bool) -> None
        """End the server, as leaving the block does, but raise nothing; see `check`.

        Parameters: ``waits``, False to break off the steps that have begun.
        """
        if self._listener is None or self._process != os.getpid():     # a fork's
            return
        with self._lock:
            self.stopping.set()
            waits = waits and not self._failures
            self.is_broken_off = not waits
        self._waker.wake()
        self._threads[0].join()     # after that there is no other connection
        with self._lock:
            for end in self._ends:
                if end.is_idle or not waits:
                    end.shut_down()
        for thread in self._threads:
            thread.join()
        self._waker.close()
        self._listener = None
        if self._certificates is not None:
            self._certificates.close()

    # -- the threads --

    def _start(self, target, *args):
        # type: (Any, *Any) -> None
        thread = threading.Thread(target=target, args=args, name='lomond-scripted-server')
        thread.daemon = True
        thread.start()
        self._threads.append(thread)

    def _accept_all(self):
        # type: () -> None
        """Accept until the block ends, and then those that have connected before that."""
        listener, waker = self._listener, self._waker
        try:
            while True:
                is_last = self.stopping.is_set()
                try:
                    sock = listener.accept()[0]
                except socket.error:        # there is none
                    if is_last:
                        return
                    wait(((listener.fileno(), READ), waker.interest), None)
                    waker.clear()
                    continue
                self._begin(sock)
        finally:
            listener.close()

    def _begin(self, sock):
        # type: (Any) -> None
        with self._lock:
            number = len(self._ends) + 1
            if number <= len(self._scripts):
                steps = self._scripts[number - 1]
            else:
                steps = (reject(503, body=_TOO_MANY),)
                if self.is_strict:
                    self.fail(u'connection {} came, and there are only {} scripts'.format(
                        number, len(self._scripts)))
            end = ScriptedEnd(self, number, sock, steps, sansio.Server(**self._options))
            self._ends.append(end)
        try:
            self._start(end.run)
        except Exception as error:      # Pythons differ in how they have no further thread
            sock.close()
            self.fail(u'connection {}: {}'.format(number, describe_with_type(error)))

    # -- for a connection's thread --

    def secure(self, sock):
        # type: (Any) -> Any
        """Make TLS on a client's socket, if this server has it; return the socket to use."""
        if self._certificates is None:
            return sock
        return self._certificates.context.wrap_socket(sock, server_side=True)

    def fail(self, words):
        # type: (text_type) -> None
        """Record what went wrong."""
        with self._lock:
            self._failures.append(words)
        self.done.set()

    def finished(self, end):
        # type: (ScriptedEnd) -> None
        """Record that a script is over: from now on its connection may be ended."""
        with self._lock:
            if not end.is_idle:
                end.is_idle = True
                self._finished += end.number <= len(self._scripts)
                if self._finished == len(self._scripts):
                    self.done.set()
            if self.stopping.is_set():
                end.shut_down()

    def ended(self, end):
        # type: (ScriptedEnd) -> None
        """Record that a connection is closed."""
        self.transcript.add(end.number, 'closed')

