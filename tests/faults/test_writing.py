"""A write fails at each byte that goes out: what is raised, what the events say."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond import errors
from lomond.protocol.frame import MASKED_PIECE
from tests.faults.scripted import (
    BLOCKING,
    BROKEN,
    CLIENT,
    END,
    ERROR,
    FULL,
    HEADS,
    PAUSE,
    QUEUED,
    RESET,
    SERVER,
    SILENCE,
    by_driver,
    run,
)
from tests.protocol.harness import KEY, PING, TEXT
from tests.sampling import share
from tests.support import make_close, make_frame

by_role = pytest.mark.parametrize('role', [CLIENT, SERVER])
by_link = pytest.mark.parametrize('is_secure', [False, True], ids=['plain', 'tls'])

#: Less than any send takes: the first that finds no room has waited for too long.
AT_ONCE = 1e-9

SENDS = [
    lambda websocket: websocket.send_text(u'caf\xe9', compress=False),
    lambda websocket: websocket.send_binary(b'\0' * 130, compress=False),
    lambda websocket: websocket.send_ping(b'?'),
    lambda websocket: websocket.send_text(u'x' * 100),
    lambda websocket: websocket.send_many([u'a', b'b', u'c' * 40]),
    lambda websocket: websocket.send_pong(b'!'),
]

#: How many messages each of these is.
MESSAGES = [1, 1, 0, 1, 3, 0]


def _frames(role):
    key = KEY if role == SERVER else None
    return [
        make_frame(TEXT, b'in', key=key), make_frame(PING, b'ping', key=key),
        make_close(1000, b'bye', key=key)]


def _expected(role):
    before = [('connecting',), ('connected',)] if role == CLIENT else []
    return before + [('ready',), ('poll',)], [
        ('text', u'in'), ('ping', b'ping'), ('closing', 1000, u'bye')]


def _talk(ready_fd, role, **options):
    """Run a session in which everything is sent at Ready; its peer sends, and closes."""
    return run(ready_fd, role, [HEADS[role]] + _frames(role) + [END], **options)


def _sizes(ready_fd, role, on_ready, **options):
    """Return how large each send's bytes are, and how many go out before and in all."""
    outcome = _talk(ready_fd, role, on_ready=on_ready, **options)
    assert [error for _sent, error in outcome.calls] == [None] * len(on_ready)
    starts = [sent for sent, _error in outcome.calls]
    # Behind them a pong and the answer to Close follow.
    mask = 4 if role == CLIENT else 0
    replies = [2 + mask + len(b'ping'), 2 + mask + 2]
    total = len(outcome.sock.sent)
    assert outcome.head_size == starts[0]
    starts.append(total - sum(replies))
    return [stop - start for start, stop in zip(starts, starts[1:])], starts[0], total


def _check_failed_sends(outcome, sizes, handshake, offset, messages=MESSAGES):
    """Assert that each send says how much of it went out; return if one failed.

    With a queue it is Disconnected that says how many ``messages`` of the sends didn't.
    """
    start = handshake
    arrived = returned = raised = 0
    for size, count, (_sent, error) in zip(sizes, messages, outcome.calls):
        if start + size <= offset:
            arrived += count
            assert error is None, offset
        elif outcome.driver == BLOCKING:
            assert type(error) is errors.TransportFail, offset
            assert error.size == size, offset
            assert error.sent == max(0, offset - start), offset
        if error is None:
            returned += count
        else:
            assert type(error) is errors.TransportFail, offset
            assert str(error)
            raised += count
        start += size
    if outcome.driver == QUEUED:
        assert returned <= arrived + outcome.unsent <= returned + raised, offset
    return start > offset


@by_driver
@by_role
@by_link
@pytest.mark.parametrize('failure', [BROKEN, ERROR, FULL])
def test_write_that_fails_anywhere_says_how_much_went_out(
        ready_fd, driver, role, is_secure, failure):
    """And nothing goes out after that, even where the socket would take it."""
    sizes, handshake, total = _sizes(
        ready_fd, role, SENDS, driver=driver, is_secure=is_secure)
    before, after = _expected(role)
    for offset in share(range(handshake, total)):
        outcome = _talk(
            ready_fd, role, is_secure=is_secure, on_ready=SENDS, fails_at=offset, failure=failure,
            write_timeout=AT_ONCE if failure == FULL else None, driver=driver)
        has_failed = _check_failed_sends(outcome, sizes, handshake, offset)
        # Nothing follows a frame that was torn; what had arrived is told all the same.
        assert len(outcome.sock.sent) == offset
        assert outcome.events[:-1] == before + after, offset
        _name, reason, graceful = outcome.events[-1]
        assert not graceful, offset
        assert ('write timed out' if failure == FULL else 'could not send') in reason, offset
        assert has_failed or offset >= handshake + sum(sizes)


