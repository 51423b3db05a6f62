"""Every target by its name, which is also that of its corpus.

A target is called with bytes. Its docstring says how it reads them, and which
exceptions are documented for what it tries; it lets no other pass unnoticed.
"""

from __future__ import absolute_import, division, print_function

import os

from fuzz import builds, heads, names, wire

TARGETS = {
    'builds': builds.builds,
    'close': wire.close,
    'connection': wire.connection,
    'cookies': names.cookies,
    'extensions': heads.extensions,
    'headers': names.headers,
    'location': names.location,
    'netrc': names.netrc,
    'proxy': heads.proxy,
    'receive_buffer': wire.receive_buffer,
    'request': heads.request,
    'response': heads.response,
    'transforms': wire.transforms,
    'url': names.url,
}

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'corpus')


def seeds(name):
    """Return the paths of a target's seeds."""
    folder = os.path.join(CORPUS, name)
    return [os.path.join(folder, seed) for seed in sorted(os.listdir(folder))]


def replay(name, path):
    """Give a target the bytes of a file; raises what it finds."""
    with open(path, 'rb') as seed:
        TARGETS[name](seed.read())
