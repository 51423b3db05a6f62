"""websocket-client, by its blocking functions (not WebSocketApp, which adds a callback)."""

from __future__ import absolute_import, division, print_function

import websocket

from clients.blocking import BlockingClient


class WebsocketClient(BlockingClient):

    def open(self, job, operation, context=None):
        if job.deflate:
            raise NotImplementedError('no permessage-deflate')
        return websocket.create_connection(
            job.url(operation),
            # Version 0.59, that of Python 2.7, makes its own context, each time.
            sslopt={'context': context, 'ca_certs': job.cafile} if context else None)

    def receiver(self, connection, is_text=True):
        recv = connection.recv
        if is_text and str is bytes:
            return lambda: recv().decode('utf-8')   # on 2.7 it hands out UTF-8
        return recv

    def sender(self, connection, is_text):
        return connection.send if is_text else connection.send_binary
