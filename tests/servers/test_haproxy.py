"""HAProxy: the answer that it makes itself."""

from __future__ import absolute_import, division, print_function

import pytest

from lomond.persist import persist
from tests.servers import fronts
from tests.support import names


@pytest.fixture
def haproxy(ports, server_pem):
    with fronts.haproxy(*ports, pem=server_pem) as program:
        yield program


def test_without_a_server_behind_it_persist_waits_for_the_retry_after_of_its_503(haproxy, dial):
    websocket = dial(haproxy, '/down')
    seen = []
    for event in persist(websocket, min_wait=0):
        seen.append(event)
        if event.name == 'back_off':
            websocket.close()
    assert names(seen) == ['connecting', 'connected', 'rejected', 'disconnected', 'back_off']
    assert seen[2].response.status_code == 503
    assert seen[2].response.body == b'nobody is there'
    assert seen[-1].delay == fronts.RETRY_AFTER
