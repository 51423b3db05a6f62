"""JSON on real connections: by the reader and the writer that the user names."""

from __future__ import absolute_import, division, print_function

import json
from decimal import Decimal

import pytest

from lomond import WebSocket
from lomond.server import Server
from tests.network.driving import read_to_close
from tests.support import RawServer, answer_upgrade, make_close, make_frame

OBJECT = {u'size': 0.5, u'name': u'caf\xe9 \U0001f600', u'others': [1, None, True]}


def write(value):
    """Write numbers that were read as they are written, too."""
    return json.dumps(value, default=float)


def write_bytes(value):
    """Write JSON as some libraries do: in UTF-8."""
    text = json.dumps(value, default=float, ensure_ascii=False)
    return text if isinstance(text, bytes) else text.encode('utf-8')


@pytest.fixture(params=['text', 'bytes', 'orjson'])
def library(request):
    """A reader and a writer."""
    if request.param == 'orjson':
        orjson = pytest.importorskip('orjson')
        return {'json_loads': orjson.loads, 'json_dumps': orjson.dumps}
    return {'json_loads': json.JSONDecoder(parse_float=Decimal).decode,
            'json_dumps': write_bytes if request.param == 'bytes' else write}


@pytest.mark.parametrize('compress', [False, True])
def test_objects_go_both_ways_by_the_library_named_at_both_ends(library, compress):
    asked, answered = [], []

    def answer(websocket):
        for event in websocket:
            if event.name == 'text':
                asked.append(event.json)
                websocket.send_json([event.json])

    with Server(answer, compress=compress, **library) as server:
        websocket = WebSocket(server.url, proxies={}, compress=compress, **library)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_json(OBJECT)
                websocket.send_json(name=OBJECT[u'name'])
            elif event.name == 'text':
                answered.append(event.json)
                if len(answered) == 2:
                    websocket.close()
        assert event.graceful
    assert asked == [OBJECT, {u'name': OBJECT[u'name']}]
    assert answered == [[value] for value in asked]
    assert type(asked[0][u'size']) is type(answered[0][0][u'size']) is type(
        library['json_loads'](u'0.5'))


@pytest.mark.parametrize('written, payload', [
    (u'["caf\xe9"]', b'["caf\xc3\xa9"]'), (b'["caf\xc3\xa9"]', b'["caf\xc3\xa9"]'), (b'', b'')])
def test_what_the_writer_returns_goes_out_as_a_text_message(written, payload):
    objects, frames = [], []

    def write_it(value):
        objects.append(value)
        return written

    def script(sock):
        answer_upgrade(sock)
        frames.extend(read_to_close(sock))
        sock.sendall(make_close(1000))

    with RawServer(script) as server:
        websocket = WebSocket(server.url, json_dumps=write_it)
        for event in websocket:
            if event.name == 'ready':
                websocket.send_json(a=1)
                websocket.send_json([1])
                websocket.close()
    assert objects == [{'a': 1}, [1]]
    assert frames[:-1] == [(0x81, payload)] * 2


def test_a_text_that_orjson_cannot_read_raises_value_error_and_the_loop_goes_on():
    orjson = pytest.importorskip('orjson')

    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_frame(1, b'{') + make_frame(1, b'{}') + make_close(1000))
        read_to_close(sock)

    read = []
    with RawServer(script) as server:
        for event in WebSocket(server.url, json_loads=orjson.loads):
            if event.name == 'text':
                try:
                    read.append(event.json)
                except ValueError as error:
                    read.append(type(error))
    assert read == [orjson.JSONDecodeError, {}]


def test_what_orjson_cannot_write_raises_type_error():
    orjson = pytest.importorskip('orjson')
    websocket = WebSocket('ws://localhost/', json_dumps=orjson.dumps)
    for value in (object(), u'\ud800'):
        with pytest.raises(TypeError):
            websocket.send_json(value)
