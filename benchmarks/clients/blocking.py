"""Clients with a blocking `recv()`: their operations are the same but for a few names."""

from __future__ import absolute_import, division, print_function

from itertools import repeat

from clients.opening import Opening


class BlockingClient(Opening):
    """Base: a subclass says how to open, to receive, to send and to close."""

    def receiver(self, connection, is_text=True):
        """Return the function that returns the next message, as text or bytes."""
        raise NotImplementedError

    def sender(self, connection, is_text):
        """Return the function that sends a message."""
        raise NotImplementedError

    def receive(self, job):
        recv = self.receiver(self.open(job, 'receive'), job.is_text)
        recv()
        started = job.clock()
        for _ in repeat(None, job.count):
            message = recv()
        elapsed = job.clock() - started
        job.check(message)
        return elapsed

    def send(self, job):
        connection = self.open(job, 'send')
        send, recv, payload = self.sender(connection, job.is_text), self.receiver(connection), \
            job.payload
        started = job.clock()
        for _ in repeat(None, job.count):
            send(payload)
        recv()
        return job.clock() - started

    def burst(self, job):
        connection = self.open(job, 'burst')
        send, recv, payload = self.sender(connection, job.is_text), self.receiver(connection), \
            job.payload
        bursts = []
        for _ in repeat(None, job.count):
            started = job.clock()
            for _ in repeat(None, job.burst):
                send(payload)
            bursts.append(job.clock() - started)
            recv()
        return bursts

    def echo(self, job):
        connection = self.open(job, 'echo')
        send, recv, payload = self.sender(connection, job.is_text), self.receiver(connection), \
            job.payload
        trips = []
        for _ in repeat(None, job.count):
            started = job.clock()
            send(payload)
            message = recv()
            trips.append(job.clock() - started)
        job.check(message)
        return trips
