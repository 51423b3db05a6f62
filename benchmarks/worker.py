"""Run one client with one load in this fresh process; print what it took, as JSON.

`run.py` starts it, under each Python. Its one argument is a JSON object: client, operation,
options (see `clients.job.Job`), ports, cafile, checkout (what to put on the path, or null), seconds
(about how long to measure), accelerated (what `lomond.accelerated` must be; null if it isn't this
checkout). It prints {"value": ..., "p99": ..., "count": ..., "accelerated": ...}, values in the
load's own unit; or {"missing": "why"}.
"""

from __future__ import absolute_import, division, print_function

import gc
import json
import os
import sys
import time

#: How often a client may fail in one process.
_FAILURES = 20

#: Statuses of memory in /proc/self/status, in KiB.
_NOW, _PEAK = 'VmRSS:', 'VmHWM:'


def memory(name):
    """Return this process's memory in bytes."""
    with open('/proc/self/status') as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    raise NotImplementedError('this system does not tell')


def memory_in_use():
    """Return this process's memory in bytes, without garbage."""
    gc.collect()
    return memory(_NOW)


def check_accelerated(wanted):
    """Raise AssertionError if lomond is compiled and should be pure Python, or the other way."""
    found = getattr(sys.modules.get('lomond'), 'accelerated', None)
    if found is not wanted:
        raise AssertionError('lomond.accelerated is {}, not {}'.format(found, wanted))


def median(values):
    """Return the middle one."""
    return sorted(values)[len(values) // 2]


class Worker(object):
    """One client and its task."""

    def __init__(self, task):
        from clients import ENTRIES, job
        self._job = job
        self._task = task
        self._failures = 0
        self._clock = job.wall_clock
        self._client = ENTRIES[task['client']].load()
        check_accelerated(task['accelerated'])
        scheme = 'wss' if task['options'].get('tls') else 'ws'
        index = (scheme == 'wss') + 2 * ('connections' in task['options'])
        self._base = '{}://127.0.0.1:{}'.format(scheme, task['ports'][index])
        self._cafile = task['cafile'] if scheme == 'wss' else None

    def job(self, count, clock=None):
        """Return a job with this number of messages."""
        options = dict(self._task['options'], count=count)
        return self._job.Job(
            self._base, options, self._cafile, clock or self._clock)

    def timed(self):
        """Measure for about as long as wanted, once short runs have shown the speed."""
        options = self._task['options']
        count = options.get('count') or self._find_count(options['first'])
        result, wall, busy = self._run(count)
        told = {'count': count, 'busy': busy, 'failures': self._failures}
        if not isinstance(result, list):
            return dict(told, value=result / count * 1e6)
        ordered = sorted(result)
        per = options.get('burst', 1)
        return dict(
            told, value=median(ordered) / per * 1e6,
            p99=ordered[len(ordered) * 99 // 100] / per * 1e6)

    def timed_cpu(self):
        """Measure the same in CPU."""
        self._clock = self._job.cpu_clock
        return self.timed()

    def _run(self, count):
        """Return the result, the seconds it took with all around it, and the share of CPU in it."""
        operation = getattr(self._client, self._task['operation'])
        while True:
            started, used = self._job.wall_clock(), self._job.cpu_clock()
            try:
                result = operation(self.job(count))
            except ValueError:
                # Some clients fail now and then: that is reported, and the run repeated.
                self._failures += 1
                if self._failures == _FAILURES:
                    raise
                continue
            wall = self._job.wall_clock() - started
            return result, wall, (self._job.cpu_clock() - used) / wall

    def _find_count(self, count):
        """Return a number of messages that takes long enough.

        By the clock on the wall: a client with a thread of its own may have
        read all of a short run before its loop begins. The first run is for
        what is imported and set up late.
        """
        seconds = self._task['seconds']
        self._run(count)
        while True:
            _result, wall, _busy = self._run(count)
            if wall > seconds / 6:
                return max(1, int(count * seconds / wall))
            count *= 4

    def idle(self):
        """Return the milliseconds of CPU that doing nothing takes."""
        elapsed = self._client.receive(self.job(1, self._job.cpu_clock))
        return {'value': elapsed * 1e3, 'count': 1}

    def peak(self):
        """Return how many times its size the largest message takes."""
        before = memory(_NOW)
        self._run(1)
        return {'value': (memory(_PEAK) - before) / self._task['options']['size'], 'count': 1}

    def hold(self):
        """Return the KiB that a connection takes, after the first few, which import modules."""
        first, count = 10, self._task['options']['count']
        sizes = []
        self._client.hold(self.job(first + count), lambda: sizes.append(self._settled()))
        return {'value': (sizes[-1] - sizes[first - 1]) / count / 1024, 'count': count}

    def crowd_memory(self):
        """Return the KiB that each of many connections takes once it has sent a ping."""
        return self._measure_crowd(memory_in_use, 1, 3, 1024)

    def crowd_cpu(self):
        """Return the milliseconds of CPU until each of many connections can be used."""
        return self._measure_crowd(self._job.cpu_clock, 1, 2, 1e-3)

    def _measure_crowd(self, measure, begin, end, unit):
        """Measure the second crowd of a client, when the first has imported and set up all."""
        options = self._task['options']
        if sys.version_info < (3, 11):
            options['connections'] = min(options['connections'], 2000)
        marks = []
        self._client.crowd(self.job(1), lambda: marks.append(measure()))
        count = options['connections']
        return {'value': (marks[end] - marks[begin]) / count / unit, 'count': count}

    def _settled(self):
        time.sleep(0.001)       # a client's threads get to their waiting
        return memory(_NOW)


def main():
    task = json.loads(sys.argv[1])
    if task['checkout']:
        sys.path.insert(0, task['checkout'])
    try:
        worker = Worker(task)
        result = getattr(worker, task['measure'])()
        result['accelerated'] = task['accelerated']
    except ImportError as error:
        result = {'missing': 'not installed: {}'.format(error)}
    except SyntaxError:
        result = {'missing': 'needs Python 3'}
    except (AttributeError, NotImplementedError) as error:
        result = {'missing': str(error) or 'cannot do that'}
    print(json.dumps(result))
    sys.stdout.flush()
    # Without cleaning up: a client's threads and connections may be busy.
    os._exit(0)


if __name__ == '__main__':
    main()
