"""websockets, its threaded client."""

from websockets.sync.client import connect

from clients.blocking import BlockingClient


class WebsocketsSync(BlockingClient):

    def open(self, job, operation, context=None):
        return connect(
            job.url(operation), compression='deflate' if job.deflate else None,
            max_size=job.limit, **({'ssl': context} if context else {}))

    def receiver(self, connection, is_text=True):
        return connection.recv

    def sender(self, connection, is_text):
        return connection.send