@by_driver
@by_role
@pytest.mark.parametrize('failure', [BROKEN, FULL])
def test_message_in_pieces_that_fails_says_how_much_went_out(ready_fd, driver, role, failure):
    message = b'0123456789abcdef' * 20000
    sends = [lambda websocket: websocket.send_binary(message, compress=False)] + SENDS[:1]
    sizes, handshake, total = _sizes(ready_fd, role, sends, driver=driver)
    assert sizes[0] == 10 + (4 if role == CLIENT else 0) + len(message)
    offsets = [
        handshake + offset for piece in range(0, len(message) + 1, MASKED_PIECE)
        for offset in range(piece - 16, piece + 17) if offset >= 0] + [total - 20]
    for offset in share(offsets):
        outcome = _talk(
            ready_fd, role, on_ready=sends, fails_at=offset, failure=failure,
            write_timeout=AT_ONCE if failure == FULL else None, driver=driver)
        assert _check_failed_sends(outcome, sizes, handshake, offset, [1, 1]) \
            or offset >= handshake + sum(sizes)
        assert not outcome.events[-1][2], offset


@by_driver
@by_role
@by_link
def test_write_that_has_to_wait_anywhere_changes_nothing(ready_fd, driver, role, is_secure):
    _sizes_of, handshake, total = _sizes(
        ready_fd, role, SENDS, driver=driver, is_secure=is_secure)
    before, after = _expected(role)
    for offset in share(range(total)):
        outcome = _talk(ready_fd, role, is_secure=is_secure, on_ready=SENDS, fails_at=offset,
                        failure=PAUSE, driver=driver)
        assert [error for _sent, error in outcome.calls] == [None] * len(SENDS)
        assert outcome.events == before + after + [('disconnected', u'closed', True)], offset
        assert len(outcome.sock.sent) == total
        opcodes = [first & 0x0f for first, _payload in outcome.frames]
        if driver == BLOCKING:
            assert opcodes == [1, 2, 9, 1, 1, 2, 1, 10, 10, 8]
        else:       # pings and pongs go before the messages that wait
            assert [opcode for opcode in opcodes if opcode < 8] == [1, 2, 1, 1, 2, 1]
            assert [opcode for opcode in opcodes if opcode >= 8] == [9, 10, 10, 8]


@by_driver
@by_role
@by_link
def test_one_byte_taken_at_a_time_changes_nothing(ready_fd, driver, role, is_secure):
    outcome = _talk(ready_fd, role, is_secure=is_secure, on_ready=SENDS, most=1, driver=driver)
    assert [error for _sent, error in outcome.calls] == [None] * len(SENDS)
    assert outcome.events[-1] == ('disconnected', u'closed', True)
    assert [payload for first, payload in outcome.frames if first == 0x89] == [b'?']


@by_driver
@by_link
@pytest.mark.parametrize('failure', [BROKEN, ERROR, FULL])
@pytest.mark.parametrize('answer, told', [
    ([b'HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 5\r\n\r\nSorry', END],
     ('rejected', u'the server answered 503 Busy', 503, b'Sorry')),
    ([b'HTTP/1.1 503 Busy\r\n\r\nSor', b'ry', RESET],
     ('rejected', u'the server answered 503 Busy', 503, b'Sorry')),
    ([b'HTTP/1.1 503 Busy\r\n\r\nSor', b'ry', SILENCE],
     ('rejected', u'the server answered 503 Busy', 503, b'Sorry')),
    ([b'HTTP/1.1 503\nContent-Length: 0\n\n', SILENCE],
     ('rejected', u'the server answered 503 ', 503, b'')),
    ([b'+OK ready\r\n', END],
     ('protocol_error', u'the server answered with a POP3 greeting, not HTTP: {!r}'.format(
         b'+OK ready'), True, None)),
], ids=['503', 'until the end', 'no end', 'bare LF', 'banner'])
def test_answer_is_told_wherever_the_request_fails(
        ready_fd, driver, is_secure, failure, answer, told):
    """Whether a read or a write is the first to fail makes no difference."""
    _sizes_of, size, _total = _sizes(ready_fd, CLIENT, SENDS, driver=driver)
    expected = [('connecting',), ('connected',), told, ('disconnected', told[1], False)]
    for offset in share(range(size + 1)):
        outcome = run(ready_fd, CLIENT, answer, is_secure=is_secure, on_ready=SENDS,
                      fails_at=offset, failure=failure, driver=driver)
        assert outcome.events == expected, offset
        assert len(outcome.sock.sent) == offset


