"""docs/howto/: which ends `persist` retries, and how soon a dead peer is noticed, as they say."""

from __future__ import absolute_import, division, print_function

import re
import threading

import pytest

from lomond import WebSocket
from lomond._compat import monotonic
from lomond.engine.timers import Timers
from lomond.persist import ReconnectPolicy, persist
from tests.network.doc_cells import read_page, rows
from tests.network.driving import drain, read_to_close
from tests.network.test_guide import default_of
from tests.support import (
    PATIENCE,
    RawServer,
    answer_upgrade,
    make_close,
    make_frame,
    names,
    read_frame,
    read_head,
)

pytestmark = pytest.mark.usefixtures('clean_environment')

FAST = {'min_wait': 0, 'max_wait': 0}


def table_of(page, headline):
    """Return the rows of the first table under a headline, without its head."""
    text = read_page(page)
    text = text[text.index('\n## {}\n'.format(headline)):]
    text = text[text.index('\n|') + 1:]
    return list(rows(text.split('\n\n')[0]))


# -- which ends are retried --

def accept_and(*sent):
    """Make a script that accepts, sends this, and waits for the client's end."""
    def script(sock):
        answer_upgrade(sock)
        for data in sent:
            sock.sendall(data)
        drain(sock)
    return script


def refuse(sock):
    read_head(sock)
    sock.sendall(b'HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n')


def close_with(code):
    def script(sock):
        answer_upgrade(sock)
        sock.sendall(make_close(code))
        read_to_close(sock)
    return script


def leave(_websocket):
    raise LookupError


def fail():
    raise OSError('there is no connection')


#: For each row, by a part of its first cell: the server's script (None: there is no server), the
#: options of the loop, what the loop's body does at Ready, and the policy that gives up.
ENDS = {
    'ConnectFail': (None, {}, None, {'max_attempts': 1}),
    'Rejected': (refuse, {}, None, {'stop_on_status': [401]}),
    '1000': (close_with(1000), {}, None, {'stop_on_code': [1000]}),
    'another code': (close_with(1013), {}, None, {'stop_on_code': [1013]}),
    'broke,': (answer_upgrade, {}, None, {'max_attempts': 1}),
    'ProtocolError': (accept_and(make_frame(3)), {}, None, {'max_attempts': 1}),
    'Unresponsive': (
        accept_and(), {'ping_rate': 0.02, 'ping_timeout': 0.05}, None, {'max_attempts': 1}),
    'idle_timeout': (
        accept_and(), {'idle_timeout': 0.05, 'stale_disconnects': True}, None,
        {'max_attempts': 1}),
    'max_age': (accept_and(), {'max_age': 0.05, 'close_timeout': 0.05}, None, None),
    'force_disconnect': (accept_and(), {}, WebSocket.force_disconnect, {'max_attempts': 1}),
    '`close()`': (accept_and(), {'close_timeout': 0.05}, WebSocket.close, None),
    'exit_event': (accept_and(), {'close_timeout': 0.05, 'poll': 0.02}, 'exit_event', None),
    'exception': (accept_and(), {}, leave, None),
}


def end_of(what):
    """Return the entry of `ENDS` for a row."""
    found = [value for key, value in ENDS.items() if key in what]
    assert len(found) == 1, what
    return found[0]


def run(what, policy=None):
    """Connect by `persist`, up to the second attempt; return the events."""
    script, options, act, _give_up = end_of(what)
    exit_event = threading.Event()
    if policy is None:
        options = dict(options, **FAST)
    else:
        options = dict(options, policy=policy)
    with RawServer(script or drain) as server:
        websocket = WebSocket(
            server.url if script else 'ws://127.0.0.1:1/', sock=None if script else fail)
        seen = []
        try:
            for event in persist(websocket, exit_event=exit_event, **options):
                seen.append(event)
                if event.name == 'ready' and act is not None:
                    exit_event.set() if act == 'exit_event' else act(websocket)
                if event.name == 'connecting' and len(seen) > 1:
                    break
        except LookupError:
            pass
        websocket.force_disconnect()
    return names(seen)


