"""A daemon that keeps a connection up, and logs what comes over it.

    python daemon.py URL

It reconnects after every outage, and ends, after a proper closing handshake,
with SIGTERM or Ctrl-C. The exit status is 0 then, and 2 for wrong arguments.
"""

import argparse
import logging
import signal
import sys

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.examples import cli
from lomond.persist import persist

log = logging.getLogger('daemon')


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('url', help='ws://... or wss://...')
    options = parser.parse_args()
    try:
        websocket = WebSocket(options.url)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')

    def stop(_signum, _frame):
        # It ends a connection, an attempt to connect, or the wait for the next attempt. Nothing
        # else is done here: the signal may have interrupted anything, a line of the log too.
        websocket.close()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    for event in persist(websocket, ping_timeout=60):
        try:
            on_event(websocket, event)
        except WebSocketError as error:
            log.warning('could not send: %s', error)    # the loop will tell more
        except Exception:
            log.exception('error handling %r', event)   # a bug of ours: go on
    log.info('the end')


def on_event(websocket, event):
    """Handle one event. Here is the place for what your daemon does."""
    if event.name == 'ready':
        log.info('connected')
        websocket.send_text(u'hello')
    elif event.name == 'text':
        log.info('received %r', event.text)
    elif event.name in ('connect_fail', 'rejected', 'disconnected'):
        log.warning('%s: %s', event.name, event.reason)
    elif event.name == 'back_off':
        log.info('next attempt in %.1f seconds', event.delay)


if __name__ == '__main__':
    sys.exit(cli.run(main))