@by_driver
@by_link
@pytest.mark.parametrize('failure', [BROKEN, ERROR])
@pytest.mark.parametrize('end, words', [
    (END, None), (SILENCE, None), (RESET, u'the connection broke: Connection reset by peer')])
def test_request_that_fails_with_no_answer_says_why(
        ready_fd, driver, is_secure, failure, end, words):
    """What the read says counts for more, if that failed too."""
    _sizes_of, size, _total = _sizes(ready_fd, CLIENT, SENDS, driver=driver)
    if words is None:
        words = u'the connection broke: ' + (
            u'Connection reset by peer' if failure == BROKEN else u'No buffer space available')
    for offset in share(range(size)):
        outcome = run(
            ready_fd, CLIENT, [end], is_secure=is_secure, fails_at=offset, failure=failure,
            driver=driver)
        assert [event[0] for event in outcome.events] == [
            'connecting', 'connected', 'disconnected']
        assert outcome.events[-1][1].startswith(words), offset


@by_driver
@pytest.mark.parametrize('failure', [BROKEN, FULL])
def test_acceptance_of_half_a_request_is_none(ready_fd, driver, failure):
    _sizes_of, size, _total = _sizes(ready_fd, CLIENT, SENDS, driver=driver)
    for offset in share(range(size)):
        outcome = _talk(
            ready_fd, CLIENT, on_ready=SENDS, fails_at=offset, failure=failure, driver=driver)
        assert outcome.events == [('connecting',), ('connected',), (
            'disconnected', u'the server accepted a request that it had not received', False)]
        assert outcome.calls == []
        assert len(outcome.sock.sent) == offset


@by_driver
def test_request_that_is_never_taken_ends_with_the_time_for_it(ready_fd, driver):
    _sizes_of, size, _total = _sizes(ready_fd, CLIENT, SENDS, driver=driver)
    for offset in share(range(size)):
        outcome = run(ready_fd, CLIENT, [SILENCE], fails_at=offset, failure=FULL, driver=driver)
        assert outcome.events[-1] == (
            'disconnected', u'the handshake took longer than connect_timeout allows (30 s)', False)


@by_driver
@pytest.mark.parametrize('failure', [BROKEN, FULL])
def test_answer_to_the_handshake_that_fails_anywhere_is_no_ready(ready_fd, driver, failure):
    _sizes_of, size, _total = _sizes(ready_fd, SERVER, SENDS, driver=driver)
    for offset in share(range(size)):
        outcome = _talk(
            ready_fd, SERVER, on_ready=SENDS, fails_at=offset, failure=failure,
            connect_timeout=0.001 if failure == FULL else 30, driver=driver)
        assert outcome.calls == []
        if failure == FULL:
            reason = u'the handshake took longer than handshake_timeout allows (0.001 s)'
            assert outcome.events == [('disconnected', reason, False)]
            continue
        assert [event[0] for event in outcome.events] == ['protocol_error', 'disconnected']
        _name, error, critical, _code = outcome.events[0]
        assert critical
        assert '({} of {} bytes '.format(offset, size) in error
        assert outcome.events[1] == ('disconnected', error, False)


@by_driver
@by_role
@pytest.mark.parametrize('failure', [BROKEN, FULL])
def test_close_frame_that_fails_anywhere_is_not_graceful(ready_fd, driver, role, failure):
    """Whether it is ours, to which the answer comes all the same, or the answer."""
    before, after = _expected(role)
    closers = [lambda websocket: websocket.close(1000, u'mine')]
    size = 2 + (4 if role == CLIENT else 0) + len(b'..mine')
    _sizes_of, handshake, _total = _sizes(ready_fd, role, SENDS, driver=driver)
    for offset in share(range(size)):
        outcome = _talk(
            ready_fd, role, on_ready=closers, fails_at=handshake + offset, failure=failure,
            write_timeout=AT_ONCE if failure == FULL else None, driver=driver)
        assert outcome.calls == [(handshake, None)]
        assert outcome.events[:-1] == before + after[:-1] + [('closed', 1000, u'bye')], offset
        assert outcome.events[-1][2] is False


@by_driver
@by_role
def test_failed_write_ends_a_silent_connection(ready_fd, driver, role):
    """The peer sends nothing more that would show it."""
    _sizes_of, handshake, _total = _sizes(ready_fd, role, SENDS, driver=driver)
    outcome = run(
        ready_fd, role, [HEADS[role], SILENCE],
        on_ready=SENDS[:1], fails_at=4 + handshake, failure=BROKEN, driver=driver)
    assert [event[0] for event in outcome.events][-2:] == ['poll', 'disconnected']
    assert 'could not send' in outcome.events[-1][1]
