"""``lomond shard CONFIG``: a fleet of shards on Ray, as a file describes it.

What a fleet is and does is in `lomond.shards.ray`; here are the file, and the table of its status.
"""

from __future__ import absolute_import, division, print_function

import importlib
import io
import json
import signal
import threading

from lomond import _console
from lomond._compat import TYPE_CHECKING, monotonic, text_to_native, text_type
from lomond.cli.output import readable
from lomond.cli.signals import STATUSES, catching
from lomond.cli.statuses import FAILED, OK, TERMINATED
from lomond.shards.sink import LOST

if TYPE_CHECKING:
    import argparse  # noqa: F401
    from typing import Any, Dict, Iterator, List, Optional, Set, Tuple  # noqa: F401

__all__ = ['DESCRIPTION', 'add_arguments', 'run']

DESCRIPTION = """\
Hold many feeds by several processes, and put their messages into Redis, by Ray.
Needs lomond[ray,redis]. CONFIG is a file in TOML (from Python 3.11 on) or JSON:

  shards = 4                      # how many processes
  replicas = 1                    # how many of them hold each feed
  ttl = 3.0                       # seconds of silence after which one counts as dead
  overlap = 0.0                   # seconds for a fleet that still runs, and that this one replaces
  sink = "redis://127.0.0.1:6379/0"
  address = "auto"                # of a Ray cluster; leave it out to start Ray here
  sequence = "feeds:number_of"    # MODULE:FUNCTION, for all feeds
  on_ready = "feeds:subscribe"

  [feeds]                         # NAME = URL
  tea = "wss://example.org/tea"

It runs until Ctrl-C or SIGTERM; SIGHUP has it read [feeds], and nothing else, from the file again.
It says on stderr which feeds aren't live, and why."""

#: What may be in the file, and of which type.
FIELDS = {
    'shards': int, 'replicas': int, 'ttl': (int, float), 'overlap': (int, float),
    'sink': text_type, 'address': text_type, 'sequence': text_type, 'on_ready': text_type,
    'feeds': dict,
}  # type: Dict[str, Any]

# Windows has none.
_RELOADING = {signal.SIGHUP} if hasattr(signal, 'SIGHUP') else set()  # type: Set[int]

_COLUMNS = ('name', 'state', 'pid', 'held', 'live', 'queued', 'received', 'published', 'duplicates',
            'lost')

# Seconds between two looks at which feeds aren't live, without ``--status``.
_LOOK = 10.0

# Seconds between two looks for a signal.
_TURN = 0.1


def add_arguments(parser):
    # type: (argparse.ArgumentParser) -> None
    """Add the arguments of ``lomond shard``."""
    parser.add_argument('config', metavar='CONFIG', help='a file in TOML or JSON')
    parser.add_argument('--status', metavar='S', type=_console.seconds, help=(
        'print a table of the shards every S seconds'))


def run(arguments):
    # type: (argparse.Namespace) -> int
    """Run the fleet until a signal; return the exit status."""
    try:
        config = read_config(arguments.config)
        feeds = make_feeds(config)
    except (ValueError, ImportError, EnvironmentError) as error:
        arguments.parser.error(text_to_native(u'{}: {}'.format(
            readable(arguments.config), readable(error))))
    try:
        from lomond.shards.ray import run as run_fleet
        from lomond.shards.redis import RedisSink
    except ImportError as error:
        arguments.parser.error('{}: pip install lomond[ray,redis]'.format(error))
    signals = _Signals()
    with catching(signals.on_signal, signals.numbers):
        try:
            fleet = run_fleet(
                feeds, config.get('shards', 2), RedisSink(config['sink']),
                replicas=config.get('replicas', 1), ttl=config.get('ttl', 3.0),
                overlap=config.get('overlap', 0.0), address=config.get('address'))
        except (ValueError, TypeError) as error:
            arguments.parser.error(text_to_native(u'{}: {}'.format(
                readable(arguments.config), readable(error))))
        except RuntimeError as error:
            _console.complain(u'lomond shard: {}'.format(readable(error)))
            return FAILED
        except SystemExit:      # of Ray's own handler of SIGTERM, while it starts
            return TERMINATED
        try:
            with catching(signals.on_signal, signals.numbers), fleet:      # after those of Ray
                return _watch(fleet, signals, arguments, config)
        except KeyboardInterrupt:
            return signals.status


def _watch(fleet, signals, arguments, config):
    # type: (Any, _Signals, argparse.Namespace, Dict[str, Any]) -> int
    """Show how the fleet is, until a signal; return the exit status."""
    complained = set()  # type: Set[str]
    while signals.wait(arguments.status or _LOOK):
        try:
            if signals.take_reload():
                _reload(fleet, arguments.config, config)
                continue
            status = fleet.status()
            waiting = fleet.waiting() if status['live'] < status['feeds'] else {}
        except RuntimeError as error:       # the supervisor may be about to begin again
            _console.complain(u'lomond shard: {}'.format(readable(error)))
            continue
        for name in sorted(set(waiting) - complained):
            _console.complain(u'lomond shard: {} is not live: {}'.format(name, waiting[name]))
        complained = set(waiting)
        if arguments.status and not _console.say(u'\n'.join(table(status)) + u'\n'):
            return OK
    return signals.status


