"""Measure lomond and other clients, and write the results.

    python benchmarks/run.py                      all Pythons, loads and clients: 35 minutes
    python benchmarks/run.py --quick              the loads that have a target, on one Python
    python benchmarks/run.py --load 'send' --client lomond --client picows --python 3.13

The first makes anew benchmarks/RESULTS.md, benchmarks/results.json and
docs/receive.svg; the others print, and write only where `--output` says.
README.md in this folder tells how it measures. Needs Python 3.7 and Linux.
"""

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile

import check_targets
import environments
import machine
import plot
import report
from clients import ENTRIES, ORDER
from loads import IDLE_CPU, LOADS

HERE = os.path.dirname(os.path.abspath(__file__))

#: A run that takes longer than this (seconds) is given up, and so is the client for that load.
PATIENCE = 60

_FAILED = 'failed: '

_IMPORT = """
import sys
sys.path[:1] = {paths!r}    # not the current folder: that may be the checkout
sys.modules.update({blocked!r})
from time import {clock} as clock
started = clock()
{statement}
print(clock() - started)
sys.path.insert(0, {here!r})
from worker import check_accelerated
check_accelerated({accelerated!r})
"""
_IMPORTS_PER_RUN = 5


def log(text):
    """Report progress to the user."""
    print(text, file=sys.stderr, flush=True)


