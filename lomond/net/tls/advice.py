"""What a user can do about TLS that failed: the option that would help, or the scheme.

Reads errors, options and the environment; connects to nothing.
"""

from __future__ import absolute_import, division, print_function

import os
import ssl

from lomond._compat import TYPE_CHECKING
from lomond._describe import describe
from lomond.net.tls.contexts import find_authorities

if TYPE_CHECKING:
    from typing import Optional, Text  # noqa: F401

    from lomond.net.options import TLSOptions  # noqa: F401

# What OpenSSL finds wrong with a certificate (x509_vfy.h): its signer, its dates, its name.
_UNTRUSTED = frozenset([2, 18, 19, 20, 21])
_OUT_OF_TIME = frozenset([9, 10])
_OTHER_NAME = frozenset([62, 64])

# OpenSSL's words for a first record that isn't one.
_NOT_TLS = ('wrong version number', 'unknown protocol', 'http request', 'https proxy request')

_TIME_ADVICE = u'the certificate has expired or is not valid yet, or the clock here is wrong'


def explain_failure(error, options, host, phase):
    # type: (BaseException, TLSOptions, Text, str) -> Text
    """Return why TLS with a host failed, and what to do about it if that is known.

    Parameters: one of `TLS_ERRORS`; the options that were used; the phase, 'tls' or 'proxy'.
    """
    words = describe(error)
    if speaks_no_tls(error):
        peer, scheme = (u'proxy', u'http') if phase == 'proxy' else (u'server', u'ws')
        words = u"the {} doesn't speak TLS on this port: use {}:// ({})".format(
            peer, scheme, words)
    else:
        advice = _advise(error, options, phase)
        if advice is not None:
            words += u': ' + advice
    return u'TLS with {} failed: {}'.format(host, words)


def speaks_no_tls(error):
    # type: (BaseException) -> bool
    """Return whether a handshake failed because the peer speaks something else on this port."""
    words = describe(error)
    return isinstance(error, ssl.SSLError) and any(known in words for known in _NOT_TLS)


def _advise(error, options, phase):
    # type: (BaseException, TLSOptions, str) -> Optional[Text]
    """Return what to do about an error, None if that isn't known."""
    reason = getattr(error, 'reason', None)
    code = getattr(error, 'verify_code', None)
    if code in _OTHER_NAME \
            or isinstance(error, ssl.CertificateError) and not isinstance(error, ssl.SSLError):
        advice = u'the certificate is for another name'
        if phase == 'tls':      # a proxy's is that of its URL
            advice += u': if that is the right one, give it as ssl_server_hostname'
        return advice
    if code in _OUT_OF_TIME:
        return _TIME_ADVICE
    if code in _UNTRUSTED:
        return _name_trusted(options)
    if reason == 'CERTIFICATE_VERIFY_FAILED' and code is None:
        # Up to 3.6 Python says no more.
        return u'{}; or {}'.format(_name_trusted(options), _TIME_ADVICE)
    return None


def _name_trusted(options):
    # type: (TLSOptions) -> Text
    """Return which authorities are trusted, and how to trust another, in words."""
    if options.context is not None:
        return u'load the authority that signed the certificate into your ssl_context'
    if options.cafile is not None:
        return u'the authority that signed the certificate is not in ssl_cafile, {!r}'.format(
            options.cafile)
    cafile, capath = find_authorities()
    if os.environ.get('SSL_CERT_FILE') or os.environ.get('SSL_CERT_DIR'):
        trusted = u'what SSL_CERT_FILE or SSL_CERT_DIR names, {!r}'.format(cafile or capath)
    else:
        trusted = u"certifi's, {!r}".format(cafile)
    return (u'the authority that signed the certificate is not among those trusted here ({}): '
            u"pass that authority's certificate as ssl_cafile".format(trusted))
