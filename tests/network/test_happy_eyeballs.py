"""Happy Eyeballs (RFC 8305): the addresses of a host race, on real sockets.

An address that doesn't answer is one of a listener whose queue is full: the
system drops what comes on top.
"""

from __future__ import absolute_import, division, print_function

import errno
import gc
import os
import socket
import sys

import pytest

from lomond._compat import monotonic
from lomond.errors import ConnectFail
from lomond.net.connect import connect
from lomond.net.options import NetOptions
from lomond.net.progress import Progress
from lomond.net.race import ATTEMPT_DELAY, MAX_ATTEMPTS, Race, interleave
from lomond.net.steps import Wait
from lomond.net.waiter import wait
from lomond.websocket import WebSocket

from ..support import PATIENCE, needs_refcounts
from .driving import stall

pytestmark = [
    pytest.mark.usefixtures('clean_environment', 'nothing_is_left_open'),
    pytest.mark.skipif(
        not sys.platform.startswith('linux'), reason='elsewhere a full listener answers otherwise'),
]

V4, V6 = socket.AF_INET, socket.AF_INET6


class Host(object):
    """A name with these addresses, and the race to it."""

    def __init__(self, addresses, timeout=PATIENCE, **options):
        self._addresses = addresses
        self.told = []
        self.most = 0       # attempts at a time
        self.began = monotonic()
        self.steps = self._connect(self.began + timeout, options)

    def _connect(self, deadline, options):
        def resolve(*_args):
            return [(V6 if len(address) == 4 else V4, socket.SOCK_STREAM, 0, '', address)
                    for address in self._addresses]
        for step in connect(u'far.invalid', 80, NetOptions(resolver=resolve, **options), deadline,
                            Progress(lambda stage, **fields: self.told.append(stage))):
            # The resolver's waits don't count here.
            if isinstance(step, Wait) and 'resolve' not in self.told:
                wait(step.interest, step.deadline - monotonic())
            else:
                yield step

    def run(self):
        """Connect; return the socket."""
        for step in self.steps:
            if not isinstance(step, Wait):
                return step
            self.most = max(self.most, len(step.interest))
            wait(step.interest, step.deadline - monotonic())

    def run_until(self, count):
        """Go on until so many attempts are open; return the `Wait`."""
        for step in self.steps:
            assert isinstance(step, Wait)
            if len(step.interest) == count:
                return step
            wait(step.interest, step.deadline - monotonic())

    def lose(self):
        """Fail to connect; return the ConnectFail."""
        with pytest.raises(ConnectFail) as caught:
            self.run()
        assert caught.value.phase == 'connect'
        return caught.value


class Clockwork(object):
    """A race to these addresses in a time of its own: no wait of it takes any.

    Only those in ``answering`` are waited for in the system's time, not to be missed.
    """

    def __init__(self, addresses, timeout=PATIENCE, answering=(), **options):
        self.race = Race(
            [(V6 if len(address) == 4 else V4, socket.SOCK_STREAM, 0, '', address)
             for address in addresses], NetOptions(**options), timeout)
        self._answering = answering
        self.now = 0.0
        self.most = 0       # attempts at a time

    def __enter__(self):
        return self

    def __exit__(self, *_exc_info):
        self.race.close()

    def run(self):
        """Go on until there is a winner, whose address is returned, or None if the race is lost."""
        while True:
            winner = self.race.advance(self.now)
            if winner is not None or self.race.is_lost:
                return None if winner is None else winner.address
            step = self.race.wait
            self.most = max(self.most, len(step.interest))
            if self.race.under_way[-1].address in self._answering:
                assert wait(step.interest, PATIENCE)
            else:
                self.now = step.deadline

    def outcomes(self):
        """Lose; return what became of each attempt."""
        assert self.run() is None
        return [outcome for _where, outcome in self.race.tried]


class Full(object):
    """A listener whose queue is full, until `make_room`."""

    def __init__(self):
        self._sock = socket.socket()
        self._sock.bind(('127.0.0.1', 0))
        self._sock.listen(0)
        self.address = self._sock.getsockname()
        self._clients = []
        while len(self._clients) < 4:
            client = socket.socket()
            self._clients.append(client)
            client.setblocking(False)
            client.connect_ex(self.address)
        for client in self._clients[:1]:
            assert wait(((client.fileno(), 2),), PATIENCE)
        assert not wait([(client.fileno(), 2) for client in self._clients[2:]], 0)

    def make_room(self):
        for client in self._clients:
            client.close()
        self._clients = []
        self._sock.setblocking(False)
        try:
            while True:
                self._sock.accept()[0].close()
        except socket.error:
            pass

    def close(self):
        for client in self._clients:
            client.close()
        self._sock.close()


