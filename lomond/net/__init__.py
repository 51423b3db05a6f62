"""From a URL to a connected, secured byte stream.

Nothing in this room knows of frames, or imports lomond.protocol.
"""
