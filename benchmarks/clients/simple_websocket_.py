"""wsproto, which does no I/O, through simple-websocket, which does it in a thread."""

import socket

import simple_websocket

from clients.blocking import BlockingClient


class SimpleWebsocket(BlockingClient):

    def open(self, job, operation, context=None):
        if job.deflate:
            raise NotImplementedError('its client has no permessage-deflate')
        return simple_websocket.Client.connect(job.url(operation), ssl_context=context)

    def close(self, connection):
        # Its own `close` closes the socket under the thread that reads from it, whose descriptor
        # may by then be the next connection's.
        connection.sock.shutdown(socket.SHUT_RDWR)
        connection.thread.join()

    def receiver(self, connection, is_text=True):
        return connection.receive

    def sender(self, connection, is_text):
        return connection.send
