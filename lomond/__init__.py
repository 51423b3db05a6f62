"""A blocking WebSocket client whose loop is a plain ``for`` statement.

    for event in WebSocket('wss://example.org/feed'):
        if event.name == 'text':
            print(event.text)

This module has public names only.
"""

import logging as _logging

__version__ = '1.0.0.dev0'

from lomond._compat import show_warnings as _show_warnings
from lomond._core import accelerated  # before any module that is compiled
from lomond.websocket import WebSocket

__all__ = ['WebSocket', '__version__', 'accelerated']

# An exception in the application's handler or tracer must not go unnoticed.
_show_warnings(_logging.getLogger(__name__))
