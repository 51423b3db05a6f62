"""Check the installed lomond: complete, importable, and with no more packages than it requires."""
from __future__ import print_function

import importlib
import os
import pkgutil
import platform
import subprocess
import sys

import compiled

import lomond  # the installed one: Python put this script's folder on the path, not the checkout

NEEDED = {'lomond', 'six', 'certifi'}
SEEDED = {'pip', 'setuptools', 'wheel'}
if platform.python_implementation() == 'PyPy':      # which comes with these
    SEEDED |= {'cffi', 'greenlet', 'hpy', 'readline'}

freeze = subprocess.check_output([sys.executable, '-m', 'pip', 'list', '--format=freeze'])
installed = {line.split('==')[0] for line in freeze.decode('ascii').splitlines()}
assert installed - SEEDED == NEEDED, installed

#: Modules and packages that need another package, or that 2.7 can't compile.
EXCEPTIONS = {'lomond.shards.ray', 'lomond.shards.reader', 'lomond.shards.redis',
              'lomond.testing.fixtures'}
if sys.version_info[0] == 2:
    EXCEPTIONS.add('lomond.aio')

home = os.path.dirname(lomond.__file__)
for folder, _, names in os.walk('lomond'):
    for name in names:
        if name.endswith(('.py', '.typed')):
            assert os.path.exists(os.path.join(home, '..', folder, name)), name

for _, name, _ in pkgutil.walk_packages(lomond.__path__, 'lomond.'):
    if name not in EXCEPTIONS and name.rpartition('.')[0] not in EXCEPTIONS:
        importlib.import_module(name)

obstacle = compiled.find_obstacle()
assert lomond.accelerated is (obstacle is None), (lomond.accelerated, obstacle)

print('lomond', lomond.__version__, 'in', home)
