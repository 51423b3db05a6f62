"""Which modules are compiled, where, and the hash of their sources: for setup.py, tests, checks."""

from __future__ import absolute_import, division, print_function

import ast
import hashlib
import io
import os
import platform
import re
import shlex
import shutil
import sys
import sysconfig

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def unsupported():
    """Return why no module is compiled for this Python, or None."""
    if platform.python_implementation() != 'CPython' or sys.version_info < (3, 9):
        return 'the modules are compiled for CPython 3.9 or newer only'
    if sysconfig.get_config_var('Py_GIL_DISABLED'):
        return 'the modules are not compiled for free-threaded Python, where nobody tests them'
    return None


def find_obstacle():
    """Return why no module can be compiled here, or None."""
    obstacle = unsupported()
    if obstacle is None:
        command = os.environ.get('CC') or sysconfig.get_config_var('CC') or 'cc'
        if shutil.which(shlex.split(command)[0]) is None:
            obstacle = 'there is no C compiler'
    return obstacle


def modules():
    """Return `lomond._core.MODULES` without importing lomond: six and certifi may be missing."""
    with io.open(os.path.join(ROOT, 'lomond', '_core.py'), encoding='utf-8') as source:
        found = re.search(r'^MODULES = (\(.*?\))$', source.read(), re.DOTALL | re.MULTILINE)
    return ast.literal_eval(found.group(1))


def source(name):
    """Return the path, relative to the root, of the file from which a module is compiled."""
    stem = name.replace('.', '/')
    return stem + ('.pyx' if os.path.exists(os.path.join(ROOT, stem + '.pyx')) else '.py')


def hash_sources():
    """Return the SHA-256 of the modules' sources and of every .pxd file, in hex."""
    paths = {source(name) for name in modules()}
    for folder, _folders, names in os.walk(os.path.join(ROOT, 'lomond')):
        paths.update(
            os.path.relpath(os.path.join(folder, name), ROOT).replace(os.sep, '/')
            for name in names if name.endswith('.pxd'))
    digest = hashlib.sha256()
    for path in sorted(paths):
        with open(os.path.join(ROOT, *path.split('/')), 'rb') as opened:
            content = opened.read()
        digest.update('{} {}\n'.format(path, len(content)).encode('utf-8') + content)
    return digest.hexdigest()
