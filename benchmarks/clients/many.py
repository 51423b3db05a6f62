"""lomond with many connections in one thread: a Pool, and a Server."""

from __future__ import absolute_import, division, print_function

from itertools import repeat

from clients.lomond_ import Lomond, sender


class LomondPool(Lomond):
    """A `Pool`."""

    def __init__(self):
        Lomond.__init__(self)
        from lomond.pool import Pool
        self._new_pool = Pool

    def crowd(self, job, mark):
        pool, context = self._new_pool(), job.ssl_context()
        loop = iter(pool)
        for count in (job.first, job.connections):
            websockets = [
                pool.add(self.websocket(job, 'hold', context)) for _ in repeat(None, count)]
            wait_for(loop, 'ready', count)
            mark()
            for websocket in websockets:
                websocket.send_ping()
            wait_for(loop, 'pong', count)
            mark()

    def rounds(self, job):
        pool = self._new_pool()
        for number in range(job.connections):
            pool.add(self.websocket(job, 'hold' if number % 10 else 'feed'))
        loop = iter(pool)
        wait_for(loop, 'ready', job.connections)
        count = job.active * job.each
        spent = []
        for _ in repeat(None, job.count):
            job.ask_for_round()
            left = count
            started = job.clock()
            for _websocket, event in loop:
                if event.name == 'text':
                    message = event.text
                    left -= 1
                    if not left:
                        break
            spent.append(job.clock() - started)
        job.check(message)
        return spent

    def echo(self, job):
        pool = self._new_pool()
        if job.has_flood:
            pool.add(self.websocket(job, 'flood'))
        websocket = pool.add(self.websocket(job, 'echo'))
        loop = iter(pool)
        wait_for(loop, 'ready', len(pool))
        send, payload = sender(websocket, job), job.payload
        trips = []
        started = job.clock()
        send(payload)
        for other, event in loop:
            if other is websocket and event.name == 'text':
                message = event.text
                trips.append(job.clock() - started)
                if len(trips) == job.count:
                    break
                started = job.clock()
                send(payload)
        loop.close()
        job.check(message)
        return trips

    def broadcast(self, job):
        pool = self._new_pool()
        for _ in repeat(None, job.connections):
            pool.add(self.websocket(job, 'hold'))
        return broadcast(pool, job)


class LomondServer(Lomond):
    """A `Server` with one thread."""

    def broadcast(self, job):
        from lomond.server import Server
        server = Server(threads=False, max_connections=job.connections)
        job.ask_to_dial(server.port)
        return broadcast(server, job)


def broadcast(crowd, job):
    """Return the seconds of each of several broadcasts of a pool or a server."""
    loop = iter(crowd)      # without it all would be closed
    wait_for(loop, 'ready', job.connections)
    payload = job.payload
    spent = []
    for _ in repeat(None, job.count):
        started = job.clock()
        count = crowd.broadcast(payload)
        spent.append(job.clock() - started)
        if count != job.connections:
            raise ValueError('sent to {}'.format(count))
    loop.close()
    return spent


def wait_for(loop, name, count):
    """Go on until there were this many events of that name."""
    for _websocket, event in loop:
        count -= event.name == name
        if not count:
            return
    raise ValueError('the connections ended: {!r}'.format(event))
