"""Helps to test programs that use lomond, and lomond itself: no server, no sleep, no private name.

- `Clock`: a clock that a test puts forward, instead of waiting for pings and timeouts.
- `open_over`: a WebSocket that is open over a socket, without a handshake.
- `Inside`, `InsideLoop`: what a WebSocket, or one in an event loop, is made of, for tests that
  have to interfere with it.

The package itself never imports this.
"""

from __future__ import absolute_import, division, print_function

from lomond.testing.clock import Clock
from lomond.testing.inside import Inside, InsideLoop
from lomond.testing.opening import open_over

__all__ = ['Clock', 'Inside', 'InsideLoop', 'open_over']
