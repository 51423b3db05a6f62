"""The package once more, as pure Python, beside the modules that are compiled."""

from __future__ import absolute_import, division, print_function

import importlib
import os
import sys

import lomond


def load_both(names):
    """Return modules by their names, as they are; and as they are if nothing is compiled.

    Those outside the package must import nothing of it by other modules of their own.
    """
    usual = {name: importlib.import_module(name) for name in names}
    if not lomond.accelerated:
        return usual, usual
    kept = {name: module for name, module in sys.modules.items()
            if name.split('.')[0] == 'lomond' or name in names}
    finders, environ = list(sys.meta_path), dict(os.environ)
    _forget(kept)
    os.environ['LOMOND_COMPILED'] = 'no'
    try:
        pure = {name: importlib.import_module(name) for name in names}
    finally:
        _forget([name for name in sys.modules if name in kept or name.startswith('lomond.')])
        sys.modules.update(kept)
        sys.meta_path[:] = finders
        os.environ.pop('LOMOND_COMPILED')
        os.environ.update(environ)
        for name, module in usual.items():
            package, _dot, last = name.rpartition('.')
            setattr(sys.modules[package], last, module)
    return usual, pure


def _forget(names):
    for name in names:
        del sys.modules[name]
