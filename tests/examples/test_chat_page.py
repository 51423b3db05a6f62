"""examples/chat_page.py, without a browser. (tests/browsers/ has the page.)"""

from __future__ import absolute_import, division, print_function

import contextlib
import signal

import pytest
from six.moves.urllib.request import urlopen

from lomond import WebSocket, errors
from tests.examples.running import Program
from tests.support import PATIENCE

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]


@pytest.fixture
def chat():
    """The running program; ``url`` is what it printed."""
    with Program('examples/chat_page.py', '--port', '0') as program:
        program.url = program.read_line().rstrip('/')
        yield program


def connect(chat, **options):
    websocket = WebSocket(chat.url.replace('http', 'ws') + u'/chat', **options)
    websocket.open(PATIENCE)
    assert websocket.receive(PATIENCE) == u'(one more is here)'
    return websocket


def test_the_page_is_served(chat):
    with contextlib.closing(urlopen(chat.url, timeout=PATIENCE)) as page:
        assert b'new WebSocket(' in page.read()


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_what_one_says_goes_to_all_until_a_signal_ends_it(chat, number):
    clients = [connect(chat, headers={'Origin': chat.url}) for _ in range(2)]
    clients[0].send_text(u'hello')
    assert clients[1].receive(PATIENCE) == u'hello'
    chat.send_signal(number)
    for client in clients:
        with pytest.raises(errors.WebSocketClosed) as caught:
            while client.receive(PATIENCE):
                pass
        assert caught.value.code == 1001
    assert chat.finish() == (0, [], [])


@pytest.mark.parametrize('headers', [{}, {'Origin': 'https://evil.example'}])
def test_only_its_own_page_may_connect(chat, headers):
    with pytest.raises(errors.Rejected) as caught:
        connect(chat, headers=headers)
    assert caught.value.response.status_code == 403


def test_a_port_that_is_taken_is_one_line_and_status_1(chat):
    port = chat.url.rsplit(':', 1)[1]
    with Program('examples/chat_page.py', '--port', port) as other:
        status, output, errors = other.finish()
    assert (status, output) == (1, [])
    line, = errors
    assert port in line and 'Address already in use' in line
