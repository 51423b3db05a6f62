"""lomond's end of `autobahn.py`: it sends back each message that comes.

    python autobahn_driver.py client ws://127.0.0.1:PORT    the cases come on standard input
    python autobahn_driver.py server                        prints its URL, ends with the input

A process of its own, on each Python that is judged. As a client it goes through
the cases in the order of the lines, one connection each.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lomond import WebSocket, errors
from lomond.server import Server


def echo(events, websocket):
    """Send back each message, whatever becomes of the connection."""
    for event in events:
        try:
            if event.name == 'text':
                websocket.send_text(event.text)
            elif event.name == 'binary':
                websocket.send_binary(event.data)
        except errors.WebSocketError as error:
            print('could not send: {!r}'.format(error), file=sys.stderr)
        if event.name in ('connect_fail', 'rejected', 'protocol_error', 'disconnected'):
            print(event, file=sys.stderr)


def run_client(url):
    # No pings of its own: the suite goes by what it gets.
    for case in iter(sys.stdin.readline, ''):
        print(case.strip(), file=sys.stderr)
        sys.stderr.flush()
        websocket = WebSocket(
            '{}/runCase?agent=lomond&casetuple={}'.format(url, case.strip()), proxies={},
            compress=True, connect_timeout=30)
        echo(websocket.connect(ping_rate=0), websocket)


def run_server():
    with Server(lambda websocket: echo(websocket, websocket), compress=True, ping_rate=0) as server:
        print(server.url)
        sys.stdout.flush()
        sys.stdin.read()


def main():
    logging.basicConfig(level=logging.WARNING)
    if sys.argv[1] == 'client':
        run_client(sys.argv[2])
    else:
        run_server()


if __name__ == '__main__':
    main()
