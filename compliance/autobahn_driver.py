"""lomond's end of `autobahn.py`: it sends back each message that comes.

    python autobahn_driver.py client ws://127.0.0.1:PORT    the cases come on standard input
    python autobahn_driver.py server                        prints its URL, ends with the input

A process of its own, on each Python that is judged. As a client it goes through
the cases in the order of the lines, one connection each. In the place of client:
pool, aio (on asyncio); in that of server: one-thread-server.
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import sys
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lomond import WebSocket, errors
from lomond.pool import Pool
from lomond.server import Server


def log(event):
    """Print an event that says how a connection ended."""
    if event.name in ('connect_fail', 'rejected', 'protocol_error', 'disconnected'):
        print(event, file=sys.stderr)


def answer(websocket, event):
    """Send back a message, whatever becomes of the connection."""
    try:
        if event.name == 'text':
            websocket.send_text(event.text)
        elif event.name == 'binary':
            websocket.send_binary(event.data)
    except errors.WebSocketError as error:
        print('could not send: {!r}'.format(error), file=sys.stderr)
    log(event)


def read_cases(url):
    """Yield a WebSocket for each case that comes on standard input."""
    for case in iter(sys.stdin.readline, ''):
        print(case.strip(), file=sys.stderr)
        sys.stderr.flush()
        yield WebSocket(
            '{}/runCase?agent=lomond&casetuple={}'.format(url, case.strip()), proxies={},
            compress=True, connect_timeout=30)


# None sends pings of its own: the suite goes by what it gets.

def run_client(url):
    for websocket in read_cases(url):
        for event in websocket.connect(ping_rate=0):
            answer(websocket, event)


def run_pool(url):
    pool = Pool(max_queue=None)
    for websocket in read_cases(url):
        pool.add(websocket, ping_rate=0)
        for member, event in pool:
            answer(member, event)


def run_aio(url):
    from autobahn_aio import run  # 2.7 has no such syntax
    run(read_cases(url), log)


def announce(server):
    print(server.url)
    sys.stdout.flush()


def run_server():
    def echo(websocket):
        for event in websocket:
            answer(websocket, event)

    with Server(echo, compress=True, ping_rate=0) as server:
        announce(server)
        sys.stdin.read()


def run_one_thread_server():
    def wait_for_the_end():
        sys.stdin.read()
        server.close()

    with Server(threads=False, max_queue=None, compress=True, ping_rate=0) as server:
        announce(server)
        threading.Thread(target=wait_for_the_end).start()
        for websocket, event in server:
            answer(websocket, event)


def main():
    logging.basicConfig(level=logging.WARNING)
    {
        'client': run_client, 'pool': run_pool, 'aio': run_aio,
        'server': run_server, 'one-thread-server': run_one_thread_server,
    }[sys.argv[1]](*sys.argv[2:])


if __name__ == '__main__':
    main()
