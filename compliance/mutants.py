"""Change lomond/protocol and lomond/http in one small way after another: a test has to fail.

    python -bb compliance/mutants.py [--jobs 2] [MODULE ...]

cosmic-ray makes the changes; here a copy of the tree is tested with each: first
by the module's own unit tests, then by the others that are about it. A change
that they all let through has to stand in `mutants.txt`, with the reason: it is
the same code in other words, or makes no difference that matters.
"""

from __future__ import absolute_import, division, print_function

import argparse
import collections
import difflib
import io
import multiprocessing
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time

# Imported here once, and not by each of a thousand runs of the tests.
import hypothesis.strategies  # noqa: F401
import pytest
import trustme  # noqa: F401
from cosmic_ray import plugins
from cosmic_ray.mutating import mutate_code

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
ALLOWED = os.path.join(HERE, 'mutants.txt')

#: Each module under lomond/, and the tests that judge it after its own unit tests.
MODULES = {
    'http/answer': 'unit/handshake protocol/handshake faults/sessions',
    'http/body': 'unit/handshake',
    'http/head': 'unit/handshake protocol/handshake property/parsers',
    'protocol/accel': 'unit/mask unit/deflate',
    'protocol/close': 'protocol/closing property/round_trips',
    'protocol/connection': 'protocol/closing protocol/messages protocol/compression',
    'protocol/decoder': 'unit/connection protocol/messages protocol/batches protocol/closing'
                        ' protocol/violations protocol/limits protocol/compression'
                        ' property/receive_buffer property/receiving property/round_trips'
                        ' property/memory protocol/parts protocol/extensions',
    'protocol/encoder': 'protocol/closing protocol/compression unit/connection'
                        ' property/round_trips protocol/extensions',
    'protocol/extensions/base': 'unit/negotiation protocol/extensions protocol/parts',
    'protocol/extensions/deflate': 'unit/permessage_deflate protocol/compression protocol/limits'
                                   ' property/round_trips property/receiving protocol/extensions'
                                   ' protocol/parts',
    'protocol/extensions/grammar': 'protocol/handshake property/parsers',
    'protocol/extensions/negotiation': 'unit/handshake protocol/handshake property/parsers'
                                       ' protocol/extensions',
    'protocol/extensions/permessage_deflate': 'protocol/handshake property/round_trips'
                                              ' property/parsers unit/negotiation'
                                              ' protocol/extensions',
    'protocol/frame': 'unit/mask protocol/violations protocol/limits protocol/messages'
                      ' property/round_trips',
    'protocol/gathering': 'protocol/messages property/receive_buffer property/memory',
    'protocol/handshake': 'protocol/handshake property/parsers',
    'protocol/limits': 'protocol/limits protocol/messages',
    'protocol/mask': 'property/round_trips',
    'protocol/message': 'unit/decoder protocol/messages protocol/utf8 protocol/violations'
                        ' protocol/limits protocol/closing property/receive_buffer property/memory'
                        ' protocol/parts protocol/extensions',
    'protocol/state': 'unit/encoder unit/connection protocol/closing',
}

#: Seconds for one test, and for all of one mutant: a loop without end is caught by that.
TEST_TIMEOUT = 15
TIMEOUT = 180

#: Bytes for what a mutant gathers.
MEMORY = 4 * 1024 * 1024 * 1024

# cosmic-ray replaces each operator by each other: a `+` between bytes by eleven, of which ten show
# nothing that the first doesn't. These are enough.
OPERATORS = re.compile(
    r'core/Replace(Binary|Comparison)Operator_('
    'Add_Sub|Sub_Add|Mul_FloorDiv|FloorDiv_Mul|Mod_FloorDiv|BitAnd_BitOr|BitOr_BitAnd|BitXor_BitOr'
    '|LShift_RShift|RShift_LShift|Eq_NotEq|NotEq_Eq|Is_IsNot|IsNot_Is'
    '|Lt_LtE|Lt_GtE|LtE_Lt|LtE_Gt|Gt_GtE|Gt_LtE|GtE_Gt|GtE_Lt)$'
    r'|core/(?!Replace(Binary|Comparison)Operator)')


def make_mutants(source):
    """Yield each mutant's source, once."""
    seen = {source}
    for name in plugins.operator_names():
        operator = plugins.get_operator(name)
        if not OPERATORS.match(name) or operator.arguments():
            continue
        occurrence = 0
        while True:
            mutant = mutate_code(source, operator(), occurrence)
            if mutant is None:
                break
            if mutant not in seen:
                seen.add(mutant)
                yield mutant
            occurrence += 1