@pytest.mark.parametrize('what, outcome', [
    pytest.param(row[0], row[1], id=row[0])
    for row in table_of('howto/reconnecting.md', 'Which ends it retries')])
def test_persist_retries_what_the_page_says(what, outcome):
    seen = run(what)
    if outcome == 'ends':
        assert 'back_off' not in seen and seen.count('connecting') == 1
    else:
        assert outcome.startswith('connects again')
        assert seen[-2:] == ['back_off', 'connecting']
    for name in re.findall('`([A-Z][A-Za-z]+)`', what):
        assert re.sub('(?<=.)(?=[A-Z])', '_', name).lower() in seen


@pytest.mark.parametrize('what, option', [
    pytest.param(row[0], option, id=row[0])
    for row in table_of('howto/reconnecting.md', 'Which ends it retries')
    for option in re.findall('`(.*?)`', row[2]) if option != 'max_outage'])
def test_a_policy_gives_up_by_what_the_page_says(what, option):
    give_up = end_of(what)[3]
    assert list(give_up) == [option]
    assert run(what, ReconnectPolicy(**dict(FAST, **give_up)))[-1] == 'gave_up'


# -- how soon a dead peer is noticed --

def delay(ping_rate, ping_timeout, death):
    """Return after how long a peer is noticed that answers pings at once, and dies at a time."""
    timers = Timers(0.0, None, ping_rate, ping_timeout)
    while True:
        now = min(timers.next_ping, timers.dead_at)
        if timers.ping_is_due(now):
            timers.asked(now)
            if now < death:
                timers.last_received = now
        if timers.is_silent(now):
            return now - death


def numbers(row):
    return [None if cell == 'None' else cell if cell == 'never' else int(cell) for cell in row]


@pytest.mark.parametrize('row', [
    numbers(row)
    for row in table_of('howto/dead-connections.md', 'How soon a dead peer is noticed')])
def test_a_dead_peer_is_noticed_as_soon_as_the_page_says(row):
    ping_rate, ping_timeout, earliest, latest = row
    if earliest == 'never':
        timers = Timers(0.0, None, ping_rate, ping_timeout)
        assert timers.dead_at == float('inf')
        timers.asked(1.0)
        assert not timers.is_silent(1e9)
        return
    assert earliest == ping_timeout - min(ping_rate, ping_timeout / 2)
    assert latest == ping_timeout
    # From the first ping on; a peer that dies at a time dies before the ping of that time.
    interval = min(ping_rate, ping_timeout // 2)
    delays = [delay(ping_rate, ping_timeout, interval + 0.01 * step)
              for step in range(1, 100 * interval + 1)]
    assert min(delays) == pytest.approx(earliest)
    assert max(delays) == pytest.approx(latest, abs=0.02)


def test_a_dead_peer_is_noticed_in_real_time():
    deaths = []

    def script(sock):
        answer_upgrade(sock)
        for _ in range(3):
            assert read_frame(sock)[0] == 0x89
            deaths.append(monotonic())
            sock.sendall(make_frame(10))
        drain(sock)

    with RawServer(script) as server:
        for event in WebSocket(server.url).connect(ping_rate=0.1, ping_timeout=0.3):
            if event.name == 'unresponsive':
                noticed = monotonic()
    assert 0.3 - 0.02 <= noticed - deaths[-1] < 0.3 + PATIENCE / 2


def test_the_options_have_the_defaults_of_the_page():
    text = read_page('howto/dead-connections.md')
    text = text[text.index('switches each off'):]
    for option, default, _words in rows(text):
        name = option.strip('`')
        function = WebSocket.__init__ if name == 'tcp_keepalive' else WebSocket.connect
        assert str(default_of(function, name)).replace('.0', '') == default
