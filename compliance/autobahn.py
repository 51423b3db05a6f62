"""The Autobahn test suite against lomond: its server against each kind of client, its client
against each kind of server.

    python compliance/autobahn.py                   all cases: all sides on 3.11, the two that have
                                                    a thread for each connection on 2.7 and 3.13 too
    python compliance/autobahn.py --quick           groups 1 to 10, all sides on the newest of them
    python compliance/autobahn.py --group 9 10 --python 2.7 --side server
    python compliance/autobahn.py --case '7.9.*'

Prints a table. The exit status is 1 if any case is worse than
autobahn_expected.json says, or wasn't run, or if a group has fewer cases than
it says. Where there is no Python 2.7, which the suite needs, all is left out.
The suite's reports, with what went over the wire, are left in
.venv/autobahn-reports. Needs Python 3.7.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import autobahn_report as report

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, os.path.join(ROOT, 'benchmarks'))

import environments  # noqa: E402

#: The Pythons that lomond runs on; the suite always runs on the first.
VERSIONS = ['2.7', '3.11', '3.13']
SUITE_VERSION = '2.7'

GROUPS = ['1', '2', '3', '4', '5', '6', '7', '9', '10', '12', '13']
_COMPRESSION = ['12', '13']

#: lomond's side, as `autobahn_driver.py` knows it: which of the two ends that is.
SIDES = {
    'client': 'client', 'pool': 'client', 'aio': 'client',
    'server': 'server', 'one-thread-server': 'server'}

#: These run on all versions. The protocol is the same module for all sides, so the others run on
#: one, unless they are asked for.
EVERYWHERE = ['client', 'server']
ONE_VERSION = '3.11'

REPORTS = os.path.join(ROOT, '.venv', 'autobahn-reports')

#: If no new case begins for so long (seconds), a run is given up: the suite waits up to 480
#: seconds for a message, but only where it sends a thousand, each of which shows that all is well.
PATIENCE = 300
_GRACE = 30


def log(text):
    """Tell the user how it goes."""
    print(text, file=sys.stderr, flush=True)


class Run:
    """One side of lomond, on one Python, through the suite's cases."""

    def __init__(self, side, version, pythons):
        self.side = side
        self.version = version
        self._lomond = [pythons[version], os.path.join(HERE, 'autobahn_driver.py')]
        self._suite = [pythons[SUITE_VERSION], os.path.join(HERE, 'autobahn_peer.py')]
        self._folder = os.path.join(REPORTS, '{}-{}'.format(side, version))
        self._processes = []
        self._is_over = threading.Event()
        self._complaints = []
        self.seconds = 0
        #: What the suite was to run, and what it found.
        self.cases = []
        self.results = {}
        self.group_names = {}

    def __str__(self):
        return 'lomond as {} on Python {}'.format(self.side, self.version)

    def go(self, patterns):
        """Run what the suite's patterns mean; return self."""
        started = monotonic()
        shutil.rmtree(self._folder, ignore_errors=True)
        os.makedirs(self._folder)
        watcher = threading.Thread(target=self._watch)
        watcher.start()
        try:
            {'client': self._drive_client, 'server': self._drive_server}[SIDES[self.side]](patterns)
            for process in self._processes:
                if process.wait() != 0:
                    self._complain('{} ended with {}'.format(
                        os.path.basename(process.args[1]), process.returncode))
            with open(os.path.join(self._folder, 'index.json')) as index:
                self.results = json.load(index).get('lomond', {})
        except (OSError, ValueError) as error:
            self._complain('{}: {}'.format(type(error).__name__, error))
        finally:
            self._is_over.set()
            watcher.join()
            for process in self._processes:
                process.kill()
                process.communicate()
        self.seconds = monotonic() - started
        log('{}: {} cases, {:.0f} seconds'.format(self, len(self.results), self.seconds))
        return self

    def _drive_client(self, patterns):
        suite = self._start_suite(role='server', cases=patterns)
        found = self._read_cases(suite)
        url = 'ws://127.0.0.1:{}'.format(found['port'])
        lomond = self._start(self._lomond + [self.side, url])
        lomond.communicate(''.join(case + '\n' for case in self.cases))
        suite.communicate()

    def _drive_server(self, patterns):
        lomond = self._start(self._lomond + [self.side])
        suite = self._start_suite(
            role='client', cases=patterns, url=lomond.stdout.readline().strip())
        self._read_cases(suite)
        suite.communicate()
        lomond.communicate()

    def _start_suite(self, **options):
        return self._start(self._suite + [json.dumps(dict(options, folder=self._folder))])

    def _read_cases(self, suite):
        found = json.loads(suite.stdout.readline())
        self.cases = found['cases']
        self.group_names = found['groups']
        return found

    def _start(self, command):
        with open(self._log_path(command), 'wb') as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output,
                encoding='utf-8')
        self._processes.append(process)
        return process

    def _log_path(self, command):
        return os.path.join(self._folder, os.path.basename(command[1]) + '.log')

    def _watch(self):
        """Kill the processes once nothing goes on: whichever is the client logs each case."""
        written, since = 0, monotonic()
        while not self._is_over.wait(1):
            size = sum(os.path.getsize(self._log_path(command)) for command in (
                self._lomond, self._suite) if os.path.exists(self._log_path(command)))
            if size != written:
                written, since = size, monotonic()
            elif monotonic() - since > PATIENCE:
                self._complain('nothing went on for {} seconds'.format(PATIENCE))
                self._kill(self._lomond)
                # The suite gets to report on what was done.
                if not self._is_over.wait(_GRACE):
                    self._kill(self._suite)
                return

    def _kill(self, command):
        for process in self._processes:
            if process.args[1] == command[1]:
                process.kill()

    def _complain(self, text):
        self._complaints.append('{}, see {}'.format(text, os.path.relpath(self._folder, ROOT)))

    def faults(self, expected, groups):
        """Return what is worse than expected, a list of text."""
        return self._complaints + report.find_faults(expected, groups, self.cases, self.results)


