"""A server that echoes every message, for trying out clients.

    python echo_server.py [--port PORT]

It accepts clients on this machine only, and prints its URL. Ctrl-C ends it. The exit status is 0
then, 1 if it can't listen, and 2 for wrong arguments.
"""

from __future__ import print_function

import argparse
import socket
import sys

from lomond.examples import cli
from lomond.server import Server, ServerWebSocket  # noqa: F401


def echo(websocket):
    # type: (ServerWebSocket) -> None
    """Serve one client, in its own thread; when this returns, the server closes the connection."""
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=cli.port, default=0, help='default: any free port')
    options = parser.parse_args()

    try:
        server = Server(echo, port=options.port, compress=True)
    except socket.error as error:
        cli.complain(str(error.strerror))
        return 1
    try:
        cli.say(server.url)
        server.serve_forever()
    finally:
        server.close()
    return 0


if __name__ == '__main__':
    sys.exit(cli.run(main))
