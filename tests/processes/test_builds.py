"""The compiled modules do what their source does, seen in two processes: one with each."""

from __future__ import absolute_import, division, print_function

import io
import json
import os
import pickle
import subprocess
import sys

import pytest

import lomond
from lomond._core import why_pure
from tests.unit.test_events import FILLED, PROTOCOLS, Tagged, look
from tests.unit.test_imports import HOME

pytestmark = [
    pytest.mark.costly,
    pytest.mark.skipif(not lomond.accelerated, reason='pure Python: {}'.format(why_pure))]

#: Where the compiled modules may do otherwise: attributes of a C type refuse what isn't of it, and
#: exist, without a constructor's call.
UNEQUAL = (
    'FrameHeader(', 'blank ', 'made Decoder.news(', 'made FrameHeader.', 'made FrameParser.',
    'made Traffic.')

LOAD = '''
import pickle, sys
for number in range({}):
    protocol, pickled = pickle.load(sys.stdin.buffer)
    pickle.dump(pickle.dumps(pickle.loads(pickled), protocol), sys.stdout.buffer)
'''


def run(arguments, given=b'', **options):
    """Return what Python prints, in an environment of these options too."""
    process = subprocess.Popen(
        [sys.executable] + arguments, env=dict(os.environ, **options), cwd=os.path.dirname(HOME),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    output, errors = process.communicate(given)
    assert process.returncode == 0, errors.decode('utf-8')
    return output


def outcomes(is_compiled, **options):
    """Return what comes of each wrong call, by the call."""
    printed = json.loads(run(['-m', 'tests.processes.wrong_calls'], **options).decode('ascii'))
    assert printed['compiled'] == is_compiled
    return printed['results']


def test_wrong_arguments_are_refused_as_the_source_refuses_them():
    """And none of the calls ends the process."""
    pure, compiled = outcomes(False, LOMOND_COMPILED='no'), outcomes(True)
    calls = [call for call in compiled if call in pure and not call.startswith(UNEQUAL)]
    assert len(calls) > 5000
    assert [call for call in calls if (compiled[call] == 'done') != (pure[call] == 'done')] == []
    assert {compiled[call] for call in calls if compiled[call] != pure[call]} == {
        'OverflowError', 'TypeError', 'ValueError'}


def test_events_pickled_by_one_are_unpickled_by_the_other():
    tagged = Tagged(b'x', 12.5)
    tagged.tag = [u'a']
    cases = [(event, protocol) for event in FILLED + [tagged] for protocol in PROTOCOLS]
    given = b''.join(
        pickle.dumps((protocol, pickle.dumps(event, protocol))) for event, protocol in cases)
    back = io.BytesIO(run(['-c', LOAD.format(len(cases))], given, LOMOND_COMPILED='no'))
    for event, protocol in cases:
        twin = pickle.loads(pickle.load(back))
        assert type(twin) is type(event)
        assert look(twin) == look(event), protocol