def prepare(versions):
    """Return {version: path of a Python}, of those that are here; SystemExit if one can't be had.

    Without the suite's Python there is none.
    """
    pythons = {}
    for version in [SUITE_VERSION] + [each for each in versions if each != SUITE_VERSION]:
        base = environments.find_python(version)
        if base is None:
            log('No Python {}: left out.'.format(version))
            if version == SUITE_VERSION:
                log('The Autobahn test suite needs it: nothing was tested.')
                return {}
            continue
        pythons[version] = environments.make(
            'autobahn-' + version, base, 'autobahn.txt', log)
        if pythons[version] is None:
            sys.exit('There is a Python {}, but no environment on it.'.format(version))
    return pythons


def summarize(runs):
    """Return tables in Markdown; runs that brought the same share one."""
    tables = {}
    for run in runs:
        table = '\n'.join(report.tabulate(run.group_names, run.cases, run.results))
        tables.setdefault((run.side, table), []).append(run.version)
    return '\n\n'.join(
        'lomond as {}, on Python {}:\n\n{}'.format(side, ', '.join(versions), table)
        for (side, table), versions in tables.items())


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('--quick', action='store_true', help='groups 1 to 10, on one Python')
    parser.add_argument('--group', nargs='+', choices=GROUPS, help='only these groups')
    parser.add_argument('--case', nargs='+', help="only these cases, such as '9.7.*'")
    parser.add_argument('--python', nargs='+', help='only on these')
    parser.add_argument('--side', nargs='+', choices=SIDES, help='lomond as this only')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, help='how many runs at '
                        'once; each keeps about one core busy (default: %(default)s)')
    arguments = parser.parse_args()
    if not arguments.group:
        arguments.group = [] if arguments.case else [
            group for group in GROUPS if not (arguments.quick and group in _COMPRESSION)]
    return arguments


def main():
    arguments = parse_arguments()
    with open(os.path.join(HERE, 'autobahn_expected.json')) as source:
        expected = json.load(source)
    pythons = prepare(arguments.python or VERSIONS)
    versions = [version for version in arguments.python or VERSIONS if version in pythons]
    if arguments.quick:
        versions = versions[-1:]
    if not versions:
        return
    patterns = [group + '.*' for group in arguments.group] + (arguments.case or [])
    with ThreadPoolExecutor(arguments.jobs) as executor:
        runs = list(executor.map(
            lambda run: run.go(patterns),
            [Run(side, version, pythons) for side in arguments.side or SIDES
             for version in versions
             if arguments.side or arguments.quick or side in EVERYWHERE
             or version == ONE_VERSION]))

    print(summarize(runs))
    failed = False
    for run in runs:
        for text in report.find_improvements(expected, run.results):
            print('{}: better than expected: {}'.format(run, text))
        for text in run.faults(expected, arguments.group):
            print('{}: {}'.format(run, text))
            failed = True
    sys.exit(1 if failed else 0)


if __name__ == '__main__':
    main()
