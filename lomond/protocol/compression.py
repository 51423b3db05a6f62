"""The earlier path of `lomond.extensions.DeflateOptions`."""

from __future__ import absolute_import, division, print_function

from lomond.protocol.extensions.permessage_deflate import DeflateOptions

__all__ = ['DeflateOptions']
