"""`python -m lomond`: print the version, and whether the compiled modules are used."""

from __future__ import absolute_import, division, print_function

import argparse
import platform
import sys

import lomond
from lomond._core import why_pure


def main():
    # type: () -> None
    parser = argparse.ArgumentParser(
        prog='python -m lomond', description='A WebSocket client as a blocking event iterator.')
    parser.add_argument(
        '--version', action='store_true',
        help='print the version, and whether the core is compiled')
    if not parser.parse_args().version:
        parser.print_help()
        return
    print('lomond {}, {} {}, {}'.format(
        lomond.__version__, platform.python_implementation(), sys.version.split()[0],
        'compiled' if why_pure is None else 'pure Python: {}'.format(why_pure)))


if __name__ == '__main__':
    main()