@pytest.fixture
def full():
    full = Full()
    yield full
    full.close()


@pytest.fixture
def good(listener):
    return listener.getsockname()


@pytest.fixture
def refused(dead_port):
    return ('127.0.0.1', dead_port)


def open_descriptors(step):
    """Return those of a Wait's that are open."""
    found = []
    for descriptor, _mask in step.interest:
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        found.append(descriptor)
    return found


# -- the order --

@pytest.mark.parametrize('families, order', [
    ([], []),
    ([V4], [0]),
    ([V6, V6, V4, V4], [0, 2, 1, 3]),
    ([V4, V4, V4, V6], [0, 3, 1, 2]),
    ([V6, V4, V6, V4], [0, 1, 2, 3]),
    ([V4, V6, V6, V6], [0, 1, 2, 3]),
    ([V6, V6, V6], [0, 1, 2]),
])
def test_families_take_turns_beginning_with_the_first(families, order):
    """RFC 8305 4."""
    addresses = [(family, index) for index, family in enumerate(families)]
    assert [index for _family, index in interleave(addresses)] == order


def test_addresses_are_tried_in_this_order(dead_port):
    addresses = [('::1', dead_port, 0, 0), ('::ffff:127.0.0.3', dead_port, 0, 0),
                 ('127.0.0.1', dead_port), ('127.0.0.2', dead_port)]
    failure = Host(addresses).lose()
    assert [where for where, _outcome in failure.tried] == [
        u'[::1]', u'127.0.0.1', u'[::ffff:127.0.0.3]', u'127.0.0.2']
    for where, outcome in failure.tried:
        assert u'{}: {}'.format(where, outcome) in str(failure)


# -- the delay --

def test_next_address_is_tried_when_the_first_has_had_a_quarter_of_a_second(full, good):
    host = Host([full.address, good])
    step = next(host.steps)
    assert len(step.interest) == 1
    assert 0 <= step.deadline - host.began - ATTEMPT_DELAY < PATIENCE / 2
    assert ATTEMPT_DELAY == 0.25
    wait(step.interest, step.deadline - monotonic())
    sock = host.run()
    assert sock.getpeername() == good
    sock.close()


def test_next_address_is_tried_at_once_when_the_one_before_has_failed(refused, good):
    with Clockwork([refused] * 20 + [good], answering=(refused, good)) as race:
        assert race.run() == good
        assert race.now == 0


def test_failure_of_an_older_attempt_hurries_nobody(full, good):
    """Only that of the latest does: the others have their time."""
    with Clockwork([full.address, full.address, good]) as host:
        race = host.race
        assert race.advance(0.0) is None
        assert race.advance(ATTEMPT_DELAY) is None
        interest = race.wait.interest
        assert len(interest) == 2
        first = socket.fromfd(interest[0][0], socket.AF_INET, socket.SOCK_STREAM)
        first.shutdown(socket.SHUT_RDWR)
        first.close()
        assert race.advance(ATTEMPT_DELAY * 1.5) is None
        assert race.wait == Wait(interest[1:], ATTEMPT_DELAY * 2)


def test_driver_may_step_too_early(full, good):
    with Clockwork([full.address, good]) as host:
        steps = []
        for again in range(6):
            assert host.race.advance(ATTEMPT_DELAY * again / 6) is None
            steps.append(host.race.wait)
        assert steps == [Wait(steps[0].interest, ATTEMPT_DELAY)] * 6


def test_driver_may_step_late(listener, good):
    """The first address has long answered: the others aren't tried."""
    host = Host([good, good, good])
    step = next(host.steps)
    assert wait(step.interest, PATIENCE)
    while monotonic() < step.deadline:
        wait((), step.deadline - monotonic())
    sock = next(host.steps)
    assert not isinstance(sock, Wait)
    sock.close()
    listener.accept()[0].close()
    listener.setblocking(False)
    with pytest.raises(socket.error):
        listener.accept()


def test_delay_is_shorter_when_there_is_little_time(full, good):
    """A dead address must leave time for the ones behind it."""
    with Clockwork([full.address] * 3 + [good], timeout=0.5, answering=(good,)) as race:
        assert race.run() == good
        assert race.now < 0.5


# -- the race --

def test_loser_is_closed_when_there_is_a_winner(full, good):
    host = Host([full.address, full.address, good])
    host.run_until(2)
    step = host.run_until(3)
    assert len(open_descriptors(step)) == 3
    sock = host.run()
    assert open_descriptors(step) == [sock.fileno()]
    assert host.told == ['resolve', 'connect']
    sock.close()


