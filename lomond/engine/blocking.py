"""Sends for a driver that has a thread for each connection: a call waits while the buffer is full.

Uses `Transport.send`, which does the waiting. Common rules of sending are in `writer`.
"""

from __future__ import absolute_import, division, print_function

import threading

from lomond import errors
from lomond._compat import TYPE_CHECKING, monotonic, thread_module
from lomond.engine.timers import NEVER
from lomond.engine.writer import Writer, interrupted_by
from lomond.opcode import Opcode
from lomond.protocol.frame import CONTROL_BIT, PIECE
from lomond.protocol.state import unavailable

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Iterator, List, Optional, Set, Tuple  # noqa: F401

    from lomond.net.transport import Transport  # noqa: F401
    from lomond.protocol.connection import Connection  # noqa: F401

# How often a waiting thread looks up: on 2.7 no signal's handler runs during one wait.
_GLANCE = 1.0


class _AnotherMessage(errors.WebSocketUnavailable):
    """Another thread's message in parts has begun, and not ended: wait, and try again."""


class _PartSender(object):
    """A thread that sends a message in parts."""

    def __init__(self):
        # type: () -> None
        self.thread = thread_module.get_ident()  # type: int
        #: Set once it is done.
        self.is_done = threading.Event()
        #: Those that have waited for that, in their order: each is set when its turn has come.
        self.waiting = []  # type: List[threading.Event]


