"""Drives a WebSocket's connection in the caller's thread."""

from __future__ import absolute_import, division, print_function

from lomond.engine.session import WebsocketSession

__all__ = ['WebsocketSession']
