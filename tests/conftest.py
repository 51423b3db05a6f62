"""Fixtures that every room of tests may use."""

from __future__ import absolute_import, division, print_function

import gc
import os
import signal
import socket
import ssl
import zlib

import pytest
import trustme
from hypothesis import given, settings
from hypothesis.strategies import none

import lomond
from lomond._core import why_pure
from lomond.protocol import accel
from tests import sources
from tests.sampling import SHARES_COSTLY, SHARES_SOCKETS, share, share_costly

try:
    from zlib_ng import zlib_ng
except ImportError:
    zlib_ng = None

# Folders of tests without sockets and processes.
QUICK = ('tests/unit/', 'tests/protocol/', 'tests/property/')

# A shell has what runs in the background ignore Ctrl-C and Ctrl-\, and its children too: some
# tests are about just these.
for _number, _handler in (
        (signal.SIGINT, signal.default_int_handler), (signal.SIGQUIT, signal.SIG_DFL)):
    if signal.getsignal(_number) == signal.SIG_IGN:
        signal.signal(_number, _handler)


def pytest_configure():
    """Run no test on modules other than those that are meant to be tested."""
    if sources.are_stale():
        raise pytest.UsageError(
            'the compiled modules are not built from these sources: run `make compiled` again, or '
            '`make pure` to remove them')
    wanted = os.environ.get('LOMOND_TESTED')
    if wanted and (wanted == 'compiled') != lomond.accelerated:
        raise pytest.UsageError('LOMOND_TESTED={}, but lomond is {}'.format(
            wanted, 'compiled' if lomond.accelerated else 'pure Python: {}'.format(why_pure)))


def pytest_collection_modifyitems(config, items):
    """Leave most of the tests that take long to other Pythons, in `make test-all`."""
    if SHARES_SOCKETS:
        shared = [item for item in items if not item.nodeid.startswith(QUICK)]
        taken = set(share(shared))
    elif SHARES_COSTLY:
        shared = [item for item in items if item.get_closest_marker('costly')]
        taken = set(share_costly(shared))
    else:
        return
    others = set(shared) - taken
    config.hook.pytest_deselected(items=list(others))
    items[:] = [item for item in items if item not in others]


def pytest_collection_finish():
    """Let no collection of garbage look at the thousands of tests again: many tests make one."""
    # Hypothesis looks for referrers of random generators, once: then they can't be frozen yet.
    _draw_nothing()
    _freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Nor at what the tests of this module have left to stay, such as modules."""
    if nextitem is None or nextitem.location[0] != item.location[0]:
        _freeze()


def _freeze():
    if hasattr(gc, 'freeze'):       # not on 2.7, 3.6, and PyPy
        gc.collect()
        gc.freeze()


@settings(database=None, deadline=None, max_examples=1)
@given(none())
def _draw_nothing(_none):
    pass


@pytest.fixture(scope='session')
def authority():
    """A certificate authority made for this run."""
    return trustme.CA()


@pytest.fixture(scope='session')
def authority_file(authority, tmpdir_factory):
    """The path of the authority's certificate, in PEM."""
    path = tmpdir_factory.mktemp('tls').join('authority.pem')
    authority.cert_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture(scope='session')
def server_tls(authority):
    """A server's TLS context, for localhost and 127.0.0.1."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost', u'127.0.0.1').configure_cert(context)
    return context


@pytest.fixture(scope='session')
def server_pem(authority, tmpdir_factory):
    """The path of a key and certificates, for localhost and 127.0.0.1."""
    path = tmpdir_factory.mktemp('tls').join('server.pem')
    certificate = authority.issue_cert(u'localhost', u'127.0.0.1')
    certificate.private_key_and_cert_chain_pem.write_to_path(str(path))
    return str(path)


@pytest.fixture
def dead_port():
    """A port of 127.0.0.1 on which nobody listens."""
    sock = socket.socket()
    sock.bind(('127.0.0.1', 0))
    yield sock.getsockname()[1]
    sock.close()


@pytest.fixture
def unread_pipe():
    """The descriptor of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


@pytest.fixture(scope='module', params=['zlib', 'zlib-ng'])
def deflate_library(request):
    """The module that deflates and inflates, each in turn."""
    library = {'zlib': zlib, 'zlib-ng': zlib_ng}[request.param]
    if library is None:
        pytest.skip('zlib-ng has no wheel for this Python: see requirements/test.txt')
    before = accel.use_zlib(library)
    yield library
    accel.use_zlib(before)


@pytest.fixture
def clean_environment(monkeypatch):
    """No proxies and no authorities but those of the test."""
    for name in ('HTTP_PROXY', 'HTTPS_PROXY', 'WS_PROXY', 'WSS_PROXY', 'ALL_PROXY', 'NO_PROXY',
                 'SSL_CERT_FILE', 'SSL_CERT_DIR'):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.delenv('REQUEST_METHOD', raising=False)
