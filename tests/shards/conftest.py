"""What the tests of shards begin with: a server of feeds, and a Redis that is empty."""

from __future__ import absolute_import, division, print_function

import pytest

from tests.redis_server import run_redis
from tests.shards.feeds_server import Feeds


@pytest.fixture
def feeds():
    with Feeds() as feeds:
        yield feeds


@pytest.fixture
def server():
    with run_redis() as server:
        yield server
