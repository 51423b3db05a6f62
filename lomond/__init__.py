"""A blocking WebSocket client whose loop is a plain ``for`` statement.

    for event in WebSocket('wss://example.org/feed'):
        if event.name == 'text':
            print(event.text)

The public names, and nothing else.
"""

import logging as _logging

__version__ = '1.0.0.dev0'

from lomond.websocket import WebSocket

__all__ = ['WebSocket', '__version__']

# A library stays silent unless the application asks for its log.
_logging.getLogger(__name__).addHandler(_logging.NullHandler())
