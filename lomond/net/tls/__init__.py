"""TLS on a transport. This package alone imports ssl; the first wss connection imports it.

Other modules of lomond import from the modules in here, not from here: if no descriptor is left to
read an ``__init__`` by, 2.7 makes an empty package without an error.
"""

from __future__ import absolute_import, division, print_function

from lomond.net.tls.contexts import client_context, server_context

__all__ = ['client_context', 'server_context']