class BlockingWriter(Writer):
    """Sends a connection's frames; a caller's thread waits while the send buffer is full.

    What the session's loop calls waits neither for the send buffer nor for another sender.
    """

    __slots__ = ('_is_flushing', '_last_part_sender', '_part_sender', '_turns')

    def __init__(self, connection, options, session, clock):
        # type: (Connection, Any, Any, Callable[[], float]) -> None
        super(BlockingWriter, self).__init__(connection, options, session, clock)
        self._is_flushing = False       # the loop sends pending frames, in their order
        # The sender of a message in parts. Meanwhile `_whole_size` is negative: so `send` finds out
        # where it has to look for large messages anyway.
        self._part_sender = None  # type: Optional[_PartSender]
        self._last_part_sender = None  # type: Optional[_PartSender]
        # The threads that wait for the end of another one's message in parts, to send their own.
        self._turns = set()  # type: Set[int]

    def attach(self, transport):
        # type: (Transport) -> None
        super(BlockingWriter, self).attach(transport)
        transport.on_backlog = self._session.wake   # a send that waits reads ahead

    # -- for the user, through the websocket --

    def write(self, data):
        # type: (bytes) -> None
        """Send bytes as they are: for what isn't a frame.

        Raises TransportFail, or WebSocketUnavailable if there is no connection.
        """
        self._send_each((data,))

    # Each message comes through here: it calls no method where a line will do.
    def send(self, opcode, data, compress=False):
        # type: (int, bytes, bool) -> None
        """Send a frame, whole; compressed if ``compress`` is true and that was agreed on.

        Raises TransportFail, or WebSocketUnavailable and its kinds.
        """
        is_close = opcode == Opcode.CLOSE
        if self.receiving_thread is not None and self._interrupts_reading(opcode):
            self._send_interrupting(opcode, data)
            return
        if self.is_disposed:        # a signal's handler must not wait here for another thread
            raise unavailable(self._connection.state)
        try:
            with self.lock:
                if self.is_sending:
                    self._send_interrupting(opcode, data)
                    return
                frame = None
                try:
                    self.is_sending = True  # type: bool
                    if is_close and self._connection.lifecycle.may_send:
                        self.pending.has_closed = True      # before `any` is read
                    if self.pending.any and not self._is_flushing:
                        self._send_controls_first()
                    if len(data) > self._whole_size and not opcode & CONTROL_BIT:
                        if self._part_sender is not None:
                            raise _AnotherMessage('another message is being sent in parts')
                        size, frames = self._encoder.encode_in_frames(
                            opcode, data, compress, self._fragment_size)
                        self._hand_over(self._interleave(frames), size)
                    else:
                        frame = self._encoder.encode(opcode, data, compress)
                        if self.error is not None:
                            raise self.refusal(len(frame))
                        self.transport.send(frame, self.options.write_timeout or None)
                    if is_close:
                        self._close_was_sent()
                    self.is_sending = False
                except BaseException as error:
                    self._failed(error, frame is not None)
                    raise
        except _AnotherMessage:
            self._in_turn(self.send, opcode, data, compress)
        finally:
            if self.pending.any or self.is_disposed:
                self._catch_up()

    def send_control(self, opcode, payload):
        # type: (int, bytes) -> None
        """Send a ping, a pong or a Close frame.

        While another thread's message goes out in fragments the frame waits
        for the end of a fragment, and this returns at once. Raises as `send`.
        """
        if self.is_interleaving and not self.pending.is_full:
            self._queue_control(opcode, payload)
        else:
            self._send_as_user(opcode, payload)

    def send_ping(self, payload):
        # type: (bytes) -> None
        """Send a ping, or have the loop send it as soon as that needs no waiting; raises as `send`.

        For a call that has a timeout. The loop may send it until `take_back_ping` is called.
        """
        if self._interrupts(Opcode.PING):
            self._send_interrupting(Opcode.PING, payload)
        self._queue_control(Opcode.PING, payload)
        self.flush_pending()
        self._session.wake()        # last: the loop may be about to wait for less than is pending

    def take_back_ping(self, payload):
        # type: (bytes) -> None
        """Don't send this ping any more, if it still waits."""
        self.pending.withdraw(Opcode.PING, payload)

    def send_many(self, messages, compress):
        # type: (Iterable[Tuple[int, bytes]], bool) -> None
        """Send a frame for each pair of an opcode and a payload, in as few writes as possible.

        No other thread's message comes in between, nor a Close frame. Raises as `send`.
        """
        self._send_each(self._encoder.encode_many(messages, compress, self._fragment_size))

    def _send_each(self, parts):
        # type: (Iterable[bytes]) -> None
        """Send parts, each made when the one before is out, with no other message in between."""
        if self.receiving_thread is not None and self._interrupts_reading(None):
            self._send_interrupting(None, b'')
            return
        if self.is_disposed:
            raise unavailable(self._connection.state)
        try:
            with self.lock:
                if self.is_sending:
                    self._send_interrupting(None, b'')
                    return
                try:
                    if self._part_sender is not None:
                        raise _AnotherMessage('another message is being sent in parts')
                    self.is_sending = self.is_interleaving = True
                    if self.pending.any:
                        self._send_controls_first()
                    for data in parts:
                        self._hand_over(data)
                        self._session.read_ahead()
                        # All of the parts go out before a Close frame.
                        self._send_controls(may_close=False)
                    self.is_sending = self.is_interleaving = False
                except BaseException as error:
                    self._failed(error, False)
                    raise
        except _AnotherMessage:
            self._in_turn(self._send_each, parts)
        finally:
            self._catch_up()

    # -- a message in parts --

    def send_parts(self, opcode, parts, compress):
        # type: (int, Iterable[bytes], bool) -> None
        """Send one message, with a frame for each part, while the iterable makes them.

        The lock isn't held while the iterable works: control frames go out meanwhile, and other
        messages wait. What it raises in the middle of the message ends the connection.
        """
        sender = _PartSender()
        try:
            try:
                self._begin_parts(sender)
                for part in parts:
                    self._send_part(opcode, part, False, compress)
                self._send_part(opcode, b'', True, compress)
            finally:
                self._end_parts(sender)
        except BaseException as error:
            if self._part_sender is sender:     # Ctrl-C in `_end_parts`
                self._give_up_parts(sender, error)
            raise

    def _begin_parts(self, sender):
        # type: (_PartSender) -> None
        self._give_way(None)
        try:
            self._try_to_begin(sender)
        except _AnotherMessage:
            self._in_turn(self._try_to_begin, sender)

    def _try_to_begin(self, sender):
        # type: (_PartSender) -> None
        with self.lock:
            if self.is_sending or self._interrupts_reading(Opcode.TEXT):
                self._send_interrupting(None, b'')
            if self.is_disposed or not self._connection.lifecycle.may_send:
                raise unavailable(self._connection.state)
            if self._part_sender is not None:
                raise _AnotherMessage('another message is being sent in parts')
            self._part_sender = sender
            self._whole_size = -1

    def _in_turn(self, send, *arguments):
        # type: (Callable[..., None], *Any) -> None
        """Call a function that another thread's message in parts has refused, after that."""
        thread = thread_module.get_ident()
        if thread in self._turns:
            self._send_interrupting(None, b'')      # raises
        turn = threading.Event()
        try:
            self._turns.add(thread)
            while True:
                self._await_parts(turn)
                self._give_way(turn)
                with self.lock:     # so that no other message begins before this one
                    if self._part_sender is None:
                        send(*arguments)
                        return
        finally:
            self._turns.discard(thread)
            turn.set()
            self._catch_up()        # the loop may have found the lock taken

    def _await_parts(self, turn):
        # type: (threading.Event) -> None
        """Wait until another thread's message in parts has ended; raises WebSocketUnavailable."""
        sender = self._part_sender
        if sender is None:
            return
        if sender.thread == thread_module.get_ident():
            raise errors.WebSocketUnavailable(
                'this thread is in the middle of a message that it sends from an iterable')
        sender.waiting.append(turn)
        timeout = self.options.write_timeout
        deadline = monotonic() + timeout if timeout else NEVER
        while not sender.is_done.wait(min(_GLANCE, max(0.0, deadline - monotonic()))):
            if self.is_disposed or self.error is not None:
                raise unavailable(self._connection.state) if self.error is None \
                    else self.refusal(0)
            if monotonic() >= deadline:
                raise errors.WebSocketUnavailable(
                    u'another thread has been sending a message from an iterable for longer than '
                    u'write_timeout, {:g} s: try again later, or raise write_timeout'.format(
                        timeout))

    def _give_way(self, own):
        # type: (Optional[threading.Event]) -> None
        """Let those go first that have waited for the last message in parts, before this thread.

        Not for long: one may have been interrupted.
        """
        last = self._last_part_sender
        for turn in last.waiting if last is not None else ():
            if turn is own:
                return
            turn.wait(_GLANCE)

    def _send_part(self, opcode, part, is_last, compress):
        # type: (int, bytes, bool, bool) -> None
        limit = self._fragment_size or len(part)
        start = 0
        while True:
            stop = start + limit
            is_end = stop >= len(part)
            self._send_fragment(opcode, part[start:stop], is_last and is_end, compress)
            if is_end:
                return
            start = stop

    def _send_fragment(self, opcode, data, is_last, compress):
        # type: (int, bytes, bool, bool) -> None
        try:
            with self.lock:
                try:
                    self.is_sending = True
                    if self.pending.any:
                        self._send_controls_first()
                    self._hand_over(self._encoder.encode_part(opcode, data, is_last, compress))
                    self._session.read_ahead()
                    self.is_sending = False
                except BaseException as error:
                    self._failed(error, False)
                    raise
        finally:
            self._catch_up()

    def _end_parts(self, sender):
        # type: (_PartSender) -> None
        if self._part_sender is not sender:
            return
        try:
            with self.lock:
                if self._encoder.unfinished is not None and self.error is None \
                        and self._connection.lifecycle.may_send:
                    self._break_message()
                self._forget_parts()    # later sends are refused for that reason
        finally:
            sender.is_done.set()
            self._catch_up()

    def _forget_parts(self):
        # type: () -> None
        self._encoder.unfinished = None
        self._whole_size = min(PIECE, self._fragment_size or PIECE)
        self._last_part_sender, self._part_sender = self._part_sender, None

    def _give_up_parts(self, sender, error):
        # type: (_PartSender, BaseException) -> None
        """Have no thread wait for a sender that was interrupted at the end: nothing may follow."""
        self._break(interrupted_by(error))
        self._forget_parts()
        sender.is_done.set()

    def _interleave(self, frames):
        # type: (Iterable[Iterable[Any]]) -> Iterator[Any]
        """Yield the pieces of a message's frames, and send control frames between the frames.

        The transport asks for the next piece when it has sent the last.
        """
        self.is_interleaving = True  # type: bool
        for pieces in frames:
            for piece in pieces:
                yield piece
            self._session.read_ahead()
            self._send_controls()
        self.is_interleaving = False

    # -- pending control frames --

    def _send_controls_first(self):
        # type: () -> None
        """Keep the order of the calls: no message overtakes a pending control frame."""
        try:
            self._send_controls()
        except errors.TransportFail:
            pass        # the message is refused for the same reason

    def _send_controls(self, may_close=True):
        # type: (bool) -> None
        """Send pending control frames, in the thread that is sending, which holds the lock."""
        while self.pending.any and self._send_next_control(may_close):
            pass

    def _send_next_control(self, may_close=True):
        # type: (bool) -> bool
        """Send one pending control frame, under the lock; False if there is none."""
        control = self.pending.take(may_close)
        if control is None:
            return False
        opcode, payload = control
        try:
            frame = self._encoder.encode(opcode, payload)
        except errors.WebSocketUnavailable as error:
            self.options.logger.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
        else:
            self._hand_over(frame)
        if opcode == Opcode.CLOSE:
            self._close_was_sent()
            self.pending.close_sent()       # last: until then the loop waits for it
        return True

    def _hand_over(self, data, size=None):
        # type: (Any, Optional[int]) -> None
        """Have the transport send bytes, or pieces that are ``size`` bytes together."""
        if self.error is not None:
            raise self.refusal(len(data) if size is None else size)
        transport = self.transport
        if transport is None:       # a redirect has just closed it
            raise unavailable(self._connection.state)
        timeout = self.options.write_timeout or None
        try:
            if size is None:
                transport.send(data, timeout)
            else:
                transport.send_pieces(data, size, timeout)
        except BaseException as error:
            self._failed(error, True)
            raise

    def flush_pending(self):
        # type: () -> None
        """Send what is pending, if that needs no waiting; else the loop tries again later.

        A sender that holds the lock wakes the loop when it is done, or sends
        what is pending itself. `needs_buffer` is set if the send buffer is full.
        """
        self.needs_buffer = False  # type: bool
        if not self.pending.any or self.transport is None or not self.lock.acquire(False):
            return
        try:
            if self.is_sending:
                return          # this is a signal's handler: the loop goes on after it
            self._is_flushing = True
            while self.pending.any and self._has_buffer():
                control = self.pending.take()
                if control is None:
                    return
                self._try_to_send(*control)
                if control[0] == Opcode.CLOSE:
                    self.pending.close_sent()
        finally:
            self._is_flushing = False
            self._release()

    def _has_buffer(self):
        # type: () -> bool
        """Return whether a small frame would go out at once, or fail at once."""
        if self.error is not None or self.is_disposed or self.transport.is_writable():
            return True
        self.needs_buffer = True
        return False

    def offer_control(self, opcode, payload):
        # type: (int, bytes) -> Optional[bool]
        """Send a ping or a pong of the loop's own if the send buffer isn't full.

        Returns True if it went out or goes out after another thread's fragment; False if the
        connection doesn't allow it; None if it could not be sent without waiting. Then the send
        buffer is full, or another thread is sending.
        """
        if not self.lock.acquire(False):
            if not self.is_interleaving or self.pending.has_users:
                return None
            try:
                self._queue_control(opcode, payload)
            except errors.WebSocketError as error:
                self.options.logger.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
                return False
            return True
        try:
            if not self.transport.is_writable():
                return None
            return self._try_to_send(opcode, payload)
        finally:
            self._release()

    def _try_to_send(self, opcode, payload):
        # type: (int, bytes) -> bool
        """Send a small frame, under the lock; False if that failed."""
        try:
            self._send_as_user(opcode, payload)
            return True
        except errors.WebSocketError as error:
            self.options.logger.debug('%s was not sent: %s', Opcode.to_str(opcode), error)
            return False

    def _send_as_user(self, opcode, payload):
        # type: (int, bytes) -> None
        """Send a control frame through a `send` of the user's own, if the session has one."""
        (self._session.sender or self).send(opcode, payload)
