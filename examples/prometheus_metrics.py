"""Watch several feeds, and serve their numbers to Prometheus.

    python prometheus_metrics.py URL ...

It shows a collector, which reads `websocket.stats` of each member of a pool whenever Prometheus
asks, and a histogram of how long each phase of connecting took. Both need no code where messages
are handled. It prints the address to scrape, on this machine only, and reconnects for as long as it
runs. Ctrl-C or SIGTERM ends it. The exit status is 0 then, and 2 for wrong arguments.
"""

from __future__ import absolute_import, division, print_function

import argparse
import signal
import sys
import threading
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, Histogram, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from lomond import WebSocket
from lomond.examples import cli
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterable, List, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.stats import Stats, Traffic  # noqa: F401

# Counters of a WebSocket: a name, what it counts, and how to read it.
COUNTERS = [
    ('websocket_connect_attempts', 'Attempts to connect', lambda stats: stats.attempts),
    ('websocket_connections', 'Attempts that led to Ready', lambda stats: stats.connections),
    ('websocket_connected_seconds', 'From Ready to the end', lambda stats: stats.time_connected),
    ('websocket_pings_sent', 'Pings sent', lambda stats: stats.pings_sent),
    ('websocket_pongs_received', 'Pongs received', lambda stats: stats.pongs_received),
    ('websocket_dropped_messages', 'Messages dropped by the queue', lambda stats: stats.dropped),
]  # type: List[Tuple[str, str, Callable[[Stats], float]]]

# Counters of one direction.
TRAFFIC = [
    ('websocket_messages', 'Text and binary messages', lambda traffic: traffic.messages),
    ('websocket_payload_bytes', 'Size of the messages', lambda traffic: traffic.payload_bytes),
    ('websocket_wire_bytes', 'Size of all frames', lambda traffic: traffic.wire_bytes),
]  # type: List[Tuple[str, str, Callable[[Traffic], int]]]


class Collector(object):
    """Makes metrics of what WebSockets count, in the thread that answers Prometheus.

    Parameters: ``websockets``, called for the WebSockets that there are now. The label ``feed`` is
    the WebSocket's tag: a URL may have a password in it.
    """

    def __init__(self, websockets):
        # type: (Callable[[], List[WebSocket]]) -> None
        self._websockets = websockets

    def collect(self):
        # type: () -> Iterable[GaugeMetricFamily]
        """Yield the metrics; Prometheus's registry calls this for each scrape."""
        websockets = self._websockets()
        for name, words, read in COUNTERS:
            metric = CounterMetricFamily(name, words, labels=['feed'])
            for websocket in websockets:
                metric.add_metric([websocket.tag], read(websocket.stats))
            yield metric
        for name, words, read_one in TRAFFIC:
            metric = CounterMetricFamily(name, words, labels=['feed', 'direction'])
            for websocket in websockets:
                metric.add_metric([websocket.tag, 'received'], read_one(websocket.stats.received))
                metric.add_metric([websocket.tag, 'sent'], read_one(websocket.stats.sent))
            yield metric
        is_open = GaugeMetricFamily('websocket_open', '1 if it is connected', labels=['feed'])
        latest = GaugeMetricFamily(
            'websocket_round_trip_seconds', 'The latest ping to its pong', labels=['feed'])
        for websocket in websockets:
            is_open.add_metric([websocket.tag], int(websocket.is_open))
            if websocket.stats.round_trips.last is not None:
                latest.add_metric([websocket.tag], websocket.stats.round_trips.last)
        yield is_open
        yield latest


def make_phases(registry):
    # type: (CollectorRegistry) -> Histogram
    """Return a histogram of the phases of connecting, for `observe_phases`."""
    return Histogram('websocket_connect_phase_seconds', 'How long each phase of connecting took',
                     ['feed', 'phase', 'outcome'], registry=registry)


def observe_phases(phases, websocket, event):
    # type: (Histogram, WebSocket, AnyEvent) -> None
    """Count the phases of an attempt to connect, if the event is the end of one."""
    timings = getattr(event, 'timings', None)
    if timings is None:
        return
    for phase, seconds in timings._asdict().items():
        if seconds is not None:
            phases.labels(websocket.tag, phase, event.name).observe(seconds)


class QuietHandler(WSGIRequestHandler):
    """Answers scrapes, and prints no line for each."""

    def log_message(self, *_args):
        # type: (*object) -> None
        pass


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--port', type=cli.port, default=0, help='default: any free port')
    parser.add_argument('websockets', metavar='URL', nargs='+', type=cli.argument(WebSocket))
    options = parser.parse_args()

    pool = Pool()
    registry = CollectorRegistry()
    registry.register(Collector(lambda: pool.websockets))
    phases = make_phases(registry)
    for number, websocket in enumerate(options.websockets, 1):
        tag = u'{} {}'.format(number, websocket.host)     # two feeds may have the same host
        pool.add(websocket, ReconnectPolicy(), tag=tag, ping_timeout=60)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda _signum, _frame: pool.close())

    server = make_server(
        '127.0.0.1', options.port, make_wsgi_app(registry), handler_class=QuietHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.daemon = True
    thread.start()
    try:
        cli.say(u'http://127.0.0.1:{}/metrics'.format(server.server_port))
        for websocket, event in pool:
            observe_phases(phases, websocket, event)
    finally:
        server.shutdown()
        server.server_close()


if __name__ == '__main__':
    sys.exit(cli.run(main))
