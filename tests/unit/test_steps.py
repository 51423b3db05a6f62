"""lomond.net.steps: operations that wait, call each other, fail and are closed."""

from __future__ import absolute_import, division, print_function

import gc
import sys
import traceback
import weakref

import pytest

from lomond.net.steps import Operation, Wait, operation
from tests.support import needs_refcounts

FIRST, SECOND, THIRD = (Wait((), float(deadline)) for deadline in range(3))


class Thing(object):
    """A result, such as a socket."""


class Log(list):
    """Notes what happens, in order."""

    @operation
    def run(self, name, *calls):
        """Wait, call each of the operations given, and return the results; note the end."""
        results = []
        try:
            yield FIRST
            for call in calls:
                results.append((yield call))
        except Exception as error:
            self.append((name, str(error)))
            raise
        finally:
            self.append(name)
        yield results


@operation
def give(result):
    yield result


@operation
def fail(error):
    yield SECOND
    raise error


# -- waits and results --

def test_nothing_runs_before_the_first_step():
    log = Log()
    log.run('a').close()
    assert log == []


def test_waits_of_all_depths_come_in_order_and_the_result_last():
    @operation
    def innermost():
        yield THIRD
        yield 'x'

    @operation
    def inner():
        yield SECOND
        yield (yield innermost()) + 'y'

    @operation
    def outer():
        yield FIRST
        result = yield inner()
        yield FIRST
        yield result + 'z'

    assert list(outer()) == [FIRST, SECOND, THIRD, FIRST, 'xyz']


@pytest.mark.parametrize('result', [
    None, False, 0, [], (), Wait, [FIRST], Operation, iter(()), (step for step in [FIRST])])
def test_any_result_will_do(result):
    @operation
    def call():
        yield [(yield give(result))]

    assert list(give(result)) == [result]
    (found,), = call()
    assert found is result


def test_an_operation_without_a_result_has_none():
    @operation
    def inner():
        yield FIRST

    @operation
    def outer():
        yield [(yield inner())]

    assert list(inner()) == [FIRST, None]
    assert list(outer()) == [FIRST, [None]]


def test_a_finished_operation_stays_finished():
    steps = give(1)
    assert next(steps) == 1
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(steps)
    steps.close()


def test_an_operation_that_was_begun_goes_on():
    @operation
    def inner():
        yield FIRST
        yield SECOND
        yield 1

    @operation
    def outer():
        yield (yield begun)

    @operation
    def middle():
        yield 1 + (yield inner())

    begun = middle()
    assert next(begun) == FIRST
    assert list(outer()) == [SECOND, 2]
    assert list(begun) == []


def test_an_operation_that_is_over_gives_nothing_more():
    over = give(1)
    assert list(over) == [1]

    @operation
    def outer():
        yield [(yield over)]

    assert list(outer()) == [[None]]


def test_depth_is_not_limited_by_recursion():
    @operation
    def descend(depth):
        yield 0 if not depth else 1 + (yield descend(depth - 1))

    depth = 10 * sys.getrecursionlimit()
    assert list(descend(depth)) == [depth]


def test_parameters_name_and_docs_are_those_of_the_function():
    class Owner(object):
        @operation
        def method(self, one, two=2):
            """Add."""
            yield one + two

    assert list(Owner().method(1)) == [3]
    assert list(Owner().method(1, two=3)) == [4]
    assert (Owner.method.__name__, Owner.method.__doc__) == ('method', 'Add.')


def test_more_after_the_result_is_a_mistake():
    is_closed = []

    @operation
    def wrong():
        try:
            yield 1
            yield FIRST
        finally:
            is_closed.append(True)

    @operation
    def outer():
        with pytest.raises(RuntimeError):
            yield wrong()
        yield 'caught'

    with pytest.raises(RuntimeError) as caught:
        next(wrong())
    assert 'after its result' in str(caught.value)
    assert list(outer()) == ['caught']
    assert is_closed == [True] * 2


# -- errors --

