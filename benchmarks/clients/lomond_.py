"""Lomond, this one and the one before: the same program runs on both."""

from __future__ import absolute_import, division, print_function

import sys
import threading
from itertools import repeat

from clients.opening import Opening


class OldLomond(Opening):
    """Lomond 0.3: an iterator over events."""

    uses_wsaccel = False

    def __init__(self):
        from lomond import WebSocket
        self._class = WebSocket

    def websocket(self, job, operation, context=None):
        return self._class(
            job.url(operation), proxies={}, compress=job.deflate, ssl_context=context)

    def open(self, job, operation, context=None):
        """Return a WebSocket and the iterator over its events, which is at Ready."""
        websocket = self.websocket(job, operation, context)
        events = iter(websocket)
        for event in events:
            if event.name == 'ready':
                return websocket, events
        raise ValueError('no connection: {!r}'.format(event))

    def close(self, connection):
        _websocket, events = connection
        events.close()

    def receive(self, job):
        _websocket, events = self.open(job, 'receive')
        return (self._receive_text if job.is_text else self._receive_binary)(job, events)

    def _receive_text(self, job, events):
        left = job.count
        wait_for(events, 'text')
        started = job.clock()
        for event in events:
            if event.name == 'text':
                message = event.text
                left -= 1
                if not left:
                    break
        elapsed = job.clock() - started
        job.check(message)
        return elapsed

    def _receive_binary(self, job, events):
        left = job.count
        wait_for(events, 'binary')
        started = job.clock()
        for event in events:
            if event.name == 'binary':
                message = event.data
                left -= 1
                if not left:
                    break
        elapsed = job.clock() - started
        job.check(message)
        return elapsed

    def send(self, job):
        websocket, events = self.open(job, 'send')
        send, payload = sender(websocket, job), job.payload
        started = job.clock()
        for _ in repeat(None, job.count):
            send(payload)
        wait_for(events, 'text')
        return job.clock() - started

    def burst(self, job):
        websocket, events = self.open(job, 'burst')
        send, payload = sender(websocket, job), job.payload
        bursts = []
        for _ in repeat(None, job.count):
            started = job.clock()
            for _ in repeat(None, job.burst):
                send(payload)
            bursts.append(job.clock() - started)
            wait_for(events, 'text')
        return bursts

    def echo(self, job):
        websocket, events = self.open(job, 'echo')
        send, payload = sender(websocket, job), job.payload
        trips = []
        started = job.clock()
        send(payload)
        for event in events:
            if event.name == 'text':
                message = event.text
                trips.append(job.clock() - started)
                if len(trips) == job.count:
                    break
                started = job.clock()
                send(payload)
        job.check(message)
        return trips


class Lomond(OldLomond):
    """This one, without wsaccel and zlib-ng, whether they are installed or not."""

    uses_zlib_ng = False

    def __init__(self):
        if not self.uses_wsaccel:
            sys.modules['wsaccel'] = None
        if not self.uses_zlib_ng:
            sys.modules['zlib_ng'] = None
        OldLomond.__init__(self)

    def websocket(self, job, operation, context=None):
        return self._class(
            job.url(operation), proxies={}, compress=job.deflate, ssl_context=context,
            max_message_size=job.limit)

    def rounds(self, job):
        loops = [self.open(job, 'feed')[1] for _ in repeat(None, job.active)]
        spent = []
        for _ in repeat(None, job.count):
            job.ask_for_round()
            started = job.clock()
            for events in loops:
                left = job.each
                for event in events:
                    if event.name == 'text':
                        message = event.text
                        left -= 1
                        if not left:
                            break
            spent.append(job.clock() - started)
        job.check(message)
        return spent

    def crowd(self, job, mark):
        context, happened = job.ssl_context(), threading.Semaphore(0)
        for count in (job.first, job.connections):
            websockets = [self.websocket(job, 'hold', context) for _ in repeat(None, count)]
            for websocket in websockets:
                thread = threading.Thread(target=run, args=(websocket, happened.release))
                thread.daemon = True
                thread.start()
            wait_until(happened, count)
            mark()
            for websocket in websockets:
                websocket.send_ping()
            wait_until(happened, count)
            mark()


class LomondWsaccel(Lomond):
    """This one, with wsaccel."""

    uses_wsaccel = True

    def __init__(self):
        import wsaccel  # noqa: F401  (or this isn't it)
        Lomond.__init__(self)


class LomondZlibNg(Lomond):
    """This one, with zlib-ng."""

    uses_zlib_ng = True

    def __init__(self):
        import zlib_ng  # noqa: F401  (or this isn't it)
        Lomond.__init__(self)


class LomondSendMany(Lomond):
    """This one, where it sends several messages at once; other operations are as before."""

    def burst(self, job):
        websocket, events = self.open(job, 'burst')
        if not hasattr(websocket, 'send_many'):
            raise NotImplementedError
        batch = [job.payload] * job.burst
        bursts = []
        for _ in repeat(None, job.count):
            started = job.clock()
            websocket.send_many(batch)
            bursts.append(job.clock() - started)
            wait_for(events, 'text')
        return bursts


class LomondSendManyWsaccel(LomondSendMany):
    """The same, with wsaccel."""

    uses_wsaccel = True


def sender(websocket, job):
    """Return the method for text or for bytes."""
    return websocket.send_text if job.is_text else websocket.send_binary


def run(websocket, on_event):
    """Run a WebSocket's loop, and report Ready and Pong."""
    for event in websocket:
        if event.name in ('ready', 'pong'):
            on_event()


def wait_until(happened, count):
    """Wait for that many releases of a semaphore."""
    for _ in repeat(None, count):
        happened.acquire()


def wait_for(events, name):
    """Go on until an event of that name."""
    for event in events:
        if event.name == name:
            return
    raise ValueError('the connection ended: {!r}'.format(event))
