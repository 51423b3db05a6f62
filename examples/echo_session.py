"""Send lines to an echo server, print what comes back, and close.

    python echo_session.py URL LINE [LINE ...]

`echo_server.py`, beside this, makes a server to try it on.
"""

from __future__ import print_function

import argparse
import sys

from lomond import WebSocket


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('url', help='ws://... or wss://...')
    parser.add_argument('lines', metavar='LINE', nargs='+')
    options = parser.parse_args()
    return run(WebSocket(options.url, compress=True), options.lines)


def run(websocket, lines):
    """Hold the session; return the exit status."""
    replies = 0
    for event in websocket:
        if event.name == 'ready':
            for line in lines:
                websocket.send_text(to_text(line))
        elif event.name == 'text':
            print(event.text)
            replies += 1
            if replies == len(lines):
                websocket.close()
        elif event.name == 'connect_fail':
            print(event.reason, file=sys.stderr)
            return 1
        elif event.name == 'disconnected':
            if event.graceful and replies == len(lines):
                return 0
            print('disconnected: {}'.format(event.reason), file=sys.stderr)
            return 1


def to_text(argument):
    """Return a command line argument as text: on Python 2 it is bytes."""
    if isinstance(argument, bytes):
        return argument.decode(sys.stdin.encoding or 'utf-8')
    return argument


if __name__ == '__main__':
    sys.exit(main())
