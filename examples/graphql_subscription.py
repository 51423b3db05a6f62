"""Print what a GraphQL subscription sends, over the protocol graphql-transport-ws.

    python graphql_subscription.py ws://127.0.0.1:4000/graphql 'subscription { countdown(from: 3) }'

It shows a subprotocol, a handshake inside the messages (`connection_init`, for example with a
token), and codes of a Close frame after which another attempt would fail, too. After any other
outage it subscribes again. The exit status is 0 when the subscription is complete and after Ctrl-C
or SIGTERM, 1 if the server refuses it, and 2 for wrong arguments.
"""

from __future__ import absolute_import, division, print_function

import argparse
import json
import signal
import sys

import six

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.examples import cli
from lomond.persist import ReconnectPolicy, persist

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict  # noqa: F401

# 4400 invalid message, 4401 unauthorized, 4403 forbidden, 4406 another subprotocol ...
PERMANENT = range(4400, 4500)


class Subscription(object):
    """Runs one subscription.

    Parameters: ``query``, and ``init``, the payload of `connection_init`.
    """

    def __init__(self, websocket, query, init):
        # type: (WebSocket, str, Dict[str, Any]) -> None
        self._websocket = websocket
        self._query = query
        self._init = init
        self._status = 0

    def run(self):
        # type: () -> int
        """Return the exit status."""
        policy = ReconnectPolicy(
            spread=1.0, stop_on_code=[PERMANENT], stop_on_status=[range(400, 500)])
        for event in persist(self._websocket, policy=policy, ping_timeout=60):
            try:
                self._on_event(event)
            except WebSocketError:
                pass        # the connection has just ended: the next events say why
        return self._status

    def _on_event(self, event):
        # type: (Any) -> None
        if event.name == 'ready':
            self._websocket.send_json(type='connection_init', payload=self._init)
        elif event.name == 'text':
            self._on_message(event.json)
        elif event.name == 'back_off':
            cli.complain(u'{}. Next attempt in {:.1f} s'.format(event.reason, event.delay))
        elif event.name == 'gave_up':
            self._fail(event.reason)

    def _on_message(self, message):
        # type: (Dict[str, Any]) -> None
        kind = message['type']
        if kind == 'connection_ack':
            # With other ids several subscriptions share a connection.
            self._websocket.send_json(
                type='subscribe', id='1', payload={'query': self._query})
        elif kind == 'ping':
            self._websocket.send_json(type='pong')
        elif kind == 'next':
            if not cli.say(six.ensure_text(json.dumps(message['payload'], sort_keys=True))):
                self._websocket.close()
        elif kind == 'error':       # the query is wrong: it won't get better
            self._fail(u'; '.join(error['message'] for error in message['payload']))
            self._websocket.close()
        elif kind == 'complete':
            self._websocket.close()

    def _fail(self, reason):
        # type: (str) -> None
        self._status = 1
        cli.complain(reason)


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--init', metavar='JSON', type=cli.argument(json.loads), default={},
                        help='the payload of connection_init, such as \'{"token": "secret"}\'')
    parser.add_argument('url', metavar='URL', help='ws://... or wss://...')
    parser.add_argument('query', metavar='QUERY', help="such as 'subscription { news }'")
    options = parser.parse_args()
    try:
        websocket = WebSocket(options.url, protocols=['graphql-transport-ws'])
    except ValueError as error:
        parser.error(str(error))
    for number in signal.SIGTERM, signal.SIGINT:
        signal.signal(number, lambda *_: websocket.close())
    return Subscription(websocket, six.ensure_text(options.query), options.init).run()


if __name__ == '__main__':
    sys.exit(cli.run(main))
