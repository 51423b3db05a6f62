"""One connection's life: dial, shake hands, wait, receive, keep time, end.

A session drives a websocket that it knows by these members only:
``claim(session)`` to be the only one that does; ``target``,
``net_options``, ``trace``, ``connect_timeout`` and ``write_timeout`` to
connect; ``build_request()``, ``feed(data)``, ``is_refused`` and ``on_disconnect()``
for its bytes; ``stream``, the protocol's `Connection`.

`WebsocketSession.run` is a thin loop: `step` does what can be done without
waiting and returns events, `interest` and `time_left` say what to wait for and
how long. Nothing but `run` itself waits. The sending half is in `sending`.
"""

from __future__ import absolute_import, division, print_function

import logging
import socket
import struct
import weakref
from collections import deque
from itertools import chain

from lomond import errors, events
from lomond._compat import TYPE_CHECKING, monotonic, text_type, thread_module
from lomond._describe import describe
from lomond.engine.timers import NEVER, Timers
from lomond.engine.writer import Sender
from lomond.http.answer import RestTimer
from lomond.http.redact import TraceRecord
from lomond.net.dial import dial
from lomond.net.proxy.settings import find_proxy
from lomond.net.steps import Wait
from lomond.net.transport import PROGRESS, RECEIVE_SIZE, is_broken_pipe
from lomond.net.waiter import WRITE, merge
from lomond.net.waker import Waker
from lomond.opcode import Opcode
from lomond.protocol.state import CAN_SEND, State

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, Optional, Tuple  # noqa: F401

    from lomond.events import Event  # noqa: F401
    from lomond.http.url import ProxyTarget  # noqa: F401
    from lomond.net.transport import Transport  # noqa: F401
    from lomond.net.waiter import Interest  # noqa: F401

log = logging.getLogger('lomond')

_ping_struct = struct.Struct('!I')

# Bytes that an event takes beside what it holds, about.
_EVENT_SIZE = 200


