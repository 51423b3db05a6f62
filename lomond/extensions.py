"""Extensions of the protocol, and their options: permessage-deflate (RFC 7692)."""

from __future__ import absolute_import, division, print_function

from lomond.protocol.extensions.permessage_deflate import DeflateOptions

__all__ = ['DeflateOptions']