class Peer:
    """The peer's process, while it is needed."""

    def __init__(self, certificate, prefix):
        command = prefix + [sys.executable, os.path.join(HERE, 'peer.py')]
        if certificate:
            command += ['--certificate', certificate]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ports = [int(port) for port in self._process.stdout.readline().split()]

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def make_certificate(folder):
    """Return the paths of a key with its certificate, and of the one to trust; or (None, None)."""
    paths = {name: os.path.join(folder, name) for name in (
        'ca.key', 'ca.pem', 'key', 'request', 'pem', 'both', 'extensions')}
    new_key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
    with open(paths['extensions'], 'w') as extensions:
        extensions.write(
            # Python 2.7 searches the DNS names for addresses.
            'subjectAltName=DNS:127.0.0.1,IP:127.0.0.1\nbasicConstraints=critical,CA:FALSE\n'
            'subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n')
    try:
        for command in [
                ['req', '-x509', *new_key, '-subj', '/CN=bench', '-days', '2',
                 '-addext', 'keyUsage=critical,keyCertSign',
                 '-keyout', paths['ca.key'], '-out', paths['ca.pem']],
                ['req', *new_key, '-subj', '/CN=127.0.0.1',
                 '-keyout', paths['key'], '-out', paths['request']],
                ['x509', '-req', '-in', paths['request'], '-CA', paths['ca.pem'],
                 '-CAkey', paths['ca.key'], '-CAcreateserial', '-days', '2',
                 '-extfile', paths['extensions'], '-out', paths['pem']]]:
            subprocess.run(
                ['openssl', *command], check=True, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        log('No usable openssl: wss is left out.')
        return None, None
    with open(paths['both'], 'w') as both:
        for name in ('key', 'pem'):
            with open(paths[name]) as part:
                both.write(part.read())
    return paths['both'], paths['ca.pem']


class Bench:
    """Runs clients, and keeps their times.

    `results` is {load: {client: {'runs': [...], 'p99s': [...], 'busys': [...], 'accelerated': ...}
    or {'missing': why}}}.
    """

    def __init__(self, environment, options, peer, cafile):
        self.environment = environment
        self._options = options
        self._peer = peer
        self._cafile = cafile
        self.results = {}

    def run_round(self, number, loads):
        """Let each client have its turn with each load."""
        for load in loads:
            if load.once and number:
                continue
            for client in self._options.clients:
                if load.suits(client, ENTRIES[client]):
                    self.keep(load, client, self._run(load, client))

    def keep(self, load, client, result):
        """Put a result with the others."""
        kept = self.results.setdefault(load.key, {}).setdefault(client, {})
        if 'missing' in result:
            kept.update(result)
            return
        kept.pop('missing', None)
        kept.setdefault('runs', []).append(result['value'])
        for name in ('p99', 'busy'):
            if name in result:
                kept.setdefault(name + 's', []).append(result[name])
        if result['accelerated'] is not None:
            kept['accelerated'] = result['accelerated']
        if result.get('failures'):
            kept['failures'] = kept.get('failures', 0) + result['failures']

    def _run(self, load, client):
        known = self.results.get(load.key, {}).get(client, {}).get('missing')
        # A client that failed is run again in the next round.
        if known is not None and not known.startswith(_FAILED):
            return {'missing': known}
        if load.options.get('tls') and self._cafile is None:
            return {'missing': 'no certificate'}
        obstacle = self.find_obstacle(client)
        if obstacle:
            return {'missing': obstacle}
        if load.measure == 'import':
            return self._import(client)
        process = self.start(load, client)
        return self.finish(process, PATIENCE, '{}, {}'.format(load.key, client))

    def find_obstacle(self, client):
        """Return why a client can't run, or None."""
        entry = ENTRIES[client]
        if entry.accelerated and self.environment.why_pure:
            return self.environment.why_pure
        packages = self.environment.old_packages if entry.is_old else self.environment.packages
        if all(package in packages for package in (entry.package, entry.needs) if package):
            return None
        return 'not available for this Python'

    def _popen(self, entry, arguments, **environ):
        python = self.environment.old_python if entry.is_old else self.environment.python
        environ = dict(os.environ, LOMOND_COMPILED='' if entry.accelerated else 'no', **environ)
        return subprocess.Popen(
            self._options.client_prefix + [python, *arguments], env=environ,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def _checkout(self, entry):
        """Return the folder from which this lomond is imported, None for Lomond 0.3.4."""
        if entry.is_old:
            return None
        return self.environment.compiled if entry.accelerated else environments.ROOT

    def start(self, load, client, **options):
        """Start a client in a process of its own."""
        entry = ENTRIES[client]
        task = {
            'client': client,
            'operation': load.operation,
            'measure': load.measure,
            'options': dict(load.options, **options),
            'ports': self._peer.ports,
            'cafile': self._cafile,
            'checkout': self._checkout(entry),
            'accelerated': entry.accelerated,
            'seconds': self._options.seconds,
        }
        return self._popen(entry, [os.path.join(HERE, 'worker.py'), json.dumps(task)])

    def finish(self, process, patience, what):
        """Return what a client's process printed; `what` names it for the user if it fails."""
        try:
            output, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {'missing': 'more than {} seconds'.format(patience)}
        if process.returncode == 0 and output:
            return json.loads(output)
        lines = errors.decode('utf-8', 'replace').strip().splitlines() or ['no word']
        log('  {}: {}'.format(what, lines[-1]))
        return {'missing': _FAILED + lines[-1].split(':')[0]}

    def _import(self, client):
        entry = ENTRIES[client]
        checkout = self._checkout(entry)
        script = _IMPORT.format(
            paths=[checkout] if checkout else [], here=HERE, accelerated=entry.accelerated,
            blocked={} if entry.accelerated is None else {'wsaccel': None},
            clock='time' if self.environment.version.startswith('2') else 'perf_counter',
            statement=entry.statement)
        spent = []
        for _ in range(_IMPORTS_PER_RUN):
            # pip has made bytecode of the others; the first run makes that of the checkout.
            process = self._popen(entry, ['-c', script], PYTHONDONTWRITEBYTECODE='')
            result = self.finish(process, PATIENCE, 'import, ' + client)
            if isinstance(result, dict):
                return result
            spent.append(result * 1e3)
        return {'value': statistics.median(spent), 'accelerated': entry.accelerated}

    def summary(self):
        """Return the results with their medians and ratios, for JSON."""
        summary = {}
        for load in [*LOADS, IDLE_CPU]:
            found = self.results.get(load.key)
            if not found:
                continue
            bare = found.get('bare', {}).get('runs')
            entry = summary[load.key] = {}
            for client, kept in found.items():
                entry[client] = dict(kept)
                if 'runs' not in kept:
                    continue
                entry[client]['median'] = statistics.median(kept['runs'])
                if 'p99s' in kept:
                    entry[client]['p99'] = statistics.median(kept['p99s'])
                if 'busys' in kept:
                    entry[client]['busy'] = statistics.median(kept['busys'])
                if bare and load.has_ratio:
                    entry[client]['ratio'] = entry[client]['median'] / statistics.median(bare)
        return summary


def measure_idle_cpu(benches, options):
    """Let one connection of each client idle, all at the same time."""
    if not options.idle_seconds:
        return
    log('Idle for {} seconds ...'.format(options.idle_seconds))
    started = [
        (bench, client, bench.start(IDLE_CPU, client, seconds=options.idle_seconds))
        for bench in benches for client in options.clients
        if IDLE_CPU.suits(client, ENTRIES[client]) and not bench.find_obstacle(client)]
    for bench, client, process in started:
        result = bench.finish(process, options.idle_seconds + PATIENCE, client)
        if 'value' in result:
            result['value'] *= 60 / options.idle_seconds
        bench.keep(IDLE_CPU, client, result)


def measure(options):
    """Return all results, for JSON."""
    found = [environments.prepare(version, log) for version in options.pythons]
    found = [environment for environment in found if environment is not None]
    if not found:
        sys.exit('None of these Pythons is here.')
    load = machine.Load()
    machine.allow_descriptors()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        certificate, cafile = make_certificate(folder)
        peer = stack.enter_context(Peer(certificate, options.peer_prefix))
        benches = [Bench(environment, options, peer, cafile) for environment in found]
        for bench in benches:
            for number in range(options.rounds):
                log('Python {}, round {} of {} ...'.format(
                    bench.environment.version, number + 1, options.rounds))
                bench.run_round(number, options.loads)
        measure_idle_cpu(benches, options)
    return {
        'machine': machine.describe(),
        'rounds': options.rounds,
        'seconds': options.seconds,
        'others': load.of_others(),
        'pinned': bool(options.client_prefix),
        'pythons': {
            bench.environment.version: {
                'version': bench.environment.full_version,
                'clients': client_versions(bench.environment),
                'results': bench.summary(),
            } for bench in benches
        },
    }


def client_versions(environment):
    """Return the versions of the clients and of what they are built on."""
    packages = environment.packages
    versions = {
        entry.package: packages[entry.package] for entry in ENTRIES.values()
        if entry.package in packages}
    versions.update(
        (name, packages[name]) for name in ('wsaccel', 'wsproto', 'zlib-ng')
        if name in packages)
    if 'lomond' in environment.old_packages:
        versions['lomond'] = environment.old_packages['lomond']
    return versions


def write(results, folder):
    """Write the table and the JSON, and return the table."""
    text = report.render(results)
    with open(os.path.join(folder, 'results.json'), 'w', encoding='utf-8') as file:
        json.dump(results, file, indent=1)
        file.write('\n')
    with open(os.path.join(folder, 'RESULTS.md'), 'w', encoding='utf-8') as file:
        file.write(text)
    plot.write(results, os.path.join(
        os.path.join(environments.ROOT, 'docs') if folder == HERE else folder, 'receive.svg'))
    return text


def select(wanted, known, what):
    """Return the known names that contain one of those wanted; all if none is."""
    if not wanted:
        return known
    for name in wanted:
        if not any(name in other for other in known):
            sys.exit('No such {}: {}. There are: {}'.format(what, name, ', '.join(known)))
    return [name for name in known if name in wanted or (
        what == 'load' and any(other in name for other in wanted))]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--quick', action='store_true', help='one Python, some loads: 8 minutes')
    parser.add_argument('--python', action='append', metavar='X.Y', help='may be repeated')
    parser.add_argument(
        '--load', action='append', metavar='WORDS', help='part of its name; may be repeated')
    parser.add_argument('--client', action='append', metavar='NAME', help='may be repeated')
    parser.add_argument('--rounds', type=int, default=3, help='default: 3')
    parser.add_argument(
        '--seconds', type=float, default=0.12, help='for each run, about; default: 0.12')
    parser.add_argument(
        '--idle-seconds', type=int, help='to watch idle connections; default: 60, or 0 if only a '
        'part is measured')
    parser.add_argument(
        '--pin', action='store_true', help='client and peer on a CPU each, by taskset')
    parser.add_argument('--output', metavar='FOLDER', help='where to write RESULTS.md and the rest')
    parser.add_argument('--check', action='store_true', help='fail if a target is missed')
    parser.add_argument('--list', action='store_true', help='print loads and clients')
    options = parser.parse_args()
    if options.list:
        print('Loads:', *[load.key for load in LOADS], sep='\n  ')
        print('Clients:', *ORDER, sep='\n  ')
        sys.exit()
    options.is_whole = not (options.quick or options.python or options.load or options.client)
    options.pythons = options.python or (['3.11'] if options.quick else environments.VERSIONS)
    loads = {load.key: load for load in LOADS if load.is_quick or not options.quick}
    options.loads = [loads[key] for key in select(options.load, list(loads), 'load')]
    options.clients = select(options.client, ORDER, 'client')
    if options.idle_seconds is None:
        options.idle_seconds = 60 if options.is_whole else 0
    if options.output:
        os.makedirs(options.output, exist_ok=True)
    options.client_prefix = options.peer_prefix = []
    if options.pin:
        if not shutil.which('taskset') or (os.cpu_count() or 1) < 2:
            sys.exit('--pin needs taskset, and two CPUs.')
        options.client_prefix, options.peer_prefix = ['taskset', '-c', '0'], ['taskset', '-c', '1']
    return options


def main():
    options = parse_arguments()
    results = measure(options)
    folder = options.output or (HERE if options.is_whole else None)
    print(write(results, folder) if folder else report.render(results))
    if options.check and not check_targets.check(results):
        sys.exit(1)


if __name__ == '__main__':
    main()
