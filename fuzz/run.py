"""Runs the targets under atheris, from their corpus on, and says what was found.

    python -m fuzz.run [--seconds 20] [TARGET ...]
    python -m fuzz.run --replay TARGET FILE

Each runs in a process of its own: libFuzzer ends it at the first fault. What it
finds on the way is kept in .fuzz/TARGET, where the next run goes on, and what
made a target fail in .fuzz/crashes.
"""

from __future__ import absolute_import, division, print_function

import argparse
import os
import re
import subprocess
import sys

HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORK = os.path.join(HOME, '.fuzz')
CRASHES = os.path.join(WORK, 'crashes')

#: Bytes of one input, seconds for it, and MiB of memory for the process.
MAX_LENGTH = 2048
PATIENCE = 10
MAX_MEMORY = 1024

_INSIDE = '--inside'


def main():
    """Run what the command line says; return the exit status."""
    if sys.argv[1:2] == [_INSIDE]:      # what follows is libFuzzer's
        return fuzz(sys.argv[2], sys.argv[3:])
    parser = argparse.ArgumentParser(description='Fuzz what reads a peer\'s bytes.')
    parser.add_argument('targets', nargs='*', metavar='TARGET')
    parser.add_argument('--seconds', type=int, default=20, help='for each target (20)')
    parser.add_argument('--replay', nargs=2, metavar=('TARGET', 'FILE'))
    options = parser.parse_args()
    if options.replay:
        from fuzz.targets import replay
        replay(*options.replay)
        return 0

    from fuzz.targets import TARGETS
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error('no such target: {}'.format(', '.join(sorted(unknown))))
    failed = [name for name in options.targets or sorted(TARGETS)
              if not run(name, options.seconds)]
    if failed:
        print('\nFAILED: {}. Again: python -m fuzz.run --replay TARGET FILE'.format(
            ', '.join(failed)))
    return 1 if failed else 0


def run(name, seconds):
    """Fuzz one target in a process of its own; return True if nothing was found."""
    own = os.path.join(WORK, name)
    for folder in (own, CRASHES):
        if not os.path.isdir(folder):
            os.makedirs(folder)
    from fuzz.targets import CORPUS
    process = subprocess.Popen(
        [sys.executable, '-bb', '-m', 'fuzz.run', _INSIDE, name,
         '-max_total_time={}'.format(seconds), '-max_len={}'.format(MAX_LENGTH),
         '-timeout={}'.format(PATIENCE), '-rss_limit_mb={}'.format(MAX_MEMORY),
         '-artifact_prefix={}'.format(os.path.join(CRASHES, name + '-')), '-print_final_stats=1',
         own, os.path.join(CORPUS, name)],
        cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = process.communicate()[0].decode('utf-8', 'replace')
    numbers = [_last(pattern, output) for pattern in (
        r'seed corpus: files: ([0-9]+)', r'executed_units: +([0-9]+)', r' cov: ([0-9]+)',
        r' ft: ([0-9]+)')]
    # A fuzzer that didn't find its corpus would find little else.
    is_well = not process.returncode and numbers[0] != '?'
    print('{}: from {} files, {} executions, coverage {}, features {}: {}'.format(
        *[name] + numbers + ['nothing found' if is_well else 'FAILED']))
    if not is_well:
        # What libFuzzer printed on the way says nothing more.
        start = max(0, output.rfind('Uncaught'))
        print(output[start:][-8000:])
    sys.stdout.flush()
    return is_well


def _last(pattern, output):
    found = re.findall(pattern, output)
    return found[-1] if found else '?'


def fuzz(name, arguments):
    """Fuzz a target in this process, which that ends."""
    import atheris
    with atheris.instrument_imports(include=['lomond']):
        from fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0]] + arguments, TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == '__main__':
    sys.exit(main())
