"""The HTTP response of the server, or of a proxy, as it is in events."""

from __future__ import absolute_import, division, print_function

from lomond.http.headers import Headers
from lomond.http.response import Response

__all__ = ['Headers', 'Response']
