"""Call all that the compiled modules offer with wrong arguments; print as JSON what comes of each.

A program for `test_builds`: a call may end this process.
"""

from __future__ import absolute_import, division, print_function

import faulthandler
import importlib
import inspect
import itertools
import json
from functools import partial

from lomond._compat import extension_suffixes
from lomond._core import MODULES
from lomond.events import Text
from lomond.protocol.connection import CLIENT, Connection
from lomond.protocol.frame import FrameHeader, FrameParser
from lomond.protocol.gathering import Pieces
from lomond.protocol.limits import DEFAULT_LIMITS
from lomond.protocol.message import MessageAssembler
from lomond.stats import Span

VALUES = [None, 0, -1, 1.5, 2 ** 70, u'x', b'\xff', [], {}, (), object()]

#: With each pair of values, then with this many of the same.
ARGUMENTS = [values for count in range(3) for values in itertools.product(VALUES, repeat=count)]
ARGUMENTS += [(value,) * count for count in range(3, 8) for value in VALUES]


def accept():
    connection = Connection(CLIENT)
    connection.accept()
    return connection


#: How to make an object of each class whose constructor has no defaults for all arguments.
MAKERS = {
    'Decoder': lambda: accept().decoder,
    'Encoder': lambda: accept().encoder,
    'Lifecycle': lambda: accept().lifecycle,
    'FrameHeader': lambda: FrameHeader(1, True, 0, 5, None),
    'FrameParser': lambda: FrameParser(False, DEFAULT_LIMITS),
    'MessageAssembler': lambda: MessageAssembler(DEFAULT_LIMITS),
    'Pieces': lambda: Pieces(b''.join),
    'Span': lambda: Span(0.0, lambda: 1.0),
    'Text': lambda: Text(u'{}'),
}


def call(function, arguments):
    """Return the name of what a call raises, or 'done'."""
    try:
        result = function(*arguments)
        if hasattr(result, '__next__'):
            list(itertools.islice(result, 3))
    except Exception as error:
        return type(error).__name__
    return 'done'


def describe(arguments):
    return ', '.join('object' if type(each) is object else repr(each) for each in arguments)


def public_names(value):
    return [name for name in dir(value) if not name.startswith('_')]


def call_method(make, name, *arguments):
    return getattr(make(), name)(*arguments)


def set_attribute(make, name, value):
    setattr(make(), name, value)


def call_methods(cls, make, results, kind):
    """Call each method of an object that is made for the call; set each attribute that it has."""
    for name in public_names(cls):
        is_attribute = inspect.isdatadescriptor(inspect.getattr_static(cls, name))
        function = partial(set_attribute if is_attribute else call_method, make, name)
        for arguments in ARGUMENTS:
            if not is_attribute or len(arguments) == 1:
                results['{} {}.{}({})'.format(kind, cls.__name__, name, describe(arguments))] = \
                    call(function, arguments)


def main():
    faulthandler.enable()
    results = {}
    for module_name in MODULES:
        try:
            module = importlib.import_module(module_name)
        except ImportError:     # it is C only
            continue
        for name in public_names(module):
            value = getattr(module, name)
            if getattr(value, '__module__', None) != module_name or not callable(value):
                continue
            for arguments in ARGUMENTS:
                results['{}({})'.format(name, describe(arguments))] = call(value, arguments)
            if inspect.isclass(value):
                if name in MAKERS or not call(value, ()) == 'TypeError':
                    call_methods(value, MAKERS.get(name, value), results, 'made')
                call_methods(value, partial(value.__new__, value), results, 'blank')
    compiled = module.__file__.endswith(tuple(extension_suffixes()))
    print(json.dumps({'compiled': compiled, 'results': results}))


if __name__ == '__main__':
    main()
