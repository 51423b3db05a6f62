"""Compare results with the targets; the exit status is 1 if one is missed.

    python benchmarks/check_targets.py [benchmarks/results.json]
"""

import argparse
import json
import os
import sys

#: The Python that the targets are for.
VERSION = '3.11'


class Figures:
    """The medians of one Python's results; KeyError for what wasn't measured."""

    def __init__(self, results):
        self._results = results

    def __call__(self, load, client):
        return self._results[load][client]['median']


def figure(load, client, mark, unit):
    """Return the target that a figure is at most this."""
    return '{}, {}, {}'.format(load, client, unit), 'at most', mark, lambda f: f(load, client)


def ratio(load, client, to, direction, mark):
    """Return the target for one client's figure divided by another's."""
    return ('{}, {} / {}'.format(load, client, to), direction, mark,
            lambda f: f(load, client) / f(load, to))


def difference(load, client, to, mark):
    """Return the target that one client's figure minus another's is at most this, in µs."""
    return ('{}, {} - {}, µs'.format(load, client, to), 'at most', mark,
            lambda f: f(load, client) - f(load, to))


def targets():
    """Yield (what, 'at most' or 'at least', the target, a function of Figures)."""
    yield from _receiving()
    yield from _sending()
    yield from _many_connections()
    yield figure('import', 'lomond', 25, 'ms')
    yield ratio('import', 'lomond-compiled', 'lomond', 'at most', 1.0)
    yield figure('idle memory', 'lomond', 40, 'KiB')
    yield figure('peak memory', 'lomond', 2.1, 'times a message of 256 MiB')


def _receiving():
    small = 'receive 120 B text'
    yield figure(small, 'lomond', 0.8, 'µs')
    for other, factor in [('lomond-0.3.4', 10), ('websocket-client', 10),
                          ('websockets-sync', 6), ('aiohttp', 1.5)]:
        yield ratio(small, other, 'lomond', 'at least', factor)
    for load in ('receive 16 B text', small, 'receive 1 KiB text'):
        yield ratio(load, 'lomond-compiled', 'picows', 'at most', 0.45)
    yield ratio(small, 'lomond-aio', 'lomond', 'at most', 1.1)
    yield ratio(small, 'lomond-compiled-aio', 'picows', 'at most', 0.6)
    yield ('receive 120 B text, 300,000 messages / 30,000', 'at most', 1.1,
           lambda f: f('linear 300,000', 'lomond') / f('linear 30,000', 'lomond'))
    yield ratio('receive 1 MiB binary', 'lomond', 'bare', 'at most', 1.3)
    yield ratio('receive 1 MiB binary', 'lomond-compiled', 'picows', 'at most', 0.8)
    deflated = 'receive 1 KiB text deflated'
    yield ratio(deflated, 'lomond', 'zlib', 'at most', 1.3)
    yield ratio(deflated, 'lomond-zlib-ng', 'zlib', 'at most', 1.3)
    yield ratio(deflated, 'lomond-compiled', 'zlib', 'at most', 1.15)
    yield ratio(deflated, 'lomond-compiled-zlib-ng', 'zlib-ng', 'at most', 1.15)


def _sending():
    small = 'send 120 B text'
    yield difference(small, 'lomond', 'bare', 2.3)
    yield difference(small, 'lomond-wsaccel', 'bare', 2.0)
    yield difference(small, 'lomond-compiled', 'bare', 0.8)
    for ours, factor in [('lomond', 1.3), ('lomond-wsaccel', 1.7)]:
        for other in ('websocket-client', 'websockets-sync', 'websockets-asyncio'):
            yield ratio(small, other, ours, 'at least', factor)
    yield ratio(small, 'lomond-compiled', 'picows', 'at most', 1.15)
    for load in ('send 16 KiB binary', 'send 1 MiB binary'):
        yield ratio(load, 'websocket-client', 'lomond-wsaccel', 'at least', 1.0)
        yield ratio(load, 'lomond-compiled', 'picows', 'at most', 1.0)
    yield figure('burst', 'lomond-many', 2.0, 'µs a message')
    yield figure('burst', 'lomond-compiled-many', 0.3, 'µs a message')
    echo = 'echo 64 B'
    yield ratio(echo, 'lomond', 'bare', 'at most', 1.15)
    yield ratio(echo, 'lomond-spin', 'picows', 'at most', 0.5)
    yield ratio(echo, 'lomond-compiled', 'picows', 'at most', 1.05)
    yield ratio(echo, 'lomond-compiled-spin', 'picows', 'at most', 0.5)
    yield ratio(echo, 'websockets-asyncio', 'lomond-aio', 'at least', 1.3)
    yield ratio(echo, 'aiohttp', 'lomond-aio', 'at least', 1.0)


def _many_connections():
    for load, client, most in [
            ('crowd memory ws', 'lomond-pool', 7), ('crowd memory ws', 'lomond-aio', 9),
            ('crowd memory wss', 'lomond-pool', 42), ('crowd memory wss', 'lomond-aio', 42)]:
        yield figure(load, client, most, 'KiB')
    yield figure('crowd connect', 'lomond-pool', 0.25, 'ms of CPU')
    for count in ('100', '1,000', '10,000'):
        for each in (1, 16):
            yield ratio(
                'rounds {} {}'.format(count, each), 'lomond-pool', 'lomond', 'at most', 1.1)
    yield ratio('rounds 1,000 16', 'lomond-compiled-pool', 'picows', 'at most', 0.6)


def outcomes(results):
    """Yield (what, the target as text, the figure or None, 'pass', 'FAIL' or 'not measured')."""
    figures = Figures(results['pythons'].get(VERSION, {}).get('results', {}))
    for what, direction, mark, compute in targets():
        words = '{} {:g}'.format(direction, mark)
        try:
            found = compute(figures)
        except KeyError:
            yield what, words, None, 'not measured'
            continue
        is_met = found <= mark if direction == 'at most' else found >= mark
        yield what, words, found, 'pass' if is_met else 'FAIL'


def table(results):
    """Return the lines of a Markdown table."""
    lines = ['| load | target | measured | |', '| --- | --- | ---: | --- |']
    for what, words, found, outcome in outcomes(results):
        shown = '-' if found is None else '{:.2f}'.format(found)
        lines.append('| {} | {} | {} | {} |'.format(what, words, shown, outcome))
    return lines


def check(results):
    """Print the table; return whether all targets are met. A target not measured isn't met."""
    print('\n'.join(table(results)))
    return all(outcome == 'pass' for _, _, _, outcome in outcomes(results))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument('results', nargs='?', default=os.path.join(here, 'results.json'))
    with open(parser.parse_args().results, encoding='utf-8') as file:
        results = json.load(file)
    sys.exit(0 if check(results) else 1)


if __name__ == '__main__':
    main()
