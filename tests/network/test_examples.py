"""The programs in `lomond.examples` and in `examples/`, run as a reader would."""

from __future__ import absolute_import, division, print_function

import json
import os
import signal
import subprocess
import sys
from datetime import datetime

import pytest

from lomond import WebSocket
from lomond.examples import btcticker, feed
from lomond.server import Server

from ..support import RawServer, answer_upgrade, make_close, make_frame, read_frame, read_head

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

FIELDS = {
    'type', 'sequence', 'product_id', 'price', 'open_24h', 'volume_24h', 'low_24h', 'high_24h',
    'volume_30d', 'best_bid', 'best_bid_size', 'best_ask', 'best_ask_size', 'side', 'time',
    'trade_id', 'last_size',
}


class Program(object):
    """Runs a program of this repository in a process of its own."""

    def __init__(self, *arguments):
        environ = dict(os.environ, PYTHONPATH=ROOT)
        for name in ('http_proxy', 'HTTP_PROXY'):
            environ.pop(name, None)
        self._process = subprocess.Popen(
            [sys.executable, '-W', 'error'] + list(arguments), cwd=ROOT, env=environ,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._process.stderr.close()

    def read_line(self):
        return self._process.stdout.readline().decode('utf-8').rstrip()

    def read_error(self):
        return self._process.stderr.readline().decode('utf-8').rstrip()

    def send_signal(self, number):
        self._process.send_signal(number)

    def finish(self):
        """Return the exit status, and the lines of stdout and stderr that weren't read."""
        output, errors = self._process.communicate()
        return (
            self._process.returncode,
            output.decode('utf-8').splitlines(), errors.decode('utf-8').splitlines())


# -- lomond.examples.feed --

@pytest.fixture
def feed_url():
    with feed.start(poll=0.01) as server:
        yield server.url


def ask_feed(url, *requests, **options):
    """Send requests to a feed; return the first messages, ``count`` of them, that it sends."""
    websocket = WebSocket(url, proxies={})
    messages = []
    for event in websocket:
        if event.name == 'ready':
            for request in requests:
                websocket.send_text(
                    request if isinstance(request, type(u'')) else u'' + json.dumps(request))
        elif event.name == 'text':
            messages.append(event.json)
            if len(messages) == options.get('count', 1):
                websocket.close()
    return messages[:options.get('count', 1)]


SUBSCRIBE = {'type': 'subscribe', 'product_ids': ['BTC-USD'], 'channels': ['ticker']}


def test_the_feed_answers_and_then_sends_tickers(feed_url):
    messages = ask_feed(feed_url, SUBSCRIBE, count=21)
    assert messages[0] == {
        'type': 'subscriptions',
        'channels': [{'name': 'ticker', 'product_ids': ['BTC-USD']}],
    }
    tickers = messages[1:]
    for ticker in tickers:
        assert set(ticker) == FIELDS
        assert (ticker['type'], ticker['product_id']) == ('ticker', 'BTC-USD')
        datetime.strptime(ticker['time'], '%Y-%m-%dT%H:%M:%S.%fZ')
        assert float(ticker['low_24h']) <= float(ticker['price']) <= float(ticker['high_24h'])
        assert float(ticker['best_bid']) < float(ticker['best_ask'])
        assert ticker['side'] in ('buy', 'sell')
    sequences = [ticker['sequence'] for ticker in tickers]
    assert sequences == sorted(set(sequences))
    prices = [float(ticker['price']) for ticker in tickers]
    assert len(set(prices)) > 1
    assert all(abs(after / before - 1) < 0.01 for before, after in zip(prices, prices[1:]))


def test_products_may_stand_in_the_channel():
    with feed.start(poll=0.01) as server:
        messages = ask_feed(server.url, {
            'type': 'subscribe', 'product_ids': ['BTC-USD'],
            'channels': [{'name': 'ticker', 'product_ids': ['ETH-USD']}],
        }, count=5)
    assert messages[0]['channels'][0]['product_ids'] == ['BTC-USD', 'ETH-USD']
    assert {message['product_id'] for message in messages[1:]} == {'BTC-USD', 'ETH-USD'}


@pytest.mark.parametrize('request_', [
    {'type': 'unsubscribe', 'product_ids': ['BTC-USD'], 'channels': ['ticker']},
    {'type': 'unsubscribe', 'channels': ['ticker']},
])
def test_unsubscribing_ends_the_tickers(request_):
    with feed.start(poll=3600) as server:
        assert ask_feed(server.url, SUBSCRIBE, request_, count=2)[1] == {
            'type': 'subscriptions', 'channels': []}


@pytest.mark.parametrize('request_, reason', [
    (dict(SUBSCRIBE, product_ids=['FOO-BAR']), 'FOO-BAR is not a valid product'),
    (dict(SUBSCRIBE, product_ids=[u'\u20ac']), u'\u20ac is not a valid product'),
    (dict(SUBSCRIBE, channels=['level2']), 'level2 is not a valid channel'),
    (dict(SUBSCRIBE, product_ids=[]), 'No channels, or no product_ids'),
    (dict(SUBSCRIBE, type='buy'), 'Unknown type: buy'),
    (dict(SUBSCRIBE, product_ids=[[]]), 'Malformed JSON'),
    (dict(SUBSCRIBE, product_ids=5), 'Malformed JSON'),
    ({'type': 'subscribe'}, 'Malformed JSON'),
    ([], 'Malformed JSON'),
    (u'no JSON at all', 'Malformed JSON'),
])
def test_a_bad_subscription_is_answered_with_an_error(feed_url, request_, reason):
    assert ask_feed(feed_url, request_) == [
        {'type': 'error', 'message': 'Failed to subscribe', 'reason': reason}]


# -- lomond.examples.btcticker --

def test_the_ticker_shows_local_prices_and_says_that_they_are_simulated(capsys):
    assert btcticker.main(['--local', '--count', '2']) == 0
    output, errors = capsys.readouterr()
    lines = output.splitlines()
    assert lines[0].startswith('Simulated prices')
    assert len(lines) == 3
    assert all('BTC-USD' in line for line in lines[1:])
    assert not errors


def test_the_ticker_shows_another_product(capsys):
    assert btcticker.main(['--local', '--product', 'ETH-USD', '--count', '1']) == 0
    assert 'ETH-USD' in capsys.readouterr().out


def test_the_ticker_reports_a_bad_product(capsys):
    assert btcticker.main(['--local', '--product', 'FOO-BAR']) == 1
    assert 'FOO-BAR is not a valid product' in capsys.readouterr().err


@pytest.mark.parametrize('arguments', [['--count', '0'], ['--count', 'x'], ['--url', 'http://x']])
def test_the_ticker_refuses_bad_arguments(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        btcticker.main(arguments)
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def check_complaint(capsys, reason):
    output, errors = capsys.readouterr()
    line, = errors.splitlines()
    assert reason in line
    assert '--local' in line
    assert not output


def test_a_feed_out_of_reach_is_one_line_and_status_1(dead_port, capsys):
    url = 'ws://127.0.0.1:{}'.format(dead_port)
    assert btcticker.watch(WebSocket(url, proxies={}), 'BTC-USD') == 1
    check_complaint(capsys, 'refused')


def test_a_feed_that_rejects_is_one_line_and_status_1(capsys):
    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')

    with RawServer(script) as server:
        assert btcticker.watch(WebSocket(server.url, proxies={}), 'BTC-USD') == 1
    check_complaint(capsys, '403')


def test_the_ticker_goes_on_after_an_outage(capsys):
    tick = json.dumps({
        'type': 'ticker', 'product_id': 'BTC-USD', 'price': '1.00',
        'time': '2020-01-01T00:00:00.000000Z'}).encode('ascii')

    def script(sock):
        answer_upgrade(sock)
        assert b'subscribe' in read_frame(sock)[1]
        sock.sendall(make_frame(1, tick))
        if server.connections == 2:
            assert read_frame(sock)[0] == 0x88
            sock.sendall(make_frame(1, tick) + make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, proxies={})
        assert btcticker.watch(websocket, 'BTC-USD', count=2, min_wait=0, max_wait=0) == 0
    output, errors = capsys.readouterr()
    # What comes between our Close frame and its answer isn't shown.
    assert len(output.splitlines()) == 2
    assert 'lost the feed' in errors
    assert len(errors.splitlines()) == 1


def test_ctrl_c_ends_the_ticker_quietly():
    with Program('-m', 'lomond.examples.btcticker', '--local') as program:
        assert program.read_line().startswith('Simulated prices')
        assert 'BTC-USD' in program.read_line()
        program.send_signal(signal.SIGINT)
        status, _output, errors = program.finish()
    assert (status, errors) == (0, [])


# -- examples/ --

@pytest.fixture
def echo_url():
    def echo(websocket):
        for event in websocket:
            if event.name == 'text':
                websocket.send_text(event.text)

    with Server(echo) as server:
        yield server.url


def test_echo_session_prints_the_replies(echo_url):
    with Program('examples/echo_session.py', echo_url, 'one', 'two') as program:
        assert program.finish() == (0, ['one', 'two'], [])


def test_echo_session_reports_that_it_could_not_connect(dead_port):
    url = 'ws://127.0.0.1:{}/'.format(dead_port)
    with Program('examples/echo_session.py', url, 'one') as program:
        status, output, errors = program.finish()
    assert (status, output) == (1, [])
    assert len(errors) == 1
    assert 'refused' in errors[0]


def test_echo_session_reports_a_connection_that_broke():
    with RawServer(answer_upgrade) as server:
        with Program('examples/echo_session.py', server.url, 'one') as program:
            status, output, errors = program.finish()
    assert (status, output) == (1, [])
    assert errors[0].startswith('disconnected: ')


def test_echo_server_serves_until_ctrl_c():
    with Program('examples/echo_server.py') as server:
        with Program('examples/echo_session.py', server.read_line(), 'hello') as session:
            assert session.finish() == (0, ['hello'], [])
        server.send_signal(signal.SIGINT)
        assert server.finish() == (0, [], [])


def test_the_daemon_ends_gracefully_with_a_signal():
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock) == (0x81, b'hello')
        program.send_signal(signal.SIGTERM)
        first, payload = read_frame(sock)
        assert first == 0x88
        sock.sendall(make_frame(8, payload))
        frames.append(payload)

    frames = []
    with RawServer(script) as server:
        with Program('examples/daemon.py', server.url) as program:
            status, _output, errors = program.finish()
    assert status == 0
    assert frames == [b'\x03\xe8goodbye']
    assert errors[-1].endswith('the end')


def test_the_daemon_says_when_it_will_try_again(dead_port):
    with Program('examples/daemon.py', 'ws://127.0.0.1:{}'.format(dead_port)) as program:
        line = program.read_error()
        assert 'connect_fail' in line
        assert 'next attempt in' in program.read_error()
        program.send_signal(signal.SIGTERM)
        status, _output, errors = program.finish()
    assert status == 0
    assert errors[-1].endswith('the end')
