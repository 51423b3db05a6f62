"""TLS contexts for servers. Importing this module imports ssl."""

from __future__ import absolute_import, division, print_function

from lomond.net.tls.contexts import server_context

__all__ = ['server_context']
