"""Watch several feeds, and report their numbers and their attempts to connect to OpenTelemetry.

    python opentelemetry_metrics.py URL ...

It shows observable instruments, which read `websocket.stats` of each member of a pool whenever the
SDK collects, and a span for each attempt to connect, with the time of each phase. It exports to
stdout, every five seconds and at the end: in `main`, put your exporters in place of these. It
reconnects for as long as it runs. Ctrl-C or SIGTERM ends it. The exit status is 0 then, and 2 for
wrong arguments.
"""

from __future__ import absolute_import, division, print_function

import argparse
import signal
import sys

from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from opentelemetry.trace import Status, StatusCode

from lomond import WebSocket
from lomond.examples import cli
from lomond.persist import ReconnectPolicy
from lomond.pool import Pool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Tuple  # noqa: F401

    from lomond.events import AnyEvent  # noqa: F401
    from lomond.stats import Stats, Traffic  # noqa: F401

# Counters of a WebSocket: a name, a unit, and how to read it.
COUNTERS = [
    ('websocket.connect.attempts', '{attempt}', lambda stats: stats.attempts),
    ('websocket.connections', '{connection}', lambda stats: stats.connections),
    ('websocket.connected.time', 's', lambda stats: stats.time_connected),
    ('websocket.dropped', '{message}', lambda stats: stats.dropped),
]  # type: List[Tuple[str, str, Callable[[Stats], float]]]

# Counters of one direction.
TRAFFIC = [
    ('websocket.messages', '{message}', lambda traffic: traffic.messages),
    ('websocket.payload', 'By', lambda traffic: traffic.payload_bytes),
    ('websocket.wire', 'By', lambda traffic: traffic.wire_bytes),
]  # type: List[Tuple[str, str, Callable[[Traffic], int]]]


def make_instruments(meter, websockets):
    # type: (Any, Callable[[], List[WebSocket]]) -> None
    """Have the SDK read the numbers of ``websockets()`` whenever it collects, in its thread."""
    def observe_counter(read):
        # type: (Callable[[Any], float]) -> Callable[[Any], List[Observation]]
        return lambda _options: [
            Observation(read(websocket.stats), describe(websocket)) for websocket in websockets()]

    def observe_traffic(read):
        # type: (Callable[[Any], float]) -> Callable[[Any], List[Observation]]
        return lambda _options: [
            Observation(read(traffic), dict(describe(websocket), direction=direction))
            for websocket in websockets()
            for direction, traffic in (
                ('received', websocket.stats.received), ('sent', websocket.stats.sent))]

    def observe_round_trips(_options):
        # type: (Any) -> List[Observation]
        return [Observation(websocket.stats.round_trips.last, describe(websocket))
                for websocket in websockets() if websocket.stats.round_trips.last is not None]

    for name, unit, read in COUNTERS:
        meter.create_observable_counter(name, [observe_counter(read)], unit)
    for name, unit, read_one in TRAFFIC:
        meter.create_observable_counter(name, [observe_traffic(read_one)], unit)
    meter.create_observable_gauge('websocket.round_trip', [observe_round_trips], 's')


def describe(websocket):
    # type: (WebSocket) -> Dict[str, Any]
    """Return the attributes of a feed, by its tag; a URL may have a password in it."""
    return {'feed': websocket.tag, 'server.address': websocket.host, 'server.port': websocket.port}


def make_span(tracer, websocket, event):
    # type: (Any, WebSocket, AnyEvent) -> None
    """Make the span of an attempt to connect, if the event is the end of one."""
    timings = getattr(event, 'timings', None)
    if timings is None:
        return
    attributes = describe(websocket)
    for phase, seconds in timings._asdict().items():
        if seconds is not None:
            attributes['websocket.connect.' + phase] = seconds
    end = int(event.received_time * 1e9)
    span = tracer.start_span(
        'websocket connect', attributes=attributes,
        start_time=end - int(timings.total * 1e9))
    if event.name != 'ready':
        span.set_status(Status(StatusCode.ERROR, getattr(event, 'reason', u'')))
    span.end(end_time=end)


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('websockets', metavar='URL', nargs='+', type=cli.argument(WebSocket))
    options = parser.parse_args()

    pool = Pool()
    for number, websocket in enumerate(options.websockets, 1):
        pool.add(websocket, ReconnectPolicy(), tag=number, ping_timeout=60)
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda _signum, _frame: pool.close())

    metrics = MeterProvider([PeriodicExportingMetricReader(ConsoleMetricExporter(), 5000)])
    traces = TracerProvider()
    traces.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    make_instruments(metrics.get_meter('feeds'), lambda: options.websockets)
    tracer = traces.get_tracer('feeds')
    try:
        for websocket, event in pool:
            make_span(tracer, websocket, event)
    finally:
        metrics.shutdown()
        traces.shutdown()


if __name__ == '__main__':
    sys.exit(cli.run(main))
