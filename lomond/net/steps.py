"""Steps: how a connection is made without waiting, by operations that call each other.

An operation is a generator. It yields a `Wait` where it can't go on yet, another operation
to call it (``sock = yield connect(...)``, on 2.7 too), and last of all its result. So a
driver decides how to wait, and a close() at any moment leaves nothing open.

Waits for nothing, and deals with no sockets.
"""

from __future__ import absolute_import, division, print_function

import functools
import sys

from lomond._compat import TYPE_CHECKING, NamedTuple, throw_arguments

if TYPE_CHECKING:
    from typing import Any, Callable, Generator, List, Sequence, Tuple  # noqa: F401

    from typing_extensions import ParamSpec

    P = ParamSpec('P')
    #: What the body of an operation is.
    Steps = Generator[Any, Any, None]

#: What to wait for, as `lomond.net.waiter.wait` takes it, and until when, by the monotonic clock.
Wait = NamedTuple('Wait', [('interest', 'Sequence[Tuple[int, int]]'), ('deadline', float)])


def operation(function):
    # type: (Callable[P, Steps]) -> Callable[P, Operation]
    """Decorate a generator function: calling it makes an `Operation`, and runs nothing yet."""
    @functools.wraps(function)
    def make(*args, **kwargs):
        # type: (*Any, **Any) -> Operation
        return Operation(function(*args, **kwargs))
    return make


class Operation(object):
    """An iterator that yields each `Wait`, and last the result, which is None if there is none.

    It runs a generator, and the operations that this calls by yielding them. What a called one
    raises is raised at the caller's ``yield``. Any other value that is yielded is the result, also
    a plain generator, as a user's function may return one.
    """

    __slots__ = ('_stack',)

    def __init__(self, generator):
        # type: (Steps) -> None
        self._stack = [generator]  # type: List[Any]    # the innermost last

    def __iter__(self):
        # type: () -> Operation
        return self

    def __next__(self):
        # type: () -> Any
        stack = self._stack
        # What the innermost generator gets for its `yield`: a result, or what to throw.
        value = error = step = None  # type: Any
        try:
            while stack:
                try:
                    step = stack[-1].send(value) if error is None else stack[-1].throw(*error)
                    value = error = None
                    if isinstance(step, Wait):
                        return step
                    if isinstance(step, Operation):
                        stack.extend(step._take_stack())
                        continue
                    value = step
                    _end(stack[-1])
                    stack.pop()
                except StopIteration:
                    stack.pop()
                    value = error = None
                    if sys.exc_info()[2].tb_next is not None:   # type: ignore[union-attr]
                        # It isn't the end, but was raised in there (PEP 479, for 2.7 and 3.6).
                        error = (RuntimeError('an operation raised StopIteration'),)
                        if not stack:
                            raise error[0]
                except BaseException:
                    stack.pop()
                    if not stack:
                        raise
                    value, error = None, throw_arguments()
                if not stack:
                    return value
        finally:
            # A traceback keeps this frame: it must keep no socket, and no way back to itself.
            value = error = step = None
        raise StopIteration

    next = __next__     # its name on 2.7

    def close(self):
        # type: () -> None
        """Close every generator, the innermost first; raises what one of them raises at its end."""
        try:
            while self._stack:
                self._stack.pop().close()
        finally:
            if self._stack:
                self.close()

    def _take_stack(self):
        # type: () -> List[Any]
        """Hand over the generators to the operation that calls this one."""
        stack, self._stack = self._stack, []
        return stack


def _end(generator):
    # type: (Steps) -> None
    """Let a generator that has yielded its result come to its end."""
    for _step in generator:
        generator.close()
        raise RuntimeError('an operation yielded more after its result')
