"""Send lines to an echo server, print its replies, and close.

    python echo_session.py URL LINE [LINE ...]

`echo_server.py`, in the same folder, is a server to try it with. The exit status is 0 if all lines
came back, or if the output is a closed pipe (as with head); 1 if the connection failed; 2 for wrong
arguments; 130 with Ctrl-C.
"""

from __future__ import print_function

import argparse
import sys

import six

from lomond import WebSocket
from lomond.examples import cli


def main():
    # type: () -> int
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('url', help='ws://... or wss://...')
    parser.add_argument('lines', metavar='LINE', nargs='+')
    options = parser.parse_args()
    try:
        websocket = WebSocket(options.url, compress=True)
    except ValueError as error:
        parser.error(str(error))
    try:
        return run(websocket, options.lines)
    except KeyboardInterrupt:
        return 130


def run(websocket, lines):
    # type: (WebSocket, list[str]) -> int
    """Run the session; return the exit status."""
    replies = 0
    is_done = False
    status = 1
    for event in websocket:
        if event.name == 'ready':
            for line in lines:
                # On Python 2 an argument is bytes.
                websocket.send_text(six.ensure_text(line, sys.stdin.encoding or 'utf-8'))
        elif event.name == 'text' and not is_done:
            replies += 1
            is_read = cli.say(event.text)
            is_done = replies == len(lines) or not is_read
            if is_done:
                websocket.close()
        elif event.name == 'connect_fail':
            cli.complain(event.reason)
        elif event.name == 'disconnected':
            if event.graceful and is_done:
                status = 0
            else:
                cli.complain(u'disconnected: ' + event.reason)
    return status


if __name__ == '__main__':
    sys.exit(cli.run(main))
