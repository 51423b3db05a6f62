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

    def ratio(self, load, client, to):
        """Return one client's figure divided by another's."""
        return self(load, client) / self(load, to)

    def difference(self, load, client, to):
        """Return one client's figure minus another's."""
        return self(load, client) - self(load, to)


def targets():
    """Yield (what, 'at most' or 'at least', the target, a function of Figures)."""
    small = 'receive 120 B text'
    yield small + ', µs', 'at most', 0.8, lambda f: f(small, 'lomond')
    for other, factor in [('lomond-0.3.4', 10), ('websocket-client', 10),
                          ('websockets-sync', 6), ('aiohttp', 1.5)]:
        yield (small + ', {} / lomond'.format(other), 'at least', factor,
               lambda f, other=other: f.ratio(small, other, 'lomond'))
    yield ('receive 1 MiB binary, lomond / bare', 'at most', 1.3,
           lambda f: f.ratio('receive 1 MiB binary', 'lomond', 'bare'))
    for ours in ('lomond', 'lomond-zlib-ng'):
        yield ('receive 1 KiB text deflated, {} / zlib'.format(ours), 'at most', 1.3,
               lambda f, ours=ours: f.ratio('receive 1 KiB text deflated', ours, 'zlib'))
    for ours, more in [('lomond-wsaccel', 2.0), ('lomond', 2.3)]:
        yield ('send 120 B text, {} - bare, µs'.format(ours), 'at most', more,
               lambda f, ours=ours: f.difference('send 120 B text', ours, 'bare'))
    for ours in ('lomond-wsaccel', 'lomond'):
        for other in ('websocket-client', 'websockets-sync', 'websockets-asyncio'):
            yield ('send 120 B text, {} / {}'.format(other, ours), 'at least', 1.7,
                   lambda f, other=other, ours=ours: f.ratio('send 120 B text', other, ours))
    for ours in ('lomond-wsaccel', 'lomond'):
        for other in ('websocket-client', 'websockets-sync', 'websockets-asyncio', 'picows'):
            yield ('send 1 MiB binary, {} / {}'.format(other, ours), 'at least', 1.0,
                   lambda f, other=other, ours=ours: f.ratio('send 1 MiB binary', other, ours))
    yield ('burst, lomond-many, µs a message', 'at most', 2.0,
           lambda f: f('burst', 'lomond-many'))
    yield ('echo 64 B, lomond / bare', 'at most', 1.15,
           lambda f: f.ratio('echo 64 B', 'lomond', 'bare'))
    yield 'import, ms', 'at most', 35, lambda f: f('import', 'lomond')
    yield 'idle memory, KiB', 'at most', 40, lambda f: f('idle memory', 'lomond')
    yield ('peak memory, times a message of 256 MiB', 'at most', 2.1,
           lambda f: f('peak memory', 'lomond'))
    for key, ours, most in [
            ('crowd memory ws', 'lomond-pool', 7), ('crowd memory ws', 'lomond-aio', 9),
            ('crowd memory wss', 'lomond-pool', 42), ('crowd memory wss', 'lomond-aio', 42)]:
        yield ('{}, {}, KiB'.format(key, ours), 'at most', most,
               lambda f, key=key, ours=ours: f(key, ours))
    yield ('crowd connect, lomond-pool, ms of CPU', 'at most', 0.25,
           lambda f: f('crowd connect', 'lomond-pool'))
    for count in ('100', '1,000', '10,000'):
        for each in (1, 16):
            key = 'rounds {} {}'.format(count, each)
            yield (key + ', lomond-pool / lomond', 'at most', 1.1,
                   lambda f, key=key: f.ratio(key, 'lomond-pool', 'lomond'))
    for other, factor in [('websockets-asyncio', 1.3), ('aiohttp', 1.0)]:
        yield ('echo 64 B, {} / lomond-aio'.format(other), 'at least', factor,
               lambda f, other=other: f.ratio('echo 64 B', other, 'lomond-aio'))
    yield (small + ', lomond-aio / lomond', 'at most', 1.1,
           lambda f: f.ratio(small, 'lomond-aio', 'lomond'))
    yield ('receive 120 B text, 300,000 messages / 30,000', 'at most', 1.1,
           lambda f: f('linear 300,000', 'lomond') / f('linear 30,000', 'lomond'))


def outcomes(results):
    """Yield (what, the target as text, the figure or None, 'pass', 'FAIL' or 'not measured')."""
    found = results['pythons'].get(VERSION)
    figures = Figures(found['results'] if found else {})
    for what, direction, mark, compute in targets():
        words = '{} {:g}'.format(direction, mark)
        try:
            figure = compute(figures)
        except KeyError:
            yield what, words, None, 'not measured'
            continue
        is_met = figure <= mark if direction == 'at most' else figure >= mark
        yield what, words, figure, 'pass' if is_met else 'FAIL'


def table(results):
    """Return the lines of a Markdown table."""
    lines = ['| load | target | measured | |', '| --- | --- | ---: | --- |']
    for what, words, figure, outcome in outcomes(results):
        shown = '-' if figure is None else '{:.2f}'.format(figure)
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
