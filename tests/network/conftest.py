"""Fixtures of the tests on real connections."""

from __future__ import absolute_import, division, print_function

import gc
import os

import pytest


@pytest.fixture
def clean_environment(monkeypatch):
    """No proxies and no authorities but those of the test."""
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY', 'SSL_CERT_FILE', 'SSL_CERT_DIR'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv('REQUEST_METHOD', raising=False)


@pytest.fixture
def nothing_is_left_open():
    """Every descriptor is closed by the end of the test."""
    if not os.path.isdir('/proc/self/fd'):
        yield       # a ResourceWarning tells, on 3.x
        gc.collect()
        return
    before = len(os.listdir('/proc/self/fd'))
    yield
    # Without a collection: a socket that only the collector closes was left open.
    assert len(os.listdir('/proc/self/fd')) <= before
