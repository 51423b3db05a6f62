"""The machine that the figures were measured on, without names of hosts and paths."""

import datetime
import os
import platform
import re
import resource

from environments import ROOT


def describe():
    """Return a dict of strings."""
    release = re.match(r'[\d.]*', platform.release()).group()
    return {
        'date': datetime.date.today().isoformat(),
        'cpu': _cpu_model(),
        'cores': str(os.cpu_count()),
        'system': '{} {}'.format(platform.system(), release),
        'architecture': platform.machine(),
        'lomond': _lomond_version(),
    }


def allow_descriptors():
    """Let this process, and those that it starts, have as many descriptors as may be."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Load:
    """Measures what share of the machine's CPU other processes had since this was made.

    To be asked when all of our own have been waited for.
    """

    def __init__(self):
        self._total, self._busy = _cpu_seconds()
        self._ours = _our_seconds()

    def of_others(self):
        """Return a share of the whole, 0 to 1."""
        total, busy = _cpu_seconds()
        ours = _our_seconds() - self._ours
        return max(0.0, (busy - self._busy - ours) / (total - self._total))


def _cpu_seconds():
    """Return how long all cores have been there, and busy, since the start of the system."""
    with open('/proc/stat') as lines:
        spent = [int(field) / os.sysconf('SC_CLK_TCK') for field in next(lines).split()[1:9]]
    # Interrupts aside: those of loopback are for our sake.
    user, nice, system, _idle, _waiting, _irq, _softirq, stolen = spent
    return sum(spent), user + nice + system + stolen


def _our_seconds():
    used = [
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _cpu_model():
    try:
        with open('/proc/cpuinfo') as lines:
            for line in lines:
                if line.startswith('model name'):
                    return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or 'unknown'


def _lomond_version():
    with open(os.path.join(ROOT, 'lomond', '__init__.py'), encoding='utf-8') as source:
        return re.search(r"^__version__ = '(.+)'$", source.read(), re.MULTILINE).group(1)