def describe(source, mutant):
    """Return the line before and after, without what only formats it."""
    lines = [
        '{} {}'.format(line[0], line[2:].strip())
        for line in difflib.ndiff(source.splitlines(), mutant.splitlines())
        if line[0] in '-+' and line[2:].strip()]
    return '  '.join(lines)


def passes(tree, *tests):
    """Tell if tests pass in the tree, in a process that knows nothing of lomond yet."""
    process = os.fork()
    if process:
        _process, status = os.waitpid(process, 0)
        return status == 0
    try:
        os.setsid()
        os.chdir(tree)
        sys.path.insert(0, tree)
        signal.alarm(TIMEOUT)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        null = os.open(os.devnull, os.O_RDWR)
        for descriptor in range(3):
            os.dup2(null, descriptor)
        # Plain: nobody reads what an assertion says.
        os._exit(pytest.main([
            '-x', '-q', '-p', 'no:cacheprovider', '--assert', 'plain',
            '--timeout', str(TEST_TIMEOUT)] + list(tests)))
    finally:
        os._exit(1)


def judge(name):
    """Try all mutants of a module; return how many survived that shouldn't."""
    begin = time.time()
    allowed = read_allowed()
    tree = tempfile.mkdtemp()
    try:
        for folder in ('lomond', 'tests', '.ci'):
            shutil.copytree(os.path.join(ROOT, folder), os.path.join(tree, folder),
                            ignore=shutil.ignore_patterns('__pycache__', 'node_modules', '*.so'))
        shutil.copy(os.path.join(ROOT, 'tox.ini'), tree)
        path = os.path.join(tree, 'lomond', *name.split('/')) + '.py'
        with io.open(path, encoding='utf-8') as opened:
            source = opened.read()
        own = ['tests/unit/test_{}.py'.format(os.path.basename(name))]
        others = [
            'tests/{}/test_{}.py'.format(*other.split('/')) for other in MODULES[name].split()]
        if not os.path.exists(os.path.join(tree, own[0])):
            own, others = others[:1], others[1:] or others
        # Otherwise all mutants would seem to be caught.
        assert passes(tree, *own + others), 'the tests fail without any change'

        count = survived = unknown = 0
        for mutant in make_mutants(source):
            change = describe(source, mutant)
            if 'if TYPE_CHECKING' in change:
                continue
            with io.open(path, 'w', encoding='utf-8') as opened:
                opened.write(mutant)
            # Python would take this for the code of the last mutant, made in the same second.
            shutil.rmtree(os.path.join(os.path.dirname(path), '__pycache__'), ignore_errors=True)
            count += 1
            if passes(tree, *own) and passes(tree, *others):
                survived += 1
                line = '{}: {}'.format(name, change)
                allowed[line] -= 1
                if allowed[line] < 0:
                    unknown += 1
                    print('survived  ' + line)
                    sys.stdout.flush()
        for line in sorted(allowed):
            if line.startswith(name + ': ') and allowed[line] > 0:
                print('listed, but caught or not tried  ' + line)
        print('{}: {} of {} caught ({:.0f} %), {} survive with reason, {} without; {:.0f} s'.format(
            name, count - survived, count, 100 * (1 - survived / count),
            survived - unknown, unknown, time.time() - begin))
        sys.stdout.flush()
        return unknown
    finally:
        shutil.rmtree(tree)


def read_allowed():
    """Return the changes that may survive, and how often each is listed."""
    with io.open(ALLOWED, encoding='utf-8') as lines:
        return collections.Counter(
            line.strip() for line in lines if line.strip() and not line.startswith('#'))


def find_module(name):
    """Return the name in MODULES that is this, or ends with it."""
    found = [module for module in MODULES if ('/' + module).endswith('/' + name)]
    if len(found) != 1:
        raise argparse.ArgumentTypeError('{} of the modules: {}'.format(
            'none' if not found else 'several', ', '.join(found or MODULES)))
    return found[0]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('modules', metavar='MODULE', nargs='*', type=find_module,
                        help='as in MODULES, or its last part; without any, all')
    parser.add_argument('--jobs', type=int, default=1, help='how many modules at once')
    options = parser.parse_args()
    if not sys.flags.bytes_warning > 1:
        parser.error('the tests need python -bb')
    pool = multiprocessing.get_context('fork').Pool(options.jobs, maxtasksperchild=1)
    unknown = sum(pool.imap_unordered(judge, options.modules or MODULES, chunksize=1))
    pool.close()
    pool.join()
    return 1 if unknown else 0


if __name__ == '__main__':
    sys.exit(main())
