"""List the programs of `lomond.examples`: ``python -m lomond.examples``."""

from __future__ import absolute_import, division, print_function

import argparse
import importlib
import pkgutil
import sys

from lomond import examples
from lomond._compat import TYPE_CHECKING
from lomond.examples import cli

if TYPE_CHECKING:
    from typing import Iterator, List, Optional, Text, Tuple  # noqa: F401


def main(arguments=None):
    # type: (Optional[List[str]]) -> None
    """Print the list."""
    argparse.ArgumentParser(
        prog='python -m lomond.examples', description='List the examples.').parse_args(arguments)
    for name, summary in programs():
        cli.say(u'python -m {}\n    {}\n'.format(name, summary))
    cli.say(u'More examples are in the folder examples/ of the source distribution\n'
            u'(pip download --no-binary lomond lomond), and docs/examples.md describes them.')


def programs():
    # type: () -> Iterator[Tuple[Text, Text]]
    """Yield the name of each program, and the first line of its docstring (none with -OO)."""
    for _finder, name, _is_package in pkgutil.iter_modules(examples.__path__):
        module = importlib.import_module('lomond.examples.' + name)
        if name != '__main__' and hasattr(module, 'main'):
            yield module.__name__, (module.__doc__ or '').partition('\n')[0]


if __name__ == '__main__':
    sys.exit(cli.run(main))
