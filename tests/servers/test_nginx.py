"""nginx: the answers that it makes itself, and its reload."""

from __future__ import absolute_import, division, print_function

import signal

import pytest

from lomond.persist import persist
from tests.servers import fronts
from tests.support import names


@pytest.fixture
def nginx(ports, server_pem):
    with fronts.nginx(*ports, pem=server_pem) as program:
        yield program


def test_without_a_server_behind_it_a_502_is_told_with_its_body(nginx, dial):
    events = list(dial(nginx, '/down'))
    assert names(events) == ['connecting', 'connected', 'rejected', 'disconnected']
    assert events[2].response.status_code == 502
    assert b'502 Bad Gateway' in events[2].response.body
    assert not events[3].graceful


def test_a_reload_leaves_the_connection_its_time_then_persist_comes_back(nginx, dial):
    websocket = dial(nginx)
    seen = []
    for event in persist(websocket, min_wait=0.01, max_wait=0.05):
        seen.append(event)
        if event.name == 'ready' and 'disconnected' not in names(seen):
            # What `nginx -s reload` sends. The worker that has the connection ends, later.
            nginx.process.send_signal(signal.SIGHUP)
            websocket.send_text(u'old')
        elif event.name == 'ready':
            websocket.send_text(u'new')
        elif event.name == 'text' and event.text == u'new':
            websocket.close()
    assert names(seen) == [
        'connecting', 'connected', 'ready', 'text', 'disconnected', 'back_off',
        'connecting', 'connected', 'ready', 'text', 'closed', 'disconnected']
    assert [event.text for event in seen if event.name == 'text'] == [u'old', u'new']
    assert [event.graceful for event in seen if event.name == 'disconnected'] == [False, True]
