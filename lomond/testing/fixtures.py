"""Fixtures for pytest, which a project asks for in its conftest.py; nothing loads them otherwise.

    pytest_plugins = ['lomond.testing.fixtures']

Each ends with its test, and shares nothing with another one: they work under pytest-xdist.
"""

from __future__ import absolute_import, division, print_function

import pytest

from lomond._compat import TYPE_CHECKING
from lomond.testing.back_offs import skip_back_offs
from lomond.testing.clock import Clock
from lomond.testing.redirecting import redirect
from lomond.testing.scripted import ScriptedServer

if TYPE_CHECKING:
    from typing import Any, Callable, Iterator, List  # noqa: F401


@pytest.fixture
def lomond_server():
    # type: () -> Iterator[Callable[..., ScriptedServer]]
    """Return a function that starts a `ScriptedServer`, with its arguments.

    Once the test is over, each is stopped, and what was not met is an error of the test.
    """
    servers = []  # type: List[ScriptedServer]

    def start(*scripts, **options):
        # type: (*Any, **Any) -> ScriptedServer
        server = ScriptedServer(*scripts, **options)
        servers.append(server.__enter__())
        return server

    yield start
    for server in reversed(servers):
        server.stop()
    for server in servers:
        server.check()


@pytest.fixture
def lomond_redirect():
    # type: () -> Iterator[Callable[[Any], None]]
    """Return a function that redirects until the test is over, with the argument of `redirect`."""
    blocks = []  # type: List[Any]

    def start(servers):
        # type: (Any) -> None
        block = redirect(servers)
        block.__enter__()
        blocks.append(block)

    yield start
    while blocks:
        blocks.pop().__exit__(None, None, None)


@pytest.fixture
def lomond_back_offs():
    # type: () -> Iterator[List[float]]
    """Skip the back-offs of the test; the list of the delays that were skipped."""
    with skip_back_offs() as delays:
        yield delays


@pytest.fixture
def lomond_clock():
    # type: () -> Clock
    """Return a `Clock`."""
    return Clock()
