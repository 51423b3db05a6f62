"""Where PyInstaller finds `hook-lomond.py`, by the entry point `pyinstaller40` in setup.cfg."""

from __future__ import absolute_import, division, print_function

import os

from lomond._compat import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import List  # noqa: F401


def get_hook_dirs():
    # type: () -> List[str]
    return [os.path.dirname(os.path.abspath(__file__))]
