"""What the example programs share for output, arguments and exit: the names of `lomond._console`.

It defines nothing itself.
"""

from __future__ import absolute_import, division, print_function

from lomond._console import argument, complain, number, port, run, say

__all__ = ['argument', 'complain', 'number', 'port', 'run', 'say']
