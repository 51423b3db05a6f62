"""From a URL to a connected, secured byte stream.

Nothing in this package deals with frames, or imports lomond.protocol.
"""
