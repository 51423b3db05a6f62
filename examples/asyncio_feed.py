"""Watch several feeds in asyncio: print what comes, and each second how many messages came.

    python asyncio_feed.py [--send TEXT] [URL ...]

It shows `lomond.aio`: a task for each feed, which reconnects, and a task of yours beside them. It
needs Python 3.7. Without URLs it watches two feeds of simulated prices, which it serves itself.

TEXT is sent to each feed whenever it is connected, for example to subscribe. Ctrl-C or SIGTERM ends
the program, after a proper closing handshake with each feed. The exit status is 0 then, and 2 for
wrong arguments.
"""

import argparse
import asyncio
import signal
import sys
from collections import Counter

from lomond import WebSocket, aio
from lomond.errors import WebSocketError
from lomond.examples import cli, feed
from lomond.persist import ReconnectPolicy

SUBSCRIBE = '{"type": "subscribe", "product_ids": ["BTC-USD"], "channels": ["ticker"]}'


async def watch(name, websocket, greeting, counts):
    # type: (str, WebSocket, str, Counter[str]) -> None
    """Watch one feed until its WebSocket is closed."""
    policy = ReconnectPolicy(spread=1.0)
    async with aio.connect(websocket, policy=policy, ping_timeout=60) as connection:
        async for event in connection:
            if event.name == 'ready':
                try:
                    await connection.send_text(greeting)
                except WebSocketError:
                    pass        # the connection has just ended: the next events say why
            elif event.name == 'text':
                counts[name] += 1
                if not cli.say('{}: {}'.format(name, event.text)):
                    websocket.close()
            elif event.name == 'back_off':
                cli.complain('{}: {}. Next attempt in {:.1f} s'.format(
                    name, event.reason, event.delay))


async def report(counts):
    # type: (Counter[str]) -> None
    """Print the counts each second: the loop goes on meanwhile, as nothing here blocks it."""
    while True:
        await asyncio.sleep(1)
        cli.complain('   '.join(
            '{}: {} messages'.format(name, count) for name, count in sorted(counts.items())))


async def watch_all(websockets, greeting):
    # type: (list[WebSocket], str) -> None
    """Watch feeds until a signal comes, or until stdout is a closed pipe."""
    def stop():
        # type: () -> None
        for websocket in websockets:
            websocket.close()       # any task, thread or signal handler may call it

    for number in signal.SIGTERM, signal.SIGINT:
        asyncio.get_running_loop().add_signal_handler(number, stop)
    counts = Counter()  # type: Counter[str]
    reporter = asyncio.ensure_future(report(counts))
    await asyncio.gather(*(
        watch('feed {}'.format(number), websocket, greeting, counts)
        for number, websocket in enumerate(websockets, 1)))
    reporter.cancel()


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--send', metavar='TEXT', default=SUBSCRIBE, help='default: %(default)s')
    parser.add_argument('websockets', metavar='URL', nargs='*', type=cli.argument(WebSocket),
                        help='ws://... or wss://...; default: feeds of this program')
    options = parser.parse_args()
    if options.websockets:
        asyncio.run(watch_all(options.websockets, options.send))
        return
    with feed.start() as server:
        websockets = [WebSocket(server.url, proxies={}) for _ in range(2)]
        asyncio.run(watch_all(websockets, options.send))


if __name__ == '__main__':
    sys.exit(cli.run(main))
