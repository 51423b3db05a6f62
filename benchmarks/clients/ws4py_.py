"""ws4py: its client's loop runs in this thread, and calls a method for each message."""

from __future__ import absolute_import, division, print_function

from ws4py.client import WebSocketBaseClient

from clients.blocking import BlockingClient

try:
    from ssl import PROTOCOL_TLS_CLIENT
except ImportError:
    PROTOCOL_TLS_CLIENT = None


class Connection(WebSocketBaseClient):
    """Leaves the loop `run` when it has all that is wanted."""

    message = None

    def receive_text(self, message):
        self.message = message.data.decode('utf-8')

    def receive_binary(self, message):
        self.message = message.data


class Receiving(Connection):

    def prepare(self, job):
        self._job, self._left, self._started = job, job.count + 1, None
        self._take = self.receive_text if job.is_text else self.receive_binary
        self.elapsed = None

    def received_message(self, message):
        self._take(message)
        self._left -= 1
        if not self._left:
            self.elapsed = self._job.clock() - self._started
        elif self._started is None:
            self._started = self._job.clock()


class Ws4py(BlockingClient):

    def open(self, job, operation, context=None, kind=Connection):
        if job.deflate:
            raise NotImplementedError('no permessage-deflate')
        ssl_options = {}
        if context is not None:
            if PROTOCOL_TLS_CLIENT is None:
                raise NotImplementedError('does not verify here')
            # It makes its own context, each time.
            ssl_options = {'ca_certs': job.cafile, 'cert_reqs': True}
        connection = kind(job.url(operation), ssl_options=ssl_options)
        if kind is Receiving:
            connection.prepare(job)
        connection.connect()
        return connection

    def receiver(self, connection, is_text=True):
        # A message may be awaited by driving the loop's one step.
        connection.received_message = connection.receive_text

        def recv():
            connection.message = None
            while connection.message is None:
                if not connection.once():
                    raise ValueError('the connection ended')
            return connection.message
        return recv

    def sender(self, connection, is_text):
        if is_text:
            return connection.send
        send = connection.send
        return lambda payload: send(payload, binary=True)

    def receive(self, job):
        connection = self.open(job, 'receive', kind=Receiving)
        once = connection.once      # `run` is a loop around it
        while connection.elapsed is None:
            if not once():
                raise ValueError('the connection ended')
        job.check(connection.message)
        return connection.elapsed