class _Signals(object):
    """Waits for signals: SIGHUP asks for the file to be read again, any other one for the end.

    A second one of the others breaks off what is going on.
    """

    #: Which signals it waits for.
    numbers = frozenset(STATUSES) | _RELOADING

    def __init__(self):
        # type: () -> None
        self._caught = set()  # type: Set[int]

    def on_signal(self, number, _frame):
        # type: (int, Any) -> None
        """Remember a signal; raises KeyboardInterrupt for the second one that asks for the end."""
        is_second = bool(self._caught - _RELOADING)
        self._caught.add(number)
        if is_second and number not in _RELOADING:
            raise KeyboardInterrupt

    def wait(self, seconds):
        # type: (float) -> bool
        """Wait for a signal, or this long; return False if it is to end."""
        deadline = monotonic() + seconds
        waiting = threading.Event()
        # Not until the handler sets an event: the main thread may hold the lock of that.
        while not self._caught and monotonic() < deadline:
            waiting.wait(_TURN)
        return self._caught <= _RELOADING

    @property
    def status(self):
        # type: () -> int
        """The exit status for the signal that asked for the end."""
        return STATUSES[min(self._caught - _RELOADING)]

    def take_reload(self):
        # type: () -> bool
        """Return whether the file is to be read again."""
        asked = self._caught & _RELOADING
        self._caught -= asked
        return bool(asked)


def _reload(fleet, path, config):
    # type: (Any, str, Dict[str, Any]) -> None
    """Have the feeds that the file names now, all else as in ``config``, with which it began.

    Keep those of before if the file is wrong.
    """
    try:
        fleet.set_feeds(make_feeds(dict(config, feeds=read_config(path)['feeds'])))
    except (ValueError, TypeError, ImportError, EnvironmentError) as error:
        _console.complain(u'lomond shard: {} stays as it was: {}'.format(
            readable(path), readable(error)))


def read_config(path):
    # type: (str) -> Dict[str, Any]
    """Return what a file says; raises ValueError for anything wrong in it, and IOError."""
    with io.open(path, 'rb') as source:
        text = source.read().decode('utf-8')
    if path.endswith('.json'):
        loads = json.loads  # type: Any
    else:
        try:
            import tomllib
            loads = tomllib.loads
        except ImportError:
            raise ValueError('TOML needs Python 3.11 or newer: write it as JSON, in a file .json')
    try:
        config = loads(text)
    except RuntimeError as error:       # for thousands of brackets in one another
        raise ValueError(str(error))
    if not isinstance(config, dict):
        raise ValueError('it must be an object')
    for name, value in config.items():
        if name not in FIELDS:
            raise ValueError('unknown field {!r}; there are: {}'.format(
                str(name), ', '.join(sorted(FIELDS))))
        if not isinstance(value, FIELDS[name]) or isinstance(value, bool):
            raise ValueError('{} has a value of the wrong type: {!r}'.format(name, value))
    for name in 'sink', 'feeds':
        if not config.get(name):
            raise ValueError('{} is missing'.format(name))
    return config


def make_feeds(config):
    # type: (Dict[str, Any]) -> List[Any]
    """Return the `Feed` objects of a configuration; raises ValueError and ImportError."""
    from lomond.shards import Feed
    sequence, on_ready = (
        _find(config[name]) if name in config else None for name in ('sequence', 'on_ready'))
    try:
        return [Feed(text_type(name), url, sequence=sequence, on_ready=on_ready)
                for name, url in sorted(config['feeds'].items())]
    except TypeError as error:
        raise ValueError(text_type(error))


def _find(path):
    # type: (str) -> Any
    """Return the function that MODULE:FUNCTION names."""
    module, _colon, name = path.partition(':')
    try:
        function = getattr(importlib.import_module(str(module)), str(name), None) if name else None
    except Exception as error:      # of any kind: the module is the user's
        raise ValueError('{!r} can not be imported: {}: {}'.format(
            str(path), type(error).__name__, error))
    if not callable(function):
        raise ValueError('{!r} names no function: MODULE:FUNCTION'.format(str(path)))
    return function


def table(status):
    # type: (Dict[str, Any]) -> Iterator[str]
    """Yield the lines of a table of a fleet's status."""
    yield '{live} of {feeds} feeds are live, {moving} are being handed over'.format(**status)
    rows = [_COLUMNS] + [
        tuple(_cell(shard, column) for column in _COLUMNS)
        for shard in status['shards']]  # type: List[Tuple[str, ...]]
    widths = [max(len(row[index]) for row in rows) for index in range(len(_COLUMNS))]
    for row in rows:
        yield '  '.join(
            cell.ljust(width) if index < 2 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths))).rstrip()
    for shard in status['shards']:
        if shard.get('failure'):
            yield '{}: {}'.format(shard['name'], shard['failure'])


def _cell(shard, column):
    # type: (Dict[str, Any], str) -> str
    if column == 'state':
        return 'down' if not shard['up'] else 'draining' if shard['draining'] else shard['state']
    if column == 'lost' and 'received' in shard:
        return '{}'.format(sum(shard[name] for name in LOST))
    return '{}'.format(shard.get(column, ''))
