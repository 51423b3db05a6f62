"""What PyInstaller includes for the compiled modules, in which it finds no imports.

Their sources are included too, for LOMOND_COMPILED=no.
"""

from __future__ import absolute_import, division, print_function

import ast
import os
import pkgutil

import lomond
from lomond._compat import TYPE_CHECKING
from lomond._core import MODULES

if TYPE_CHECKING:
    from typing import Iterator, List, Tuple  # noqa: F401


def _imports(source):
    # type: (str) -> Iterator[str]
    """Yield the modules that a source imports when it is executed."""
    with open(source, 'rb') as opened:
        statements = ast.parse(opened.read()).body
    for statement in statements:
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                yield alias.name
        elif isinstance(statement, ast.ImportFrom) and statement.module:
            yield statement.module
            for alias in statement.names:
                name = '{}.{}'.format(statement.module, alias.name)
                if name in _OURS:
                    yield name


_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(lomond.__file__)))
_OURS = {found[1] for found in pkgutil.walk_packages(lomond.__path__, 'lomond.')}

hiddenimports = []  # type: List[str]
datas = []  # type: List[Tuple[str, str]]

if lomond.accelerated:
    hiddenimports.extend(MODULES)
    for _name in MODULES:
        _source = os.path.join(_ROOT, *_name.split('.')) + '.py'
        if os.path.exists(_source):
            hiddenimports.extend(_imports(_source))
            datas.append((_source, os.path.dirname(os.path.relpath(_source, _ROOT))))
