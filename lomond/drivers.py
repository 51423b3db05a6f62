"""What a driver of your own needs: sessions that never wait, and what they wait for.

A driver owns the waiting, and calls a session's `begin`, `step` and `dispose`;
docs/howto/own-driver.md shows one.
"""

from __future__ import absolute_import, division, print_function

from lomond.engine.stepped import QueuedClientSession
from lomond.net.waiter import READ, WRITE

__all__ = ['QueuedClientSession', 'READ', 'WRITE']
