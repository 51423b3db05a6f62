"""What each client without an event loop does alike: it opens connections, and may close them."""

from __future__ import absolute_import, division, print_function

from itertools import repeat


class Opening(object):
    """Base: a subclass says how to open one, and how to close it."""

    def open(self, job, operation, context=None):
        """Return an open connection, over TLS with a context."""
        raise NotImplementedError

    def close(self, connection):
        """Close what `open` returned."""
        connection.close()

    def connect(self, job):
        context = job.ssl_context()
        spent = []
        for _ in repeat(None, job.count):
            started = job.clock()
            connection = self.open(job, 'connect', context)
            spent.append(job.clock() - started)
            self.close(connection)
        return spent

    def hold(self, job, opened):
        connections = []
        for _ in repeat(None, job.count):
            connections.append(self.open(job, 'hold'))
            opened()
        return connections
