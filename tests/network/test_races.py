"""Many threads on one live connection, with a judge at its other end: see `races`.

A moment of each scenario; `make races` takes longer.
"""

from __future__ import absolute_import, division, print_function

import os
import signal
import subprocess
import sys

import pytest

from tests.network.races.match import Arena
from tests.network.races.scenarios import SCENARIOS
from tests.sampling import SHARE

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures('clean_environment')]

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Each in a process of its own: coverage's tracer has a lock, which a signal's handler may wait for
# that came while its own thread has it, and the child of a fork, in which nobody has it any more.
APART = ('handler_closes', 'process_forks')


@pytest.mark.parametrize('compress', [False, True], ids=['plain', 'deflate'])
@pytest.mark.parametrize('scheme', ['ws', 'wss'])
@pytest.mark.parametrize('scenario, arguments', [
    pytest.param(*scenario[1:], id=scenario[0]) for scenario in SCENARIOS
    if not scenario[0].startswith(APART)])
def test_a_race_harms_nobody(scenario, arguments, scheme, compress, server_tls, authority_file):
    options = {'server_tls': server_tls, 'authority_file': authority_file} \
        if scheme == 'wss' else {}
    scenario(Arena(compress, calls=40 // SHARE, seed=scheme, **options), *arguments)


@pytest.mark.skipif(not hasattr(signal, 'setitimer'), reason='there is no setitimer, and no fork')
@pytest.mark.parametrize('name', APART)
def test_a_race_with_signals_or_forks_harms_nobody(name):
    races = subprocess.Popen(
        [sys.executable, os.path.join(ROOT, 'compliance', 'races.py'),
         '--only', name, '--seconds', str(2.0 / SHARE), '--calls', '30'],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    out, _err = races.communicate()
    assert races.returncode == 0, out.decode('utf-8', 'replace')
