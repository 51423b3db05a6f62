"""Watch several feeds in one thread: print each second how many messages came from each.

    python many_feeds.py [--send TEXT] [URL ...]

It shows a pool: one loop over the events of all connections, a Poll of its own every second, and
reconnecting. While one feed is away, the others go on. Without URLs it watches three feeds of
simulated prices, which it serves itself, in other threads. The third one stops once, and comes back
a moment later.

TEXT is sent to each feed whenever it is connected, for example to subscribe. Ctrl-C or SIGTERM ends
the program, after a proper closing handshake with each feed. The exit status is 0 then, and 2 for
wrong arguments.
"""

import argparse
import signal
import sys
from collections import Counter

import six

from lomond import WebSocket
from lomond.examples import cli, feed
from lomond.examples.outage import UnsteadyFeed
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool

SUBSCRIBE = u'{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["ticker"]}'


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--send', metavar='TEXT', default=SUBSCRIBE, help='default: %(default)s')
    parser.add_argument('websockets', metavar='URL', nargs='*', type=cli.argument(WebSocket),
                        help='ws://... or wss://...; default: feeds of this program')
    options = parser.parse_args()
    greeting = six.ensure_text(options.send, sys.stdin.encoding or 'utf-8')
    if options.websockets:
        watch(options.websockets, greeting)
        return
    with feed.start() as steady, UnsteadyFeed() as unsteady:
        urls = [steady.url, steady.url, unsteady.url]
        watch([WebSocket(url, proxies={}) for url in urls], greeting)


def watch(websockets, greeting):
    # type: (list[WebSocket], str) -> None
    """Watch feeds until a signal comes, or until stdout is a closed pipe."""
    pool = Pool()
    policy = ReconnectPolicy(spread=1.0)        # all members may share one
    for number, websocket in enumerate(websockets, 1):
        pool.add(websocket, policy, tag=u'feed {}'.format(number), ping_timeout=60)

    def stop(_signum, _frame):
        # type: (int, object) -> None
        pool.close()        # the loop ends with the last connection

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    counts = Counter()  # type: Counter[str]
    for member, event in pool.polling(1.0):
        if member is None:      # the pool's own Poll
            line = u'   '.join(u'{}: {} messages'.format(websocket.tag, counts[websocket.tag])
                               for websocket in websockets)
            counts.clear()
            if not cli.say(line):
                pool.close()
        elif event.name == 'text' or event.name == 'binary':
            counts[member.tag] += 1
        elif event.name == 'ready':
            if event.connection > 1:
                cli.complain(u'{}: connected again'.format(member.tag))
            # As send_text(), but no error if this connection has just ended.
            pool.broadcast(greeting, [member])
        elif event.name == 'back_off':
            cli.complain(u'{}: {}. Next attempt in {:.1f} s'.format(
                member.tag, event.reason, event.delay))


if __name__ == '__main__':
    sys.exit(cli.run(main))
