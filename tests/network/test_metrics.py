"""The programs that report the numbers of WebSockets to Prometheus and to OpenTelemetry."""

from __future__ import absolute_import, division, print_function

import io
import os
import signal

import pytest
from six.moves.urllib.request import ProxyHandler, build_opener

from lomond import WebSocket
from lomond.pool import Pool
from lomond.timings import Timings
from tests.network.driving import ROOT, echo, read_to_close
from tests.network.test_examples import Program
from tests.support import PATIENCE, RawServer, answer_upgrade, make_close

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

PROMETHEUS = os.path.join('examples', 'prometheus_metrics.py')
OPENTELEMETRY = os.path.join('examples', 'opentelemetry_metrics.py')


def load(path):
    """Return the names of a program that isn't run."""
    names = {'__name__': 'program'}     # not by runpy, which empties them on 2.7
    with io.open(os.path.join(ROOT, path), 'rb') as source:
        exec(compile(source.read(), path, 'exec'), names)
    return names


def live(pool, websocket, on_event):
    """Have a member of a pool send two texts to an echo, and close; others go on until they end."""
    for member, event in pool:
        on_event(member, event)
        if member is websocket and event.name == 'ready':
            websocket.send_text(u'a')
            websocket.send_text(u'bcd')
        elif member is websocket and event.name == 'text' and event.text == u'bcd':
            websocket.close()


# -- Prometheus --

@pytest.fixture
def prometheus():
    return pytest.importorskip('prometheus_client')


def test_prometheus_reads_what_the_members_of_a_pool_count(prometheus, dead_port):
    program = load(PROMETHEUS)
    registry = prometheus.CollectorRegistry()
    pool = Pool()
    phases = program['make_phases'](registry)
    with RawServer(echo) as server:
        good = pool.add(WebSocket(server.url, proxies={}), tag=u'good')
        pool.add(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port), proxies={}), tag=u'dead')
        members = pool.websockets
        registry.register(program['Collector'](lambda: members))
        live(pool, good, lambda member, event: program['observe_phases'](phases, member, event))

    def sample(name, **labels):
        return registry.get_sample_value(name, labels)

    assert sample('websocket_messages_total', feed='good', direction='sent') == 2
    assert sample('websocket_messages_total', feed='good', direction='received') == 2
    assert sample('websocket_payload_bytes_total', feed='good', direction='received') == 4
    assert sample('websocket_connect_attempts_total', feed='dead') == 1
    assert sample('websocket_connections_total', feed='dead') == 0
    assert sample('websocket_open', feed='good') == 0
    assert sample('websocket_connected_seconds_total', feed='good') >= 0
    assert sample('websocket_connect_phase_seconds_count',
                  feed='good', phase='handshake', outcome='ready') == 1
    assert sample('websocket_connect_phase_seconds_count',
                  feed='dead', phase='connect', outcome='connect_fail') == 1
    assert sample('websocket_connect_phase_seconds_count',
                  feed='dead', phase='handshake', outcome='connect_fail') is None


def scrape(url):
    """Return the lines that a scrape gets."""
    response = build_opener(ProxyHandler({})).open(url, timeout=PATIENCE)
    try:
        return response.read().decode('utf-8').splitlines()
    finally:
        response.close()


def test_the_prometheus_program_is_scraped_while_it_watches_its_feeds(prometheus):
    with RawServer(echo) as server:
        with Program(PROMETHEUS, server.url.replace(u'//', u'//me:secret@')) as program:
            url = program.read_line()
            lines = scrape(url)
            while 'websocket_open{feed="1 127.0.0.1"} 1.0' not in lines:
                lines = scrape(url)
            program.send_signal(signal.SIGTERM)
            assert program.finish() == (0, [], [])
    assert 'websocket_connections_total{feed="1 127.0.0.1"} 1.0' in lines
    assert 'websocket_messages_total{direction="sent",feed="1 127.0.0.1"} 0.0' in lines
    assert '# TYPE websocket_messages_total counter' in lines
    assert not any('secret' in line for line in lines)


# -- OpenTelemetry --

@pytest.fixture
def opentelemetry():
    return pytest.importorskip('opentelemetry.sdk')


@pytest.mark.usefixtures('opentelemetry')
def test_opentelemetry_reads_what_the_members_of_a_pool_count(dead_port):
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    pool = Pool()
    with RawServer(echo) as server:
        good = pool.add(WebSocket(server.url, proxies={}), tag=1)
        pool.add(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port), proxies={}), tag=2)
        members = pool.websockets
        load(OPENTELEMETRY)['make_instruments'](provider.get_meter('feeds'), lambda: members)
        live(pool, good, lambda *_pair: None)
    found = {}
    for resource in reader.get_metrics_data().resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    attributes = dict(point.attributes)
                    key = attributes['server.port'], attributes.get('direction')
                    found[(metric.name,) + key] = point.value
    provider.shutdown()
    assert found['websocket.messages', server.port, 'sent'] == 2
    assert found['websocket.messages', server.port, 'received'] == 2
    assert found['websocket.payload', server.port, 'received'] == 4
    assert found['websocket.connect.attempts', dead_port, None] == 1
    assert found['websocket.connections', dead_port, None] == 0
    assert found['websocket.connected.time', server.port, None] >= 0


@pytest.mark.usefixtures('opentelemetry')
def test_opentelemetry_gets_a_span_for_each_attempt_to_connect(dead_port):
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer('feeds')
    make_span = load(OPENTELEMETRY)['make_span']
    timings = {}

    def on_event(member, event):
        make_span(tracer, member, event)
        if event.name in ('ready', 'connect_fail'):
            timings[member.port] = event.timings

    pool = Pool()
    with RawServer(echo) as server:
        good = pool.add(WebSocket(server.url, proxies={}), tag=1)
        pool.add(WebSocket(u'ws://127.0.0.1:{}/'.format(dead_port), proxies={}), tag=2)
        live(pool, good, on_event)
    provider.shutdown()
    spans = {span.attributes['server.port']: span for span in exporter.get_finished_spans()}
    assert set(spans) == {server.port, dead_port}
    for port, span in spans.items():
        assert Timings(*[span.attributes.get('websocket.connect.' + name)
                         for name in Timings._fields]) == timings[port]
        assert span.end_time - span.start_time == int(timings[port].total * 1e9)
        assert span.status.is_ok == (port == server.port)
    assert 'could not connect' in spans[dead_port].status.description


@pytest.mark.usefixtures('opentelemetry')
def test_the_opentelemetry_program_exports_at_the_end():
    def script(sock):
        answer_upgrade(sock)
        program.send_signal(signal.SIGTERM)
        read_to_close(sock)
        sock.sendall(make_close(1001))

    with RawServer(script) as server:
        with Program(OPENTELEMETRY, server.url) as program:
            status, lines, errors = program.finish()
    assert (status, errors) == (0, [])
    names = {line.split(': ')[1].strip('",') for line in lines if '"name": ' in line}
    assert {'websocket connect', 'websocket.messages', 'websocket.connections'} <= names


def test_each_program_is_named_on_the_page():
    with io.open(os.path.join(ROOT, 'docs', 'howto', 'metrics.md'), encoding='utf-8') as page:
        text = page.read()
    for path in (PROMETHEUS, OPENTELEMETRY):
        assert os.path.basename(path) in text
