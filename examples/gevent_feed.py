"""Watch several feeds with gevent: print what comes, and each second how many messages came.

    pip install lomond gevent
    python gevent_feed.py [--send TEXT] [URL ...]

It shows that lomond needs nothing of its own for gevent: with the standard library patched, each
loop over a WebSocket runs in a greenlet. Without URLs it watches two feeds of simulated prices,
which it serves itself, in greenlets, too.

TEXT is sent to each feed whenever it is connected, for example to subscribe. Ctrl-C or SIGTERM ends
the program, after a proper closing handshake with each feed. The exit status is 0 then, and 2 for
wrong arguments.
"""

from gevent import monkey

monkey.patch_all()      # before other imports: they would keep what isn't patched

import argparse  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections import Counter  # noqa: E402

import gevent  # noqa: E402
import six  # noqa: E402

from lomond import WebSocket  # noqa: E402
from lomond.errors import WebSocketError  # noqa: E402
from lomond.examples import cli, feed  # noqa: E402
from lomond.persist import ReconnectPolicy, persist  # noqa: E402

SUBSCRIBE = u'{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["ticker"]}'


def watch(name, websocket, greeting, counts):
    # type: (str, WebSocket, str, Counter[str]) -> None
    """Watch one feed until its WebSocket is closed; runs in a greenlet."""
    for event in persist(websocket, ping_timeout=60, policy=ReconnectPolicy(spread=1.0)):
        if event.name == 'ready':
            try:
                websocket.send_text(greeting)
            except WebSocketError:
                pass        # the connection has just ended: the next events say why
        elif event.name == 'text':
            counts[name] += 1
            if not cli.say(u'{}: {}'.format(name, event.text)):
                websocket.close()
        elif event.name == 'back_off':
            cli.complain(u'{}: {}. Next attempt in {:.1f} s'.format(
                name, event.reason, event.delay))


def report(counts):
    # type: (Counter[str]) -> None
    """Print the counts each second, in another greenlet."""
    while True:
        gevent.sleep(1)
        cli.complain(u'   '.join(
            u'{}: {} messages'.format(name, count) for name, count in sorted(counts.items())))


def watch_all(websockets, greeting):
    # type: (list[WebSocket], str) -> None
    """Watch feeds until a signal comes, or until stdout is a closed pipe."""
    def stop():
        # type: () -> None
        for websocket in websockets:
            websocket.close()

    for number in signal.SIGTERM, signal.SIGINT:
        gevent.signal_handler(number, stop)
    counts = Counter()  # type: Counter[str]
    reporter = gevent.spawn(report, counts)
    gevent.joinall([
        gevent.spawn(watch, u'feed {}'.format(number), websocket, greeting, counts)
        for number, websocket in enumerate(websockets, 1)], raise_error=True)
    reporter.kill()


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--send', metavar='TEXT', default=SUBSCRIBE, help='default: %(default)s')
    parser.add_argument('websockets', metavar='URL', nargs='*', type=cli.argument(WebSocket),
                        help='ws://... or wss://...; default: feeds of this program')
    options = parser.parse_args()
    greeting = six.ensure_text(options.send, sys.stdin.encoding or 'utf-8')
    if options.websockets:
        watch_all(options.websockets, greeting)
        return
    with feed.start() as server:
        watch_all([WebSocket(server.url, proxies={}) for _ in range(2)], greeting)


if __name__ == '__main__':
    sys.exit(cli.run(main))