def test_older_attempt_may_win(full):
    """Each goes on while later ones are made; here until the system tries again, after 1 s."""
    other = Full()
    host = Host([full.address, other.address])
    host.run_until(2)
    full.make_room()
    sock = host.run()
    assert sock.getpeername() == full.address
    sock.close()
    other.close()


@pytest.mark.skipif(not socket.has_ipv6, reason='Python was built without IPv6')
def test_families_race(full):
    sock = socket.socket(V6)
    try:
        sock.bind(('::1', 0))
    except socket.error:
        sock.close()
        pytest.skip('there is no IPv6 here')
    sock.listen(1)
    host = Host([full.address, full.address, sock.getsockname()])
    winner = host.run()
    assert winner.getpeername() == sock.getsockname()
    assert host.most == 2       # IPv6 was the second to be tried
    winner.close()
    sock.close()


def test_many_dead_addresses_are_not_tried_all_at_a_time(full):
    with Clockwork([full.address] * (MAX_ATTEMPTS + 4), timeout=0.4) as race:
        assert race.outcomes() == (
            [u'no answer so far'] * 4 + [u'timed out'] * MAX_ATTEMPTS)
        assert race.most == MAX_ATTEMPTS


def test_many_dead_addresses_do_not_hide_the_good_one(full, good):
    with Clockwork([full.address] * (MAX_ATTEMPTS + 1) + [good], 1.0, answering=(good,)) as race:
        assert race.run() == good
        assert race.now < 1.0


def test_tracer_that_ends_the_program_leaves_nothing_open(good):
    def trace(stage, **_fields):
        if stage == 'connect':
            raise SystemExit
    steps = connect(u'127.0.0.1', good[1], NetOptions(), monotonic() + PATIENCE, Progress(trace))
    with pytest.raises(SystemExit):
        for step in steps:
            wait(step.interest, PATIENCE)


@needs_refcounts
@pytest.mark.parametrize('count', [1, 2, 3])
def test_race_that_is_left_leaves_nothing_open(full, count):
    host = Host([full.address] * 3)
    step = host.run_until(count)
    host.steps.close()
    assert open_descriptors(step) == []


# -- the deadline, and what is told --

def test_deadline_holds_for_all_addresses_together(full):
    with Clockwork([full.address] * 3, timeout=0.2) as race:
        assert race.outcomes() == [u'timed out'] * 3
        assert race.now == 0.2
        assert isinstance(race.race.cause, socket.timeout)


def test_address_for_which_there_was_no_time_is_told(good):
    steps = connect(u'127.0.0.1', good[1], NetOptions(), monotonic() - 1, Progress())
    with pytest.raises(ConnectFail) as caught:
        list(steps)
    assert caught.value.tried == ((u'127.0.0.1', u'not tried before the timeout'),)
    assert isinstance(caught.value.cause, socket.timeout)


def test_cause_is_the_failure_that_tells_most(full, refused):
    """A refusal tells more than silence, that more than what this machine lacks."""
    def cause(*addresses):
        with Clockwork(addresses, source_address='127.0.0.1') as race:
            assert race.run() is None
            return race.race.cause

    here = ('192.0.2.1', 80)        # a source on loopback doesn't lead there
    elsewhere = ('::1', 80, 0, 0)
    assert cause(refused, here, full.address).errno == errno.ECONNREFUSED
    assert isinstance(cause(full.address, elsewhere), socket.timeout)
    assert cause(elsewhere).errno == errno.EAFNOSUPPORT


def test_event_tells_what_was_tried(refused, full):
    addresses = [(V4, socket.SOCK_STREAM, 0, '', address) for address in (refused, full.address)]
    event = stall(
        lambda timeout: WebSocket(
            u'ws://far.invalid/', resolver=lambda *_args: addresses, connect_timeout=timeout),
        lambda event: len(event.tried) == 2 and event.tried[1][1] == u'timed out')
    assert [where for where, _outcome in event.tried] == [u'127.0.0.1'] * 2
    assert 'far.invalid:80' in event.reason


def test_address_that_makes_no_sense_is_passed_over(good):
    """A resolver of the caller's own may return such."""
    host = Host([good + (5, 5, 5), ('::1', 80, 1 << 70, 0), good])
    sock = host.run()
    assert sock.getpeername() == good
    sock.close()


def test_nothing_is_left_for_the_collector(refused):
    def fail():
        try:
            Host([refused, refused, ('::1', 80, 0, 0)], source_address='127.0.0.1').run()
        except ConnectFail as error:
            assert len(error.tried) == 3

    gc.collect()
    gc.disable()
    try:
        fail()
        kinds = [type(thing) for thing in gc.get_objects()]
        assert [kind for kind in kinds if kind.__module__ == 'lomond.net.connect'] == []
    finally:
        gc.enable()
