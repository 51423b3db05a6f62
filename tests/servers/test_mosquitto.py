"""mosquitto's MQTT over WebSocket: a third-party protocol, spoken over this client."""

from __future__ import absolute_import, division, print_function

import pytest

from tests.programs import Program, find_program, write_file
from tests.servers import mqtt
from tests.support import names

# Without a listener of another kind 2.0 doesn't start. Another user couldn't read the key.
_CONFIG = u'''
user root
listener 0 {folder}/socket
listener {port} 127.0.0.1
protocol websockets
allow_anonymous true
{tls}
'''

_TLS = u'''
certfile {pem}
keyfile {pem}
'''


@pytest.fixture(scope='module', params=['ws', 'wss'])
def broker(request, server_pem):
    """The `Program`; ``scheme`` is that of its URL."""
    path = find_program('mosquitto')
    tls = _TLS.format(pem=server_pem) if request.param == 'wss' else u''

    def make_command(folder, port):
        return [path, '-c', write_file(
            folder, 'mosquitto.conf', _CONFIG.format(folder=folder, port=port, tls=tls))]

    program = Program(make_command)
    try:
        program.__enter__()
    except AssertionError as error:
        if 'Websockets support not available' in str(error):
            pytest.skip('mosquitto was built without WebSockets')
        raise
    program.scheme = request.param
    yield program
    program.__exit__()


@pytest.fixture
def join(broker, authority_file):
    """``join(client_id)`` makes a `mqtt.Client` of the broker."""
    def join(client_id):
        url = '{}://localhost:{}/mqtt'.format(broker.scheme, broker.port)
        return mqtt.Client(url, client_id, ssl_cafile=authority_file)
    return join


def test_what_one_publishes_the_other_gets(join):
    with join(u'reader') as reader, join(u'writer') as writer:
        reader.subscribe(u'news/+', qos=1)
        writer.publish(u'news/\u00e9', b'\x00\xff')
        writer.publish(u'news/sure', b'', qos=1, number=7)
        writer.publish(u'other', b'not for you')
        writer.publish(u'news/last', b'x' * 200, qos=1, number=8)
        taken = [reader.take() for _ in range(3)]
        assert [publication[:4] for publication in taken] == [
            (u'news/\u00e9', b'\x00\xff', 0, False),
            (u'news/sure', b'', 1, False),
            (u'news/last', b'x' * 200, 1, False),
        ]
        assert reader.events[2].name == 'ready'
        assert reader.events[2].protocol == u'mqtt'


def test_a_large_message_is_kept_for_who_comes_later(join):
    # Debian's build hands out 4 KiB in a tenth of a second; it takes in faster.
    payload = bytes(bytearray(range(250))) * 264
    with join(u'writer') as writer:
        writer.publish(u'larger', payload * 16, qos=1, number=1)
        writer.publish(u'large', payload, qos=1, number=2, flags=mqtt.RETAIN)
    with join(u'reader') as reader:
        reader.subscribe(u'large', qos=0)
        assert reader.take()[:4] == (u'large', payload, 0, True)


def test_a_ping_of_mqtt_is_answered(join):
    with join(u'pinger') as client:
        client.send(mqtt.PINGREQ)
        assert client.expect(mqtt.PINGRESP).body == b''


def test_after_mqtts_goodbye_the_broker_hangs_up(join):
    with join(u'leaver') as client:
        client.send(mqtt.DISCONNECT)
        assert_hung_up(client.ended())


def test_after_an_error_of_mqtt_the_broker_hangs_up(join):
    with join(u'sinner') as client:
        client.send(mqtt.CONNECT)       # 3.1: a second one is a violation
        assert_hung_up(client.ended())


def test_who_comes_with_the_same_id_takes_over(join):
    with join(u'twin') as old, join(u'twin') as new:
        assert_hung_up(old.ended())
        new.send(mqtt.PINGREQ)
        new.expect(mqtt.PINGRESP)


def assert_hung_up(events):
    """Assert that the loop ended, with or without a Close frame: it depends on the version."""
    assert names(events)[:4] == ['connecting', 'connected', 'ready', 'binary']
    assert names(events)[4:] in (['disconnected'], ['closing', 'disconnected'])
    assert events[-1].graceful == ('closing' in names(events))
