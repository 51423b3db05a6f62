"""``python -m lomond`` is the program ``lomond``: see `lomond.cli`. It defines nothing itself."""

from __future__ import absolute_import, division, print_function

import sys

from lomond.cli import main

if __name__ == '__main__':
    sys.exit(main())
