"""Several threads on one connection: nothing is mixed up, lost or stuck."""

from __future__ import absolute_import, division, print_function

import random
import threading

import pytest

from lomond import WebSocket, errors
from lomond.protocol.extensions.permessage_deflate import DeflateOptions
from lomond.server import Server
from tests.network.driving import Background, wait_for

THREADS = 4
MESSAGES = 50


def make_text(thread, number):
    """Return a text that tells where it comes from, of another length each time."""
    length = random.Random(thread * 1000 + number).randrange(2000)
    return u'{}:{}:{}'.format(thread, number, u'lorem ipsum ' * (length // 12))


def check_texts(texts):
    """Check that each thread's messages came whole, once, and in order."""
    assert len(texts) == THREADS * MESSAGES
    for thread in range(THREADS):
        own = [text for text in texts if text.startswith(u'{}:'.format(thread))]
        assert own == [make_text(thread, number) for number in range(MESSAGES)]


def close_after(senders, websocket):
    """Close once all senders are done."""
    for sender in senders:
        sender.result()
    websocket.close()


@pytest.mark.parametrize('compress', [
    False,
    True,
    DeflateOptions(server_no_context_takeover=True, client_no_context_takeover=True),
], ids=['plain', 'takeover', 'no takeover'])
def test_four_threads_send_over_one_connection_and_all_arrives(compress):
    received = []

    def handler(websocket):
        for event in websocket:
            if event.name == 'text':
                received.append(event.text)

    def send(websocket, thread, barrier):
        wait_for(barrier)
        for number in range(MESSAGES):
            websocket.send_text(make_text(thread, number))

    with Server(handler, compress=True) as server:
        websocket = WebSocket(server.url, compress=compress)
        senders = []
        barrier = threading.Event()
        for event in websocket.connect(ping_rate=0.001):
            if event.name == 'ready':
                assert websocket.supports_compression is bool(compress)
                senders = [
                    Background(send, websocket, thread, barrier) for thread in range(THREADS)]
                barrier.set()
                closer = Background(close_after, senders, websocket)
        closer.result()
        assert event.graceful
    check_texts(received)


def test_the_server_sends_from_four_threads_too():
    def send(websocket, thread):
        for number in range(MESSAGES):
            websocket.send_text(make_text(thread, number))

    def handler(websocket):
        senders = [Background(send, websocket, thread) for thread in range(THREADS)]
        for sender in senders:
            sender.result()

    with Server(handler, compress=True) as server:
        events = list(WebSocket(server.url, compress=True))
    check_texts([event.text for event in events if event.name == 'text'])
    assert events[-1].graceful


def test_both_sides_send_much_before_they_read():
    """Neither waits for the other: each takes in what comes while it sends."""
    blob = bytes(bytearray(range(256))) * 4096      # 1 MiB

    def handler(websocket):
        for event in websocket:
            if event.name == 'ready':
                for _ in range(8):
                    websocket.send_binary(blob)
            elif event.name == 'binary':
                assert event.data == blob
                got.append(event.data)
                if len(got) == 8:
                    return

    got = []
    with Server(handler) as server:
        websocket = WebSocket(server.url)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                sender = Background(lambda: [websocket.send_binary(blob) for _ in range(8)])
        sender.result()
    assert [event.data == blob for event in events if event.name == 'binary'] == [True] * 8
    assert len(got) == 8
    assert events[-1].graceful


@pytest.mark.parametrize('end', ['close', 'force_disconnect'])
@pytest.mark.parametrize('attempt', range(5))
def test_ending_it_while_others_send_is_never_more_than_unavailable(end, attempt):
    """Whatever the moment, a sender meets one of the errors that say so."""
    def handler(websocket):
        for _event in websocket:
            pass

    def send(websocket):
        try:
            while True:
                websocket.send_text(u'x' * 1000)
        except (errors.WebSocketUnavailable, errors.TransportFail) as error:
            return error

    with Server(handler) as server:
        websocket = WebSocket(server.url, compress=True)
        events = []
        for event in websocket:
            events.append(event)
            if event.name == 'ready':
                senders = [Background(send, websocket) for _ in range(THREADS)]
                ender = Background(getattr(websocket, end))
        ender.result()
        failures = [sender.result() for sender in senders]
    assert len(failures) == THREADS
    assert events[-1].name == 'disconnected'
    assert events[-1].graceful is (end == 'close')


def test_calls_from_all_sides_at_every_moment_do_no_harm():
    """One thread connects again and again; others send, close, ask and break."""
    is_over = threading.Event()
    strange = []

    def handler(websocket):
        for _event in websocket:
            pass

    def disturb(websocket, seed):
        choice = random.Random(seed).choice
        calls = [
            lambda: websocket.send_text(u'x'),
            lambda: websocket.send_ping(b'x'),
            websocket.close,
            websocket.force_disconnect,
            lambda: (websocket.state, websocket.sent_close_time, websocket.supports_compression),
        ]
        while not is_over.is_set():
            try:
                choice(calls)()
            except errors.WebSocketError:
                pass
            except BaseException as error:
                strange.append(error)
                raise

    with Server(handler, compress=True) as server:
        websocket = WebSocket(server.url, compress=True)
        disturbers = [Background(disturb, websocket, seed) for seed in range(2)]
        last = set()
        for _ in range(100):
            events = list(websocket)
            last.add(events[-1].name)
        is_over.set()
        for disturber in disturbers:
            disturber.result()
    assert not strange
    assert last <= {'connect_fail', 'disconnected'}
