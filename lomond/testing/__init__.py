"""Helps to test programs that use lomond, and lomond itself: no network, no sleep, no private name.

- `ScriptedServer`: a real server that does what a script of steps says: `say`, `expect`, `drop` ...
- `redirect`: has a program whose URLs are fixed connect to such a server.
- `FakeWebSocket`: a WebSocket without a connection, whose events the test gives.
- `replay`, `replay_server`: a FakeWebSocket, and a server, that play a recording (a HAR file).
- `skip_back_offs`: has what reconnects do so without waiting.
- `Clock`: a clock that a test puts forward, instead of waiting for pings and timeouts.
- `open_over`: a WebSocket that is open over a socket, without a handshake.
- `Inside`, `InsideLoop`: what a WebSocket, or one in an event loop, is made of, for tests that
  have to interfere with it.
- `lomond.testing.fixtures`, which isn't imported here: fixtures for pytest.

The package itself never imports this.
"""

from __future__ import absolute_import, division, print_function

from lomond.testing.back_offs import skip_back_offs
from lomond.testing.clock import Clock
from lomond.testing.fake import FakeWebSocket
from lomond.testing.inside import Inside, InsideLoop
from lomond.testing.opening import open_over
from lomond.testing.redirecting import redirect
from lomond.testing.replaying import replay, replay_server
from lomond.testing.scripted import ScriptedServer
from lomond.testing.steps import (
    accept,
    call,
    close,
    drop,
    expect,
    fragment,
    ping,
    raw,
    reject,
    reset,
    say,
    split,
    stall,
    wait,
)

__all__ = [
    'Clock', 'FakeWebSocket', 'Inside', 'InsideLoop', 'ScriptedServer', 'accept', 'call', 'close',
    'drop', 'expect', 'fragment', 'open_over', 'ping', 'raw', 'redirect', 'reject', 'replay',
    'replay_server', 'reset', 'say', 'skip_back_offs', 'split', 'stall', 'wait']
