"""The server's answer to the upgrade request, as events carry it."""

from __future__ import absolute_import, division, print_function

from lomond.http.headers import Headers
from lomond.http.response import Response

__all__ = ['Headers', 'Response']