class WebsocketSession(Sender):
    """Drives one connection of a websocket.

    Parameters: ``websocket``, as the module says; ``clock``, a monotonic
    clock in seconds.
    """

    #: After the Close frames, how long to leave it to the peer to end TCP
    #: first, in seconds (RFC 6455 7.1.1).
    linger = 1.0
    linger_after_error = 1.0

    _peer = u'server'
    _time_limit = u'connect_timeout'    # the option's name

    def __init__(self, websocket, clock=monotonic):
        # type: (Any, Callable[[], float]) -> None
        super(WebsocketSession, self).__init__(websocket, clock)
        self._dialing = None  # type: Optional[Iterator[Any]]
        # Why it can't even begin to dial.
        self._obstacle = None  # type: Optional[errors.ConnectFail]
        self._proxy = None  # type: Optional[ProxyTarget]
        self._wake = lambda: None  # type: Callable[[], Any]

        #: True from the first step to the last.
        self.is_running = False
        #: True once the last event has been returned.
        self.is_finished = False
        #: What to wait for before the next step.
        self.interest = ()  # type: Interest

        self._step = self._step_start
        self._deadline = -NEVER
        self._needs_step = True     # set by other threads: something has changed
        self._is_there_more = False     # the last read got all that it asked for
        self._is_open = False       # from Ready to the last Close frame
        self._is_forced = False     # force_disconnect() was called
        # The generator that `run` returned, and the thread that drives it.
        self._loop = None  # type: Any      # a weak reference
        self._driver = None  # type: Optional[int]
        # What the last step returned, and the events that a send made of what it read ahead.
        self._events = iter(())  # type: Iterator[Event]
        self._ahead = ()  # type: Any       # a deque, once there are some
        self._ahead_rest = None  # type: Optional[Iterator[Event]]    # more of these
        # The transport's progress, when it last counted as a sign of life ...
        self._progress = 0
        # ... and when a send last looked for what it had read ahead.
        self._read_ahead_at = 0
        self._read_error = None  # type: Optional[BaseException]    # the last, if there was one
        # The loop's last ping that has no pong yet: its payload, and when it went out.
        self._ping_sent = None  # type: Optional[Tuple[bytes, float]]

    def __repr__(self):
        # type: () -> str
        return '<{} {}>'.format(type(self).__name__, self._websocket)

    # -- the loop --

    def run(self, poll=5, ping_rate=30, ping_timeout=None, auto_pong=True, close_timeout=None):
        # type: (Optional[float], Optional[float], Optional[float], bool, Optional[float]) -> Iterator[Event]
        """Connect, and yield events until the connection is gone.

        Parameters as in `WebSocket.connect`.
        """
        loop = self._run(poll, ping_rate, ping_timeout, auto_pong, close_timeout)
        self._loop = weakref.ref(loop)
        return loop

    def _run(self, *options):
        # type: (*Any) -> Iterator[Event]
        self._websocket.claim(self)
        waker = None
        try:
            waker = self._make_waker()
            self.begin(*(options + (self._wake if waker is None else waker.wake,)))
            while not self.is_finished:
                self._events = iter(self.step())
                for event in self._events:
                    yield event
                while self._ahead:
                    event = self._ahead.popleft()
                    if not self._is_forced or event.name == 'disconnected':
                        yield event
                    if not self._ahead:
                        for event in self._end_ahead():
                            yield event
                timeout = self.time_left()
                if timeout != 0:
                    waker.wait(self.interest, timeout)
        finally:
            # They lead back here: let all go at once.
            self._events, self._ahead, self._ahead_rest = iter(()), (), None
            self.dispose()
            if waker is not None:
                waker.close()

    def _make_waker(self):
        # type: () -> Any
        """Return a `Waker`, or None without the descriptors for one: then dialling fails."""
        try:
            return Waker()
        except EnvironmentError as error:
            error.__traceback__ = None      # it leads back here
            self._obstacle = errors.ConnectFail.during(
                'connect', u'could not open the socket pair that wakes the loop: {}'.format(
                    describe(error)), error)
            return None

    def begin(self, poll, ping_rate, ping_timeout, auto_pong, close_timeout, wake):
        # type: (Optional[float], Optional[float], Optional[float], bool, Optional[float], Callable[[], Any]) -> None
        """Set out. ``wake`` ends the driver's wait, from any thread."""
        self._poll = poll
        self._ping_rate = ping_rate
        self._ping_timeout = ping_timeout
        self._close_timeout = close_timeout or NEVER
        self._stream.auto_pong = auto_pong
        self._wake = wake
        self.is_running = True

    def step(self):
        # type: () -> Iterable[Event]
        """Do what can be done without waiting; return the events to yield.

        The driver exhausts them before it asks `time_left` and steps again.
        """
        self._needs_step = self._is_there_more = self._holds_close = False
        self._driver = thread_module.get_ident()
        return self._step()

    def time_left(self):
        # type: () -> Optional[float]
        """Return how long, in seconds, to wait for `interest`; None is for ever."""
        if self._needs_step or self.is_finished or self._is_there_more:
            return 0
        if self._broken is not None:
            return 0
        if self._is_open and not self._stream.is_receiving and not self._is_close_to_come():
            return 0
        # What comes behind the last frame that counts is left where it is until the end.
        reads = self._stream.is_receiving or not self._is_open
        if reads and self._transport is not None and self._has_pending():
            return 0
        if self._wants_room and not any(mask & WRITE for _fd, mask in self.interest):
            # A control frame waits; it may have come out of the step's events.
            self.interest = [(fd, mask | WRITE) for fd, mask in self.interest]
        if self._deadline == NEVER:
            return None
        return max(0.0, self._deadline - self._clock())

    def _has_pending(self):
        # type: () -> bool
        self._reader = thread_module.get_ident()
        try:
            return self._transport.has_pending()    # type: ignore[no-any-return]
        finally:
            self._reader = None

    def dispose(self):
        # type: () -> None
        """Free the socket, whatever state the session is in. Never raises."""
        if self._is_disposed:       # the websocket may have begun anew
            return
        self._is_disposed = True
        self.is_finished = True
        try:
            self._websocket.on_disconnect()
            self._websocket.stats.closed()
        finally:
            # Not earlier: another thread may connect from now on, with a stream of its own.
            self.is_running = False
        self._stream.on_pong = None
        if self._dialing is not None:
            self._dialing.close()       # type: ignore[attr-defined]
        transport = self._transport
        if transport is None:
            return
        transport.on_backlog = None     # it leads back here: let both go at once
        if transport.is_inherited:
            transport.close()   # whoever has the lock isn't here
            return
        # A sender may be waiting inside the transport. It holds the lock, so
        # it is left to it to close: here, waiting for it could be for ever.
        if self._lock.acquire(False):
            try:
                if not self._is_sending:
                    transport.close()
                    return
            finally:
                self._lock.release()
        transport.abort()

    # -- the steps: dialling and the handshake --

    def _step_start(self):
        # type: () -> Iterable[Event]
        self._deadline = self._clock() + (self._websocket.connect_timeout or NEVER)
        self._connect_deadline = self._deadline
        self._step = self._step_dial
        self._needs_step = True
        self._websocket.stats.attempts += 1
        return self._announce()

    def _announce(self):
        # type: () -> Iterable[Event]
        return [events.Connecting(self._websocket.target.url)]

    def _step_dial(self):
        # type: () -> Iterable[Event]
        try:
            if self._owed_close is not None or self._is_forced:
                raise errors.ConnectFail('closed by the application while connecting')
            if self._obstacle is not None:
                raise self._obstacle
            if self._dialing is None:
                self._dialing = self._dial()
            step = next(self._dialing)
            if isinstance(step, Wait):
                self.interest, self._deadline = step
                return ()
            self._open_transport(step)
            return self._dialed()
        except errors.ConnectFail as error:
            return self._connect_failed(error)
        except EnvironmentError as error:       # of an import, say, that needs a descriptor
            return self._connect_failed(
                errors.ConnectFail.during('connect', describe(error), error))

    def _dial(self):
        # type: () -> Iterator[Any]
        """Yield each `Wait`, and last the transport."""
        target, options = self._websocket.target, self._websocket.net_options
        self._proxy = None
        if options.sock is None and target.unix_path is None:
            try:
                self._proxy = find_proxy(target, options.proxies)
            except ValueError as error:
                raise errors.ConnectFail.during('proxy', text_type(error), error)
        return dial(target, self._proxy, options, self._connect_deadline, self.trace)

    def _open_transport(self, transport):
        # type: (Transport) -> None
        self._dialing = None
        transport.on_backlog = self._notice
        transport.max_read_ahead = self._read_ahead_limit
        self._transport = transport
        # Our head of the handshake: what has not gone out yet, what to wait for before the rest
        # can, and why it could not.
        self._unsent = b''  # type: Any
        self._send_interest = ()  # type: Interest
        self._write_error = None  # type: Optional[BaseException]
        self._has_heard = False     # the peer has sent something
        self._rest_timer = RestTimer()
        if transport.can_receive_into:
            self._stream.offer_inlet()
        if self._is_forced:         # it was called before there was a transport
            transport.abort()
        self.interest = transport.interest
        self._step = self._step_handshake
        self._deadline = self._connect_deadline

    def _dialed(self):
        # type: () -> Iterable[Event]
        """Begin the handshake; raises ConnectFail if there is no request to send."""
        request = self._websocket.build_request()
        self.trace('request', head=request)
        self._send_head(request)
        proxy_url = self._proxy.url if self._proxy is not None else None
        return [events.Connected(self._websocket.target.url, proxy_url)]

    def _connect_failed(self, error):
        # type: (errors.ConnectFail) -> Iterable[Event]
        log.debug(u'%r: %s', self._websocket, text_type(error))
        self._finish()
        return [events.ConnectFail(
            text_type(error), error.phase, error.cause, error.response, error.tried)]

    def _step_handshake(self):
        # type: () -> Iterable[Event]
        if self._is_forced or self._owed_close is not None:
            return self._disconnected(u'closed by the application during the handshake')
        self._flush()
        data, reason = self._receive()
        if self._send_interest:
            self.interest = merge(self.interest, self._send_interest)
        if data is not None:
            self._has_heard = True
            return self._follow(self._websocket.feed(data), None)
        if self._write_error is not None:
            reason = self._why_broken(reason)
        if self._is_forced:     # just now, which is what broke it
            return self._disconnected(u'closed by the application during the handshake')
        if reason is not None:
            reason = reason if self._has_heard else self._explain_silence(reason)
        elif self._clock() < self._deadline:
            return ()
        else:
            reason = self._too_late()
        # An end, or a deadline, completes a rejection's body.
        return self._follow(self._websocket.feed(b''), reason)

    def _too_late(self):
        # type: () -> text_type
        return u'the handshake took longer than {} allows ({:g} s)'.format(
            self._time_limit, self._websocket.connect_timeout or 0)

    def _send_head(self, data):
        # type: (bytes) -> None
        """Send our head of the handshake: now what needs no waiting, the rest in later steps."""
        self._unsent = memoryview(data)
        self._head_size = len(data)
        self._flush()

    def _flush(self):
        # type: () -> None
        """Send what is left of our head, as far as that needs no waiting.

        A write that fails is no verdict: what the peer had sent before may say why.
        """
        self._send_interest = ()
        if not self._unsent or self._write_error is not None:
            return
        if not self._lock.acquire(False):       # another thread's `write`
            self._send_interest = [(self._transport.fileno(), WRITE)]
            return
        try:
            self._is_sending = True
            while self._unsent:
                count, interest = self._transport.send_some(self._unsent)
                if not count:
                    self._send_interest = interest
                    return
                self._unsent = self._unsent[count:]
        except (socket.error, ValueError, errors.TransportFail) as error:
            # ValueError: as in `_receive`.
            self._write_error = error
            self._break(errors.TransportFail.after(
                self._head_size - len(self._unsent), self._head_size,
                u'could not send: {}'.format(describe(error))))
        finally:
            self._is_sending = False
            self._release()

    def _why_broken(self, reason):
        # type: (Optional[text_type]) -> text_type
        """Return why the connection broke in a write, given what reading on led to.

        The words are those that there would be, had the read been first.
        """
        error = self._write_error  # type: Any
        if reason is not None and (self._read_error is not None or is_broken_pipe(error)):
            return reason
        return u'the connection broke: {}'.format(describe(error))

    def _explain_silence(self, reason):
        # type: (text_type) -> text_type
        """Add to a reason what may be behind a connection that ended before any answer."""
        target = self._websocket.target
        if target.is_secure or target.unix_path is not None:
            return reason
        return reason + u' (before any answer: if this port speaks TLS, use wss://)'

    def _follow(self, happened, reason):
        # type: (Iterable[Event], Optional[text_type]) -> Iterator[Event]
        """Yield what the handshake leads to; Poll comes right after Ready."""
        for event in happened:
            if event.name == 'ready':
                if self._unsent:
                    reason = u'the server accepted a request that it did not have'
                    break
                self._open()
                yield event
                yield events.Poll()
                continue
            if event.name == 'redirected':
                self.trace('redirect', status=event.response.status_code, location=event.url)
                yield event
                self._redial()
                yield events.Connecting(event.url)
                return
            if event.name == 'rejected':
                reason = event.reason
            elif event.name == 'protocol_error' and event.critical:
                reason = event.error
            yield event
        if reason is not None:
            for event in self._disconnected(reason):
                yield event
        elif self._websocket.is_refused:
            self._deadline = min(
                self._connect_deadline, self._rest_timer.progress(self._clock()))

    def _redial(self):
        # type: () -> None
        """Begin anew with the websocket's new target, under the same deadline."""
        transport, self._transport = self._transport, None
        transport.on_backlog = None
        transport.close()
        self._broken = None
        self.interest = ()
        self._step = self._step_dial
        self._needs_step = True

    def _open(self):
        # type: () -> None
        self._timers = Timers(self._clock(), self._poll, self._ping_rate, self._ping_timeout)
        self._close_deadline = NEVER
        self._is_open = True
        if self._is_forced:     # it was called right before the stream began to receive
            self._stream.stop_receiving()
        self._websocket.stats.opened(self._clock)
        self._stream.on_pong = self._on_pong
        self._step = self._step_open
        self._set_deadline()
        self._pay()     # a close that is owed: before Ready, whose handler may take its time

    # -- the steps: open --

    def _step_open(self):
        # type: () -> Iterable[Event]
        if self._is_forced:
            return self._disconnected(u'disconnected by the application')
        if self._has_controls or self._wants_room:
            self._pay()
        is_receiving = self._stream.is_receiving
        if self._close_deadline == NEVER and (
                self.sent_close_time is not None or self._owed_close is not None
                or not is_receiving):
            self._await_close()
        if not is_receiving:
            if self._broken is not None or not self._is_close_to_come():
                return self._begin_linger()
            # The peer takes nothing in, or another thread's send is in the way.
            self.interest = [
                (fd, WRITE) for fd, _mask in self._transport.interest if self._wants_room]
            return self._on_time(self._clock())

        data, reason = self._receive()
        if self._is_forced:     # just now, which is what ended it
            return self._disconnected(u'disconnected by the application')
        now = self._clock()
        if self._broken is not None:
            # Counted in bytes: the time goes by in the handlers of what had arrived.
            if data is None or self._salvage <= 0:
                return self._disconnected(text_type(self._broken))
            self._salvage -= len(data)
        if data:
            self._timers.heard = now
            if now < self._deadline:
                return self._websocket.feed(data)   # type: ignore[no-any-return]
            return chain(self._websocket.feed(data), self._on_time(now))
        if reason is not None:
            return self._disconnected(reason)
        return self._on_time(now)

    def _is_close_to_come(self):
        # type: () -> bool
        """Tell if our Close frame is still to go out: by the loop, or by a thread that sends it."""
        return self._owed_close is not None or (
            self.sent_close_time is None and self._stream.state not in CAN_SEND)

    def _await_close(self):
        # type: () -> None
        """Once a Close frame is out, or should be, the rest has `close_timeout` to happen."""
        since = self._clock() if self.sent_close_time is None \
            else self._started + self.sent_close_time
        self._close_deadline = since + self._close_timeout
        self._set_deadline()

    def _on_time(self, now):
        # type: (float) -> Iterator[Event]
        """Do what is due. All that had arrived was received before."""
        self._stream.free_memory()
        timers = self._timers
        if self._transport.progress - self._progress >= PROGRESS:
            self._progress = self._transport.progress
            timers.heard = now      # the peer reads what another thread sends
            if self.sent_close_time is None and self._close_deadline != NEVER:
                self._close_deadline = now + self._close_timeout
        if timers.ping_is_due(now) and self._ping():
            timers.asked(now)
        if timers.is_silent(now):
            yield events.Unresponsive()
            for event in self._disconnected(
                    u'the {} is unresponsive'.format(self._peer)):
                yield event
        elif now >= self._close_deadline:
            reason = u'the Close frame could not be sent in {} seconds' \
                if self.sent_close_time is None else u'no answer to the Close frame in {} seconds'
            for event in self._disconnected(reason.format(self._close_timeout)):
                yield event
        elif timers.poll_is_due(now):
            # Last: its handler may take its time.
            yield events.Poll()
        self._set_deadline()

    def _set_deadline(self):
        # type: () -> None
        timers = self._timers
        self._deadline = min(
            timers.next_poll, timers.next_ping, timers.verdict, self._close_deadline)

    def _ping(self):
        # type: () -> bool
        """Send a ping if the send buffer isn't full: the loop never waits for that.

        Returns True if the peer has something to answer, or doesn't read.
        """
        payload = _ping_struct.pack(self._websocket.stats.pings_sent & 0xFFFFFFFF)
        if not self._lock.acquire(False):
            if self._interleaves and not self._controls:
                try:
                    self._queue_control(Opcode.PING, payload)
                    self._ping_sent = (payload, self._clock())
                except errors.WebSocketError as error:
                    log.debug('no ping was sent: %s', error)
                    return False
            return True
        try:
            if not self._transport.has_room():
                return True
            self._ping_sent = (payload, self._clock())
            return self._try_to_send(Opcode.PING, payload)
        finally:
            self._release()

    def _close_was_sent(self):
        # type: () -> None
        self._close_deadline = NEVER    # from now on it's the answer that is waited for
        super(WebsocketSession, self)._close_was_sent()

    def _on_pong(self, payload):
        # type: (bytes) -> None
        if self._ping_sent is not None and payload == self._ping_sent[0]:
            self._websocket.stats.round_trips.add(self._clock() - self._ping_sent[1])
            self._ping_sent = None

    def _receive(self):
        # type: () -> Any
        """Return (bytes or None, reason of the end or None)."""
        inlet = self._stream.inlet
        self._reader = thread_module.get_ident()
        try:
            data = self._transport.receive(inlet)
        except (socket.error, ValueError) as error:
            # ValueError: an SSLSocket whose session is gone.
            self._read_error = error
            return None, u'the connection broke: {}'.format(describe(error))
        finally:
            self._reader = None
        self.interest = self._transport.interest
        if data == b'':
            return None, u'the {} closed the connection'.format(self._peer)
        if data is not None:
            self._is_there_more = len(data) >= (
                RECEIVE_SIZE if inlet is None else min(RECEIVE_SIZE, len(inlet)))
        return data, None

    def _read_ahead(self):
        # type: () -> None
        """Turn what a send has read ahead into events, which the loop yields next.

        Only where the send was called in the loop's body: there nothing else
        would answer the pings among them. And only if it had to wait.
        """
        if self._transport.progress == self._read_ahead_at:
            return
        self._read_ahead_at = self._transport.progress
        loop = None if self._loop is None else self._loop()
        if loop is None or loop.gi_running or self._driver != thread_module.get_ident():
            return
        if self._ahead_rest is not None:
            return
        if not self._ahead:
            self._ahead, self._ahead_size = deque(), 0
        limit = self._read_ahead_limit or NEVER
        # The loop is in the midst of these, so that all of them come first.
        self._take_ahead(self._events, NEVER)
        while self._ahead_size < limit and self._stream.is_receiving:
            data = self._transport.take_read_ahead()
            if data is None:
                break
            self._timers.heard = self._clock()
            rest = iter(self._websocket.feed(data))
            if not self._take_ahead(rest, limit):
                self._ahead_rest = rest
        if limit != NEVER:
            # What is read ahead and what became of it share one limit.
            self._transport.max_read_ahead = max(1, limit - self._ahead_size)

    def _take_ahead(self, happened, limit):
        # type: (Iterator[Event], float) -> bool
        """Keep events until the limit is reached; False if there may be more."""
        for event in happened:
            self._ahead.append(event)
            self._ahead_size += _EVENT_SIZE + len(
                getattr(event, 'text', getattr(event, 'data', b'')))
            self._holds_close = self._stream.state == State.PEER_CLOSING
            if self._ahead_size >= limit:
                return False
        self._holds_close = self._stream.state == State.PEER_CLOSING
        return True

    def _end_ahead(self):
        # type: () -> Iterator[Event]
        """Return what is left of the events that were read ahead, once the others are yielded."""
        rest, self._ahead_rest = self._ahead_rest, None
        self._events = iter(()) if rest is None or self._is_forced else rest
        if self._transport is not None:
            self._transport.max_read_ahead = self._read_ahead_limit
        return self._events

    # -- the steps: the end --

    def _begin_linger(self):
        # type: () -> Iterable[Event]
        """Leave it to the peer to end TCP first, but not for long."""
        linger = self.linger
        if self._stream.error is not None:
            # The peer gets to read our Close frame, and that nothing follows.
            # Were TCP ended while it still sends, it might lose that.
            self._transport.shutdown_sending()
            linger = self.linger_after_error
        self._is_open = False
        self._deadline = self._clock() + linger
        self._step = self._step_linger
        return self._step_linger()

    def _step_linger(self):
        # type: () -> Iterable[Event]
        data, reason = self._receive()
        # Nothing that follows a Close frame counts, and it may have no end.
        while data and self._clock() < self._deadline:
            data, reason = self._receive()
        is_patient = self._broken is None and not self._is_forced
        if reason is None and is_patient and self._clock() < self._deadline:
            return ()
        error = self._stream.error or self._broken
        return self._disconnected(u'closed' if error is None else text_type(error))

    def _disconnected(self, reason):
        # type: (text_type) -> Iterable[Event]
        """Free the socket; return the last event."""
        graceful = self._stream.is_close_complete and self.sent_close_time is not None \
            and self._broken is None
        self.trace('disconnected', reason=reason, graceful=graceful)
        self._finish()
        return [events.Disconnected(u'closed' if graceful else reason, graceful)]

    def _finish(self):
        # type: () -> None
        self.dispose()
        self._step = tuple

    # -- from any thread --

    def force_disconnect(self):
        # type: () -> None
        """End the loop with Disconnected, from any thread; never waits, never raises."""
        self._is_forced = True
        self._stream.stop_receiving()
        transport = self._transport
        if transport is not None:
            transport.abort()
        self._notice()

    def _notice(self):
        # type: () -> None
        """Have the loop look around, wherever it is."""
        self._needs_step = True
        self._wake()

    def trace(self, stage, **fields):
        # type: (str, **Any) -> None
        """Tell the user's tracer, if there is one; what it raises is logged."""
        tracer = self._websocket.trace
        if not tracer:
            return
        record = TraceRecord(fields, stage=stage, url=self._websocket.target.url)
        if tracer is True:
            log.debug('trace: %r', record.redacted())
            return
        try:
            tracer(record)
        except Exception:       # the tracer isn't ours, and no reason to disconnect
            log.exception('the tracer failed at %r', stage)
