"""docs/coming-from/lomond-0.3.md: what the documents of 0.3 offer is in code that runs.

Each thing has a number here, in the order of those documents.
"""

from __future__ import absolute_import, division, print_function

import re

import pytest

import lomond
from lomond import WebSocket, errors, events
from lomond.opcode import Opcode
from lomond.persist import persist
from lomond.response import Response
from lomond.sansio import SERVER, Connection
from lomond.server import Server
from lomond.session import WebsocketSession
from lomond.status import Status
from tests.network.doc_cells import raises, read_page, rows, run_cell
from tests.network.test_docs import blocks
from tests.support import PATIENCE, accept_for

pytestmark = pytest.mark.usefixtures('clean_environment')

#: How many things these documents offer.
COUNT = 67

#: What is in a cell of the table: by the first cell of its row.
IN_CELLS = {
    '`pip install lomond`': [1],
    'wsaccel': [2],
    '`from lomond.websocket import WebSocket`': [5],
    'parameters by position': [55],
    'those of `connect`': [59],
    'those of `persist`': [50],
    '`lomond.persist.random`': [52],
    "an exception in the loop's body": [12],
    '`HTTP_PROXY`, `HTTPS_PROXY`': [27],
    'events by position, and by keyword': [41],
    '`event.json`': [42],
    '`UnknownMessage`': [48],
    '`ConnectFail(msg, *args, **kwargs)`, and the other exceptions': [33],
    '`HandshakeError`, `CompressionParameterError`': [34, 35],
    '`FrameBuildError`': [36],
    '`PayloadTooLarge`, `ProtocolError`, `CriticalProtocolError`': [37],
    '`WebSocketUnavailable`, `WebSocketClosed`, `TransportFail`': [38, 39],
    '`send_text`, `send_binary`': [64],
    '`send_json`': [65],
    '`send_ping`, `send_pong`': [66],
    '`close(code, reason)`': [58, 67],
    '`force_disconnect()`': [61],
    '`is_active`, `is_closing`, `is_closed`, `is_secure`': [62],
    '`build_request()`': [57],
    '`feed(data)`': [60],
    '`on_response`, `process_extensions`, `on_disconnect`, `reset`': [63],
    '`Response(bytes)`': [54],
    '`Status`': [53],
}

#: What is in a program of the docs, all of which `test_docs` runs.
IN_BLOCKS = {
    3: "websocket.send_json(type='subscribe', channel='prices')",
    6: 'for event in websocket:',
    7: 'print(event)',
    8: "websocket.send_binary(b'bytes')",
    9: "for event in WebSocket('wss://example.org/feed').connect(",
    10: 'if isinstance(event, events.Text):',
    11: "elif event.name in ('connect_fail', 'rejected', 'disconnected'):",
    13: 'except Exception:\n        logging.exception(',
    14: ', compress=True)',
    15: ', compress=False)',
    16: 'websocket.supports_compression',
    17: 'websocket.close()',
    18: 'websocket.close()\nthread.join()',
    19: 'except WebSocketClosing:',
    20: 'close_timeout=5',
    21: "elif event.name == 'closing':\n        websocket.send_text(",
    22: 'event.graceful',
    23: 'ping_rate=20',
    24: 'auto_pong=False',
    25: 'websocket.send_pong(',
    26: 'poll=0.5',
    28: "'https': 'http://me:secret@proxy.example.org:3128'",
    29: "websocket.send_text(u'from the main thread')",
    30: 'threading.Thread(target=run)',
    31: 'in persist(websocket',
    32: 'event.delay',
    40: 'event.phase, event.reason',
    43: 'print(event.code, event.reason)',
    44: "if event.name == 'connect_fail':",
    45: "elif event.name == 'protocol_error':",
    46: 'print(event.protocol)',
    47: 'event.response.status_code',
    49: "if event.name == 'unresponsive':",
    51: 'exit_event=exit_event',
    56: "websocket.add_header(b'Origin'",
}

#: A program that tests/network/test_examples.py runs.
PROGRAMS = {4: 'python -m lomond.examples.btcticker'}


def table():
    page = read_page('coming-from/lomond-0.3.md')
    return list(rows(page[page.index('\n## What stays'):]))


def test_everything_that_lomond_offered_is_there():
    numbers = [number for numbers in IN_CELLS.values() for number in numbers]
    numbers += list(IN_BLOCKS) + list(PROGRAMS)
    assert sorted(numbers) == list(range(1, COUNT + 1))
    assert {row[0] for row in table()} == set(IN_CELLS)


@pytest.mark.parametrize('number', sorted(IN_BLOCKS))
def test_a_program_of_the_docs_shows_it(number):
    assert any(IN_BLOCKS[number] in block.values[1] for block in blocks())


def accept(websocket):
    """Return a server's 101 to the request of a WebSocket."""
    key = re.search(b'Sec-WebSocket-Key: (.*)\r\n', websocket.build_request()).group(1)
    return (b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
            b'Sec-WebSocket-Accept: ' + accept_for(key) + b'\r\n\r\n')


def hold(websocket):
    for _event in websocket:
        pass


@pytest.fixture
def here():
    """What the page says that the names in the cells are."""
    connection = Connection(SERVER)
    connection.accept()
    with Server(hold) as server, WebSocket(server.url) as websocket:
        websocket.open(PATIENCE)
        yield {
            'Opcode': Opcode, 'Response': Response, 'Status': Status, 'WebSocket': WebSocket,
            'WebsocketSession': WebsocketSession, 'answer_to': accept, 'connection': connection,
            'connected': events.Connected(server.url), 'errors': errors, 'events': events,
            'lomond': lomond, 'persist': persist, 'raises': raises,
            'response': Response(accept(websocket)), 'url': server.url, 'websocket': websocket}


@pytest.mark.parametrize('code', [pytest.param(row[1], id=row[0]) for row in table()])
def test_the_code_of_a_row_runs(code, here):
    run_cell(code, here)
