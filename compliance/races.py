"""Race many threads on live connections, for minutes: the scenarios of tests/network/races.

    python compliance/races.py [--seconds 120] [--only persists] [--calls 100] [--seed 1]

Each scenario in turn, over ws and wss, plain and compressed, with new dice each round; it stops
at the first that fails, and tells the seed of that round. `make races` runs it on every Python
that there is. A round that doesn't end is a deadlock: then the stacks of all threads are printed.
"""

from __future__ import absolute_import, division, print_function

import argparse
import itertools
import os
import shutil
import ssl
import sys
import tempfile
import threading
import traceback
from collections import Counter

import trustme

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from lomond._compat import monotonic
from tests.network.races.match import Arena
from tests.network.races.scenarios import SCENARIOS

#: How long, in seconds, one round may take; less than a test of the suite.
PATIENCE = 40


class Watchdog(object):
    """Ends the process, with the stacks of all threads, if `pat` isn't called in time."""

    def __init__(self, seconds):
        self._seconds = seconds
        self._is_patted = threading.Event()
        thread = threading.Thread(target=self._run)
        thread.daemon = True
        thread.start()

    def pat(self, what):
        """Begin anew; with None for good."""
        self._what = what
        self._is_patted.set()

    def _run(self):
        while self._is_patted.wait(self._seconds):
            if self._what is None:
                return
            self._is_patted.clear()
        try:
            print('stuck: {}'.format(self._what))
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                print('\n{}:'.format(names.get(ident, ident)))
                traceback.print_stack(frame, file=sys.stdout)
            sys.stdout.flush()
        finally:
            os._exit(3)     # also if nobody reads that any more


def make_tls(folder):
    """Return a server's TLS context, and the path of its authority."""
    authority = trustme.CA()
    path = os.path.join(folder, 'authority.pem')
    authority.cert_pem.write_to_path(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(u'localhost', u'127.0.0.1').configure_cert(context)
    return {'server_tls': context, 'authority_file': path}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--seconds', type=float, default=120)
    parser.add_argument('--only', action='append', help='scenarios whose name has this in it')
    parser.add_argument('--calls', type=int, default=100, help='of each sender in a round')
    parser.add_argument('--seed', type=int, default=1)
    arguments = parser.parse_args()
    scenarios = [
        scenario for scenario in SCENARIOS
        if not arguments.only or any(word in scenario[0] for word in arguments.only)]
    if not scenarios:
        parser.error('no scenario has such a name')

    folder = tempfile.mkdtemp()
    done = Counter()
    started = monotonic()
    watchdog = Watchdog(PATIENCE)
    try:
        tls = make_tls(folder)
        ways = itertools.cycle(itertools.product(scenarios, [{}, tls], [False, True]))
        for seed in itertools.count(arguments.seed):
            passed = monotonic() - started
            if passed > arguments.seconds:
                break
            (name, scenario, more), options, compress = next(ways)
            what = '{}, {}, {}, --seed {}, after {:.1f} seconds and {} rounds'.format(
                name, 'wss' if options else 'ws', 'deflate' if compress else 'plain', seed,
                passed, seed - arguments.seed)
            watchdog.pat(what)
            try:
                scenario(Arena(compress, calls=arguments.calls, seed=seed, **options), *more)
            except BaseException:
                print('failed: ' + what)
                raise
            done[name] += 1
    finally:
        watchdog.pat(None)
        shutil.rmtree(folder)
    for name, count in sorted(done.items()):
        print('{:5} {}'.format(count, name))
    print('Python {}: {} rounds in {:.0f} seconds, none failed'.format(
        sys.version.split()[0], sum(done.values()), passed))


if __name__ == '__main__':
    main()