@pytest.mark.parametrize('error', [ValueError('v'), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_is_raised_at_the_yield_of_the_caller(error):
    @operation
    def outer():
        try:
            yield fail(error)
        except type(error) as found:
            assert found is error
        yield THIRD
        yield 'caught'

    assert list(outer()) == [SECOND, THIRD, 'caught']


def test_an_error_that_nobody_catches_ends_all_and_is_raised_in_the_driver():
    log, error = Log(), ValueError('v')
    steps = log.run('a', log.run('b', log.run('c', fail(error))))
    with pytest.raises(ValueError) as caught:
        list(steps)
    assert caught.value is error
    assert log == [('c', 'v'), 'c', ('b', 'v'), 'b', ('a', 'v'), 'a']
    assert list(steps) == []


def test_an_error_may_become_another_one():
    @operation
    def translate():
        try:
            yield fail(ValueError('v'))
        except ValueError as error:
            raise KeyError(str(error))

    @operation
    def outer():
        try:
            yield translate()
        except KeyError as error:
            yield error.args

    assert list(outer()) == [SECOND, ('v',)]


def test_the_traceback_leads_to_where_it_was_raised():
    log = Log()
    try:
        list(log.run('a', log.run('b', fail(ValueError('v')))))
    except ValueError:
        names = [entry[2] for entry in traceback.extract_tb(sys.exc_info()[2])]
    assert names.count('run') == 2
    assert names[-1] == 'fail'


def test_an_error_at_the_very_beginning_is_raised_there():
    @operation
    def at_once():
        raise ValueError('v')
        yield

    @operation
    def outer():
        try:
            yield at_once()
        except ValueError:
            yield 'caught'

    assert list(outer()) == ['caught']


def test_a_caught_error_is_not_thrown_twice():
    log = Log()

    @operation
    def outer():
        for _ in range(2):
            try:
                yield fail(ValueError('v'))
            except ValueError:
                log.append('caught')
            log.append((yield give('result')))

    assert list(outer()) == [SECOND, SECOND, None]
    assert log == ['caught', 'result'] * 2


@pytest.mark.filterwarnings('ignore:.*StopIteration:DeprecationWarning')     # 3.6
def test_an_iterators_end_that_leaks_is_an_error():
    """Before 3.7 it would pass for the end of the generator, and of what that was to do."""
    @operation
    def leak():
        yield FIRST
        yield next(iter(()))

    @operation
    def outer():
        try:
            yield leak()
        except RuntimeError:
            yield 'caught'

    assert list(outer()) == [FIRST, 'caught']
    with pytest.raises(RuntimeError):
        list(leak())


# -- closing --

def test_closing_closes_the_innermost_first():
    log = Log()
    steps = log.run('a', log.run('b', log.run('c')))
    for _ in range(3):
        assert next(steps) == FIRST
    steps.close()
    assert log == ['c', 'b', 'a']
    assert list(steps) == []
    steps.close()


def test_what_is_dropped_is_closed_the_innermost_first():
    log = Log()
    steps = log.run('a', log.run('b', log.run('c')))
    for _ in range(3):
        next(steps)
    del steps
    gc.collect()
    assert log == ['c', 'b', 'a']


def test_an_error_while_closing_keeps_nothing_open():
    log = Log()

    @operation
    def wrong():
        try:
            yield SECOND
        finally:
            log.append('wrong')
            raise ValueError('v')

    steps = log.run('a', log.run('b', wrong()))
    for _ in range(3):
        next(steps)
    with pytest.raises(ValueError):
        steps.close()
    assert log == ['wrong', 'b', 'a']
    assert list(steps) == []


# -- nothing is held on to --

@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@needs_refcounts
def test_a_result_belongs_to_its_caller_alone(no_collector):
    """On 2.7 a descriptor stays open while any object refers to it."""
    is_gone = []

    @operation
    def make():
        thing = Thing()
        is_gone.append(weakref.ref(thing))
        yield thing

    @operation
    def outer():
        thing = yield make()
        assert is_gone[0]() is thing
        yield FIRST
        del thing
        assert is_gone[0]() is None
        yield SECOND

    assert list(outer()) == [FIRST, SECOND, None]


@needs_refcounts
def test_the_last_result_belongs_to_the_driver_alone(no_collector):
    thing = Thing()
    is_gone = weakref.ref(thing)
    steps = give(thing)
    del thing
    thing = next(steps)
    assert is_gone() is thing
    del thing
    assert is_gone() is None


@needs_refcounts
def test_an_error_leads_to_no_result_and_not_to_itself(no_collector):
    """Its traceback keeps the frames that it went through."""
    made = []

    @operation
    def make():
        thing = Thing()
        made.append(weakref.ref(thing))
        yield thing

    class Failure(Exception):
        """An error to be referred to."""

    @operation
    def outer():
        yield make()
        yield make()
        raise Failure

    def catch(steps):
        try:
            list(steps)
        except Failure as error:
            # As `sys.exc_info` has it on 2.7, which is cleared at the end of this function.
            assert [thing() for thing in made] == [None, None]
            return weakref.ref(error)

    @operation
    def outermost():
        yield outer()

    for make_steps in outer, outermost:
        del made[:]
        assert catch(make_steps())() is None


@needs_refcounts
def test_a_caught_error_is_let_go_at_the_next_wait(no_collector):
    class Failure(Exception):
        """An error to be referred to."""

    seen = []

    @operation
    def inner():
        raise Failure
        yield

    @operation
    def outer():
        yield SECOND
        try:
            yield inner()
        except Failure as error:
            seen.append(weakref.ref(error))
            del error
        yield THIRD

    steps = outer()
    assert [next(steps), next(steps)] == [SECOND, THIRD]
    assert seen[0]() is None
    steps.close()
