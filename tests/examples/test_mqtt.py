"""examples/mqtt.py, at a real mosquitto."""

from __future__ import absolute_import, division, print_function

import signal

import pytest
import six

from tests.examples.running import Program, load
from tests.programs import Program as Daemon
from tests.programs import find_program, write_file
from tests.servers.mqtt import Client

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

# Without a listener of another kind 2.0 doesn't start.
CONFIG = u'''
user root
listener 0 {folder}/socket
listener {port} 127.0.0.1
protocol websockets
allow_anonymous {anonymous}
'''


def run_broker(anonymous=True):
    path = find_program('mosquitto')
    broker = Daemon(lambda folder, port: [path, '-c', write_file(
        folder, 'mosquitto.conf',
        CONFIG.format(folder=folder, port=port, anonymous=str(anonymous).lower()))])
    try:
        broker.__enter__()
    except AssertionError as error:
        if 'Websockets support not available' in str(error):
            pytest.skip('mosquitto was built without WebSockets')
        raise
    broker.url = 'ws://127.0.0.1:{}/'.format(broker.port)
    return broker


@pytest.fixture
def broker():
    broker = run_broker()
    yield broker
    broker.__exit__()


def run(broker, *arguments):
    return Program('examples/mqtt.py', broker.url, *arguments, environ={'LC_ALL': 'C.UTF-8'})


def publish(broker, topic, message):
    with run(broker, topic, '--publish', message) as program:
        assert program.finish() == (0, [], [])


def test_a_message_goes_from_one_program_to_the_other(broker):
    with run(broker, 'news/#') as reader:
        assert reader.read_error() == 'subscribed to news/#'
        publish(broker, 'news/today', six.ensure_str(u'hello \u2603'))
        assert reader.read_line() == u'news/today: hello \u2603'
        publish(broker, 'other', 'not for the reader')
        publish(broker, 'news/late', 'x' * 200)
        assert reader.read_line() == 'news/late: ' + 'x' * 200
        reader.send_signal(signal.SIGTERM)
        assert reader.finish() == (0, [], [])


def test_a_large_message_comes_in_several_frames(broker):
    with run(broker, 'large') as reader:
        assert reader.read_error() == 'subscribed to large'
        with Client(broker.url, u'writer') as writer:
            writer.publish(u'large', b'x' * 20000, qos=1, number=1)
        assert reader.read_line() == 'large: ' + 'x' * 20000
        reader.send_signal(signal.SIGINT)
        assert reader.finish() == (0, [], [])


def test_it_subscribes_again_when_the_broker_is_back(broker):
    with run(broker, 'news') as reader:
        assert reader.read_error() == 'subscribed to news'
        broker.stop(kill=True)
        assert 'Next attempt in' in reader.read_error()
        assert broker.start()
        assert 'subscribed to news' in iter(reader.read_error, '')
        publish(broker, 'news', 'back')
        assert reader.read_line() == 'news: back'


def test_a_broker_that_refuses_is_one_line_and_status_1():
    broker = run_broker(anonymous=False)
    try:
        with run(broker, 'news') as program:
            assert program.finish() == (1, [], ['the broker refuses'])
    finally:
        broker.__exit__()


def test_it_ends_when_nobody_reads_its_output(broker, unread_pipe):
    with Program('examples/mqtt.py', broker.url, 'news', stdout=unread_pipe) as reader:
        assert reader.read_error() == 'subscribed to news'
        publish(broker, 'news', 'hello')
        assert reader.finish() == (0, [], [])


def test_packets_are_taken_apart_at_any_cut():
    mqtt = load('mqtt')
    packets = [(mqtt.PUBLISH, b'x' * size) for size in (0, 1, 127, 128, 200, 16384)]
    stream = b''.join(mqtt.packet(kind, body) for kind, body in packets)
    for step in (1, 2, 3, 1000, len(stream)):
        data, found = bytearray(), []
        for start in range(0, len(stream), step):
            data += stream[start:start + step]
            found.extend(mqtt.take_packets(data))
        assert found == packets


def test_a_length_without_an_end_is_refused():
    with pytest.raises(ValueError):
        list(load('mqtt').take_packets(bytearray(b'\x30\xff\xff\xff\xff')))
