"""Take part in the chat of cherrypy_chat.py: a line typed is said, what others say is printed.

    python chat_client.py [--name NAME] [URL]

The main thread receives and prints; another one reads stdin, and sends. The end of stdin (Ctrl-D)
closes the connection properly.
"""

from __future__ import absolute_import, division, print_function

import argparse
import json
import sys
import threading

import six

from lomond import WebSocket, errors


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--name', default='terminal', help='default: %(default)s')
    parser.add_argument('url', metavar='URL', nargs='?', default='ws://127.0.0.1:8080/chat',
                        help='default: %(default)s')
    options = parser.parse_args()
    websocket = WebSocket(options.url, proxies={})
    name = six.ensure_text(options.name)
    for event in websocket:
        if event.name == 'ready':
            typing = threading.Thread(target=send_lines, args=(websocket, name))
            typing.daemon = True
            typing.start()
        elif event.name == 'text':
            try:
                said = json.loads(event.text)
                print(u'{}: {}'.format(said['name'], said['text']))
            except (ValueError, LookupError, TypeError):    # another program's
                print(event.text)
            sys.stdout.flush()
        elif event.name in ('connect_fail', 'rejected', 'disconnected'):
            print(event.reason, file=sys.stderr)


def send_lines(websocket, name):
    # type: (WebSocket, str) -> None
    try:
        for line in iter(sys.stdin.readline, ''):
            websocket.send_json(name=name, text=six.ensure_text(line).rstrip(u'\n'))
    except errors.WebSocketError as error:      # it has ended, as the loop says
        print(error, file=sys.stderr)
    websocket.close()


if __name__ == '__main__':
    main()
