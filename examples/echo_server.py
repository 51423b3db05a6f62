"""A server that sends back what it gets, to try clients on.

    python echo_server.py [--port PORT]

It listens on this machine only, and ends with Ctrl-C.
"""

from __future__ import print_function

import argparse
import sys

from lomond.server import Server


def echo(websocket):
    """Serve one client, in a thread of its own; when this returns, the connection is closed."""
    for event in websocket:
        if event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=int, default=0, help='default: a free one')
    options = parser.parse_args()

    server = Server(echo, port=options.port, compress=True)
    print(server.url)
    sys.stdout.flush()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.close()


if __name__ == '__main__':
    main()
