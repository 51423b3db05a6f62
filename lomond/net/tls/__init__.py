"""TLS on a transport. This room alone knows ssl; the first wss connection imports it.

Modules of the package import from the modules in here: 2.7 takes a package whose ``__init__``
it could not read, as no descriptor was left, for an empty one.
"""

from __future__ import absolute_import, division, print_function

from lomond.net.tls.contexts import client_context, server_context

__all__ = ['client_context', 'server_context']
