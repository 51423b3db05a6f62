"""The programs in `lomond.examples` and in `examples/`, run as a reader would."""

from __future__ import absolute_import, division, print_function

import io
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
from datetime import datetime

import pytest
import six

from lomond import WebSocket
from lomond.examples import btcticker, feed
from lomond.examples.outage import UnsteadyFeed
from lomond.persist import ReconnectPolicy, persist
from lomond.server import Server

from ..examples.running import Program
from ..support import RawServer, answer_upgrade, make_close, make_frame, read_frame, read_head
from .driving import drain, wait_for

pytestmark = pytest.mark.costly

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

BTCTICKER = ['-m', 'lomond.examples.btcticker']
FEED = ['-m', 'lomond.examples.feed']

FIELDS = {
    'type', 'sequence', 'product_id', 'price', 'open_24h', 'volume_24h', 'low_24h', 'high_24h',
    'volume_30d', 'best_bid', 'best_bid_size', 'best_ask', 'best_ask_size', 'side', 'time',
    'trade_id', 'last_size',
}


@pytest.fixture
def listening_port():
    """A port of 127.0.0.1 on which another program listens."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    sock.listen(1)
    yield sock.getsockname()[1]
    sock.close()


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


def test_the_feed_runs_until_ctrl_c():
    with Program(*FEED) as program:
        url = program.read_line()
        assert ask_feed(url, SUBSCRIBE, count=2)[1]['product_id'] == 'BTC-USD'
        program.send_signal(signal.SIGINT)
        assert program.finish() == (0, [], [])


def test_the_feed_listens_on_the_host_that_is_named():
    with Program(*FEED + ['--host', '127.0.0.2']) as program:
        url = program.read_line()
        assert url.startswith('ws://127.0.0.2:')
        assert ask_feed(url, SUBSCRIBE)
        program.send_signal(signal.SIGINT)
        assert program.finish() == (0, [], [])


@pytest.mark.parametrize('program', [FEED, ['examples/echo_server.py']])
def test_a_port_that_is_taken_is_one_line_and_status_1(program, listening_port):
    with Program(*program + ['--port', str(listening_port)]) as server:
        status, output, errors = server.finish()
    assert (status, output) == (1, [])
    line, = errors
    assert '127.0.0.1:{}: Address already in use'.format(listening_port) in line


def test_a_host_that_is_not_here_is_one_line_and_status_1():
    # TEST-NET-1 (RFC 5737) is nobody's.
    with Program(*FEED + ['--host', '192.0.2.1', '--port', '8080']) as program:
        status, output, errors = program.finish()
    assert (status, output) == (1, [])
    line, = errors
    assert 'could not listen on 192.0.2.1:8080: ' in line


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


@pytest.mark.parametrize('product', [u'FOO-BAR', u'BTC-\u20ac'])
def test_the_ticker_reports_a_bad_product(product):
    with Program(*BTCTICKER + ['--local', '--product', six.ensure_str(product)],
                 environ={'LC_ALL': 'C.UTF-8'}) as program:
        status, _output, errors = program.finish()
    assert status == 1
    assert errors == [
        u'btcticker: Failed to subscribe: {} is not a valid product'.format(product)]


@pytest.mark.parametrize('program, arguments, words', [
    (BTCTICKER, ['--count', '0'], "argument --count: must be an integer, 1 or more, not '0'"),
    (BTCTICKER, ['--count', 'x'], "argument --count: must be an integer, 1 or more, not 'x'"),
    (BTCTICKER, ['--url', 'http://x/'], 'argument --url: a WebSocket URL must start with ws://'),
    (BTCTICKER, ['--url', 'ws://x:70000/'], 'argument --url: the port must be from 1 to 65535'),
    (BTCTICKER, ['--url', 'ws://me:secret@/'], 'argument --url: no host in the URL'),
    (BTCTICKER, ['--url', 'http://me:secret@x/'], "not 'http://***@x/'"),
    (BTCTICKER, ['--local', '--url', 'ws://x/'], 'not allowed with argument'),
    (BTCTICKER, ['--outage'], 'argument --outage: requires --local'),
    (FEED, ['--port', '65536'], "argument --port: must be an integer from 0 to 65535, not '65536'"),
    (FEED, ['--port', '-1'], "argument --port: must be an integer from 0 to 65535, not '-1'"),
    (['examples/echo_server.py'], ['--port', '65536'], "an integer from 0 to 65535, not '65536'"),
    (['examples/echo_session.py'], ['x://me:secret@x/', 'hello'], 'URL must start with ws://'),
    (['examples/daemon.py'], ['x://me:secret@x/'], 'a WebSocket URL must start with ws://'),
    (['examples/many_feeds.py'], ['ws://x/', 'x://me:secret@x/'], 'URL must start with ws://'),
])
def test_wrong_arguments_are_refused_in_words_that_help(program, arguments, words):
    with Program(*program + arguments) as running:
        status, output, errors = running.finish()
    assert (status, output) == (2, [])
    assert words in errors[-1].replace("u'", "'")
    assert 'Traceback' not in errors[0]
    assert 'secret' not in errors[-1]


def check_complaint(capsys, reason):
    output, errors = capsys.readouterr()
    line, = errors.splitlines()
    assert reason in line
    assert '--local' in line
    assert 'secret' not in line
    assert not output


def test_a_feed_out_of_reach_is_one_line_and_status_1(dead_port, capsys):
    url = 'ws://me:secret@127.0.0.1:{}'.format(dead_port)
    assert btcticker.watch(WebSocket(url, proxies={}), 'BTC-USD') == 1
    check_complaint(capsys, 'refused')


def test_a_feed_that_rejects_is_one_line_and_status_1(capsys):
    def script(sock):
        read_head(sock)
        sock.sendall(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')

    with RawServer(script) as server:
        assert btcticker.watch(WebSocket(server.url, proxies={}), 'BTC-USD') == 1
    check_complaint(capsys, '403')


TICK = make_frame(1, json.dumps({
    'type': 'ticker', 'product_id': 'BTC-USD', 'price': '1.00',
    'time': '2020-01-01T00:00:00.000000Z'}).encode('ascii'))


def accept_subscription(sock):
    """Do what a feed does first."""
    answer_upgrade(sock)
    assert b'subscribe' in read_frame(sock)[1]


def test_the_ticker_goes_on_after_an_outage(capsys):
    def script(sock):
        accept_subscription(sock)
        sock.sendall(TICK)
        if server.connections == 2:
            assert read_frame(sock)[0] == 0x88
            sock.sendall(TICK + make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, proxies={})
        assert btcticker.watch(websocket, 'BTC-USD', count=2, min_wait=0, max_wait=0) == 0
    output, errors = capsys.readouterr()
    # What comes between our Close frame and its answer isn't shown.
    assert len(output.splitlines()) == 2
    lost, back = errors.splitlines()
    assert lost.startswith('btcticker: lost the feed: ')
    assert back == 'btcticker: the feed is back'


def test_the_ticker_says_how_a_feed_closed(capsys):
    def script(sock):
        accept_subscription(sock)
        if server.connections == 1:
            sock.sendall(make_close(1012, b'an update'))
            assert read_frame(sock)[0] == 0x88
        else:
            sock.sendall(TICK)
            assert read_frame(sock)[0] == 0x88
            sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, proxies={})
        assert btcticker.watch(websocket, 'BTC-USD', count=1, min_wait=0, max_wait=0) == 0
    lost = capsys.readouterr().err.splitlines()[0]
    assert lost == (
        'btcticker: lost the feed: closed with code 1012: an update. Next attempt in 0 s')


def demo_arguments():
    """Return what `make demo` gives to Python."""
    with io.open(os.path.join(ROOT, 'Makefile'), encoding='utf-8') as makefile:
        command, = re.findall(r'^demo:.*\n\t.*/bin/python (.*)', makefile.read(), re.MULTILINE)
    return shlex.split(str(command))


def test_the_demo_survives_an_outage():
    with Program(*demo_arguments(), stderr=subprocess.STDOUT) as program:
        status, lines, _errors = program.finish()
    assert status == 0
    first = lines.pop(0)
    assert first.startswith('Simulated prices') and 'stops once' in first
    lost, back = (
        [i for i, line in enumerate(lines) if words in line]
        for words in ('lost the feed: closed with code 1001', 'the feed is back'))
    assert len(lost) == len(back) == 1
    is_price = ['BTC-USD' in line for line in lines]
    assert any(is_price[:lost[0]]) and any(is_price[back[0]:])
    # While it is away each attempt is refused, if there is time for one.
    assert all('still no feed: ' in line for line in lines[lost[0] + 1:back[0]])


def test_a_feed_that_went_away_comes_back_on_the_same_port(capsys, monkeypatch):
    def before_attempt(_websocket, attempt):
        if attempt == 3:
            was_refused.set()

    was_refused = threading.Event()
    monkeypatch.setattr(UnsteadyFeed, 'stay_away', lambda _unsteady: wait_for(was_refused))
    with UnsteadyFeed(prices=2, poll=0.01) as unsteady:
        websocket = WebSocket(unsteady.url, proxies={})
        policy = ReconnectPolicy(spread=0.1, max_wait=0.1, before_attempt=before_attempt)
        assert btcticker.watch(websocket, 'BTC-USD', count=50, policy=policy) == 0
        assert not unsteady.has_failed.is_set()
    output, errors = capsys.readouterr()
    assert len(output.splitlines()) == 50
    errors = errors.splitlines()
    assert errors.pop(0).startswith('btcticker: lost the feed: ')
    assert errors.pop() == 'btcticker: the feed is back'
    for line in errors:
        assert line.startswith('btcticker: still no feed: ') and 'refused' in line
    assert errors


def test_the_demo_says_that_its_port_is_taken_by_then(capsys, monkeypatch):
    def take_port(unsteady):
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taker.bind(('127.0.0.1', unsteady.port))
        taker.listen(1)

    monkeypatch.setattr(UnsteadyFeed, 'stay_away', take_port)
    taker = socket.socket()
    try:
        assert btcticker.main(['--local', '--outage']) == 1
    finally:
        taker.close()
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith('btcticker: could not restart the feed: ')
    assert 'Address already in use' in line


def test_a_feed_is_closed_while_it_is_away():
    with UnsteadyFeed(prices=1, seconds=3600, poll=0.01) as unsteady:
        closings = []
        websocket = WebSocket(unsteady.url, proxies={})
        for event in websocket:
            if event.name == 'ready':
                websocket.send_text(u'' + json.dumps(SUBSCRIBE))
            elif event.name == 'closing':
                closings.append(event.code)
    assert closings == [1001]


def test_a_feed_is_closed_before_it_has_gone_away():
    before = set(threading.enumerate())
    with UnsteadyFeed(prices=1000) as unsteady:
        assert ask_feed(unsteady.url, SUBSCRIBE)
    assert set(threading.enumerate()) <= before


def test_ctrl_c_ends_the_ticker_quietly():
    with Program(*BTCTICKER + ['--local']) as program:
        assert program.read_line().startswith('Simulated prices')
        assert 'BTC-USD' in program.read_line()
        program.send_signal(signal.SIGINT)
        status, _output, errors = program.finish()
    assert (status, errors) == (0, [])


@pytest.mark.parametrize('words', ['lost the feed', 'the feed is back'])
def test_ctrl_c_ends_the_demo_quietly_during_an_outage(words):
    with Program(*demo_arguments()) as program:
        assert any(words in line for line in iter(program.read_error, ''))
        program.send_signal(signal.SIGINT)
        status, _output, errors = program.finish()
    assert (status, errors) == (0, [])


# -- output that nobody reads, as after `| head` --

def feed_until_close(has_gone, frames):
    """Make a feed that sends a price, another when ``has_gone``, and takes down the Close."""
    def script(sock):
        accept_subscription(sock)
        sock.sendall(TICK)
        wait_for(has_gone)
        sock.sendall(TICK)
        frames.append(read_frame(sock))
        sock.sendall(make_close(1000))
    return script


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('stderr', [subprocess.PIPE, subprocess.STDOUT], ids=['apart', 'joined'])
def test_the_ticker_closes_the_connection_when_nobody_reads_its_output(unbuffered, stderr):
    has_gone, frames = threading.Event(), []
    with RawServer(feed_until_close(has_gone, frames)) as server:
        with Program(*BTCTICKER + ['--url', server.url], stderr=stderr,
                     environ={'PYTHONUNBUFFERED': unbuffered}) as program:
            assert 'BTC-USD' in program.read_line()
            program.close_output()
            has_gone.set()
            assert program.finish() == (0, [], [])
    assert frames == [(0x88, b'\x03\xe8goodbye')]


@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_the_ticker_ends_when_nobody_reads_its_complaints(unbuffered):
    def script(sock):
        accept_subscription(sock)
        sock.sendall(TICK)
        wait_for(has_gone)

    has_gone = threading.Event()
    with RawServer(script) as server:
        with Program(*BTCTICKER + ['--url', server.url], stderr=subprocess.STDOUT,
                     environ={'PYTHONUNBUFFERED': unbuffered}) as program:
            assert 'BTC-USD' in program.read_line()
            program.close_output()
            has_gone.set()
            assert program.finish() == (0, [], [])


@pytest.mark.parametrize('unbuffered', ['', '1'])
def test_echo_session_closes_the_connection_when_nobody_reads_its_output(unbuffered):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, read_frame(sock)[1]))
        wait_for(has_gone)
        assert read_frame(sock)[1] == b'two'
        sock.sendall(make_frame(1, b'two'))
        assert read_frame(sock)[1] == b'three'
        frames.append(read_frame(sock))
        sock.sendall(make_close(1000))

    has_gone, frames = threading.Event(), []
    with RawServer(script) as server:
        with Program('examples/echo_session.py', server.url, 'one', 'two', 'three',
                     environ={'PYTHONUNBUFFERED': unbuffered}) as program:
            assert program.read_line() == 'one'
            program.close_output()
            has_gone.set()
            assert program.finish() == (0, [], [])
    assert frames == [(0x88, b'\x03\xe8goodbye')]


@pytest.mark.parametrize('unbuffered', ['', '1'])
@pytest.mark.parametrize('arguments', [
    BTCTICKER + ['--local'],
    BTCTICKER + ['--local', '--outage'],
    BTCTICKER + ['--help'],
    FEED + ['--help'],
    ['examples/echo_server.py', '--help'],
    ['examples/echo_session.py', '--help'],
    ['examples/daemon.py', '--help'],
    ['examples/many_feeds.py'],
    ['examples/many_feeds.py', '--help'],
], ids=' '.join)
def test_a_program_ends_quietly_when_nobody_reads_it(arguments, unbuffered, unread_pipe):
    with Program(*arguments, stdout=unread_pipe,
                 environ={'PYTHONUNBUFFERED': unbuffered}) as program:
        assert program.finish() == (0, [], [])


@pytest.mark.parametrize('arguments', [FEED, ['examples/echo_server.py']], ids=' '.join)
def test_a_server_serves_on_when_nobody_reads_its_url(arguments, unread_pipe):
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(('127.0.0.1', 0))     # kept for the server
    port = sock.getsockname()[1]
    with Program(*arguments + ['--port', str(port)], stdout=unread_pipe) as program:
        websocket = WebSocket('ws://127.0.0.1:{}/'.format(port), proxies={})
        for event in persist(websocket, min_wait=0.05, max_wait=0.05):
            if event.name == 'ready':
                sock.close()
                websocket.close()
        program.send_signal(signal.SIGINT)
        assert program.finish() == (0, [], [])


def test_the_daemon_goes_on_when_nobody_reads_its_log():
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock) == (0x81, b'hello')
        wait_for(has_gone)
        sock.sendall(make_frame(1, b'one') + make_frame(9, b'two'))
        assert read_frame(sock) == (0x8a, b'two')
        program.send_signal(signal.SIGTERM)
        frames.append(read_frame(sock))
        sock.sendall(make_close(1000))

    has_gone, frames = threading.Event(), []
    with RawServer(script) as server:
        with Program('examples/daemon.py', server.url, stderr=subprocess.STDOUT) as program:
            assert program.read_line().endswith('connected')
            program.close_output()
            has_gone.set()
            assert program.finish() == (0, [], [])
    assert frames == [(0x88, b'\x03\xe8goodbye')]


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


def test_echo_session_prints_more_than_ascii(echo_url):
    with Program('examples/echo_session.py', echo_url, six.ensure_str(u'p\xe9age 5 \u20ac'),
                 environ={'LC_ALL': 'C.UTF-8'}) as program:
        assert program.finish() == (0, [u'p\xe9age 5 \u20ac'], [])


def test_ctrl_c_ends_echo_session_quietly_with_status_130():
    def script(sock):
        answer_upgrade(sock)
        read_frame(sock)
        program.send_signal(signal.SIGINT)
        drain(sock)

    with RawServer(script) as server:
        with Program('examples/echo_session.py', server.url, 'hello') as program:
            assert program.finish() == (130, [], [])


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


def test_many_feeds_counts_each_feed_and_one_comes_back_after_an_outage():
    with Program('examples/many_feeds.py') as program:
        assert program.read_error().startswith('feed 3: the server closed with code 1001')
        assert 'feed 3: connected again' in iter(program.read_error, '')
        for line in iter(program.read_line, ''):
            counts = re.findall(r'feed [123]: ([0-9]+) messages', line)
            assert len(counts) == 3
            if '0' not in counts:
                break
        program.send_signal(signal.SIGTERM)
        assert program.finish()[0] == 0


def test_many_feeds_sends_its_text_and_ends_gracefully_with_a_signal():
    def script(sock):
        answer_upgrade(sock)
        assert read_frame(sock) == (0x81, b'hello')
        sock.sendall(make_frame(1, b'a price'))
        program.send_signal(signal.SIGINT)
        first, payload = read_frame(sock)
        assert first == 0x88
        sock.sendall(make_frame(8, payload))
        frames.append(payload)

    frames = []
    with RawServer(script) as server:
        with Program('examples/many_feeds.py', '--send', 'hello', server.url) as program:
            status, _output, errors = program.finish()
    assert (status, errors) == (0, [])
    assert frames == [b'\x03\xe9']
