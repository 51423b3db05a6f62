"""A daemon that stays connected to a server, and logs the messages that it receives.

    python daemon.py URL

It reconnects after every outage. SIGTERM or Ctrl-C ends it, after a proper closing handshake. The
exit status is 0 then, and 2 for wrong arguments. daemon.service has systemd run it.
"""

import argparse
import logging
import signal
import sys

from lomond import WebSocket
from lomond.errors import WebSocketError
from lomond.events import AnyEvent  # noqa: F401
from lomond.examples import cli
from lomond.persist import persist

log = logging.getLogger('daemon')


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('url', help='ws://... or wss://...')
    options = parser.parse_args()
    try:
        websocket = WebSocket(options.url)
    except ValueError as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format='%(asctime)s %(levelname)s %(message)s')

    def stop(_signum, _frame):
        # type: (int, object) -> None
        # close() ends a connection, an attempt to connect, or the wait for the next attempt. The
        # handler does nothing else, as it may have interrupted anything, such as a logging call.
        websocket.close()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    for event in persist(websocket, ping_timeout=60):
        try:
            on_event(websocket, event)
        except WebSocketError as error:
            log.warning('could not send: %s', error)    # the next events say why
        except Exception:
            log.exception('error handling %r', event)   # a bug in this program: go on
    log.info('the end')


def on_event(websocket, event):
    # type: (WebSocket, AnyEvent) -> None
    """Handle one event. Put the work of your daemon here."""
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
