"""The steps of a script: what a `ScriptedServer` does on one connection, one after the other.

A step is a value: nothing happens before a server runs it, and one may stand in several scripts.
"""

from __future__ import absolute_import, division, print_function

from lomond._compat import TYPE_CHECKING, text_type
from lomond._messages import check_control
from lomond.protocol.close import encode_close
from lomond.protocol.refusal import Refusal
from lomond.testing.matching import check_expected, show, to_message

if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple, Union  # noqa: F401

    from lomond.testing.matching import Expected, Message, Sendable  # noqa: F401
    from lomond.websocket import Headers  # noqa: F401


class Step(object):
    """One step; its repr is what made it.

    Parameters: ``name`` and ``arguments``, to be shown; ``run``, called with the connection;
    ``is_last``, if the script ends with it; ``accepts``, if the opening handshake is complete
    before it.
    """

    def __init__(self, name, arguments, run, is_last=False, accepts=True):
        # type: (str, Sequence[Any], Callable[[Any], Any], bool, bool) -> None
        self._shown = '{}({})'.format(name, ', '.join(show(argument) for argument in arguments))
        self.run = run
        self.is_last = is_last
        self.accepts = accepts

    def __repr__(self):
        # type: () -> str
        return self._shown


def accept(protocol=None, headers=()):
    # type: (Optional[text_type], Headers) -> Step
    """Accept the client's request, with a subprotocol of its offer, and further headers.

    Only needed for these, and only as the first step: the server accepts before any other.
    """
    return Step('accept', [protocol], lambda end: end.accept(protocol, headers), accepts=False)


def reject(status, headers=(), body=b''):
    # type: (int, Headers, Union[bytes, text_type]) -> Step
    """Refuse the client's request with an HTTP answer; the only step of its script."""
    Refusal(status, body, headers)      # raises
    return Step('reject', [status], lambda end: end.reject(status, headers, body), True, False)


def say(message):
    # type: (Sendable) -> Step
    """Send a message: text, bytes, or a dict or list as JSON."""
    made = to_message(message)
    return Step('say', [message], lambda end: end.say(made))


def fragment(message, sizes):
    # type: (Sendable, Union[int, Iterable[int]]) -> Step
    """Send a message in fragments of these sizes, in characters or bytes; the rest is the last."""
    sizes = _keep(sizes)
    parts = cut(to_message(message), sizes)
    return Step('fragment', [message, sizes], lambda end: end.say_in_parts(parts))


def split(message, sizes):
    # type: (Sendable, Union[int, Iterable[int]]) -> Step
    """Send a message whose frame is written in pieces of these sizes, in bytes.

    A client that is slow may read several pieces at once: TCP doesn't keep them apart.
    """
    made, sizes = to_message(message), _keep(sizes)
    cut(b'', sizes)        # raises
    return Step('split', [message, sizes], lambda end: end.say_in_pieces(made, sizes))


def raw(data, handshake=True):
    # type: (bytes, bool) -> Step
    """Send bytes as they are; with ``handshake=False`` instead of the answer to the request."""
    if not isinstance(data, bytes):
        raise TypeError('raw takes bytes, not {!r}'.format(data))
    return Step('raw', [data], lambda end: end.write(data), accepts=handshake)


def expect(what=None):
    # type: (Expected) -> Step
    """Wait for the client's next message, which has to be this one.

    Parameters: ``what``, text or bytes that are equal to it; a dict or list that its JSON is equal
    to; a compiled regular expression that is found in it; a function that returns true for it;
    None for any message.
    """
    check_expected(what)
    return Step('expect', [what], lambda end: end.expect(what))


def ping(data=b''):
    # type: (bytes) -> Step
    """Send a ping, and wait for its pong."""
    payload = check_control('ping', data)
    return Step('ping', [data], lambda end: end.ping(payload))


def wait(event):
    # type: (Any) -> Step
    """Wait until the test sets a `threading.Event`; nothing is read meanwhile."""
    if not hasattr(event, 'wait'):
        raise TypeError('wait takes a threading.Event, not {!r}: nothing here takes seconds'.format(
            event))
    return Step('wait', ['event'], lambda end: end.wait(event))


def call(function):
    # type: (Callable[[], Any]) -> Step
    """Call a function of the test's, in the server's thread, such as the ``set`` of an event."""
    if not callable(function):
        raise TypeError('call takes a function, not {!r}'.format(function))
    return Step('call', [function], lambda _end: function())


def close(code=1000, reason=u''):
    # type: (Optional[int], text_type) -> Step
    """Send a Close frame, wait for the client's, and end TCP; the last step."""
    encode_close(code, reason)      # raises
    return Step('close', [code, reason], lambda end: end.close(code, reason), True)


def drop(handshake=True):
    # type: (bool) -> Step
    """End TCP without a Close frame (a FIN); the last step.

    With ``handshake=False`` instead of the answer to the request.
    """
    return Step('drop', [], lambda end: end.drop(), True, handshake)


def reset(handshake=True):
    # type: (bool) -> Step
    """Reset TCP (a RST); otherwise as `drop`."""
    return Step('reset', [], lambda end: end.reset(), True, handshake)


def stall(handshake=True):
    # type: (bool) -> Step
    """Read and send nothing until the server's block ends; the last step.

    With ``handshake=False`` the request isn't answered either.
    """
    return Step('stall', [], lambda end: end.stall(), True, handshake)


def _keep(sizes):
    # type: (Union[int, Iterable[int]]) -> Union[int, Iterable[int]]
    """Return sizes that can be read again: a step may run more than once."""
    return sizes if isinstance(sizes, int) else tuple(sizes)


def cut(message, sizes):
    # type: (Message, Union[int, Iterable[int]]) -> List[Message]
    """Cut a message into pieces of these sizes, or all of one size; the rest is the last piece."""
    if isinstance(sizes, int):
        sizes = [sizes] * max(1, -(-len(message) // max(1, sizes)) - 1)
    pieces = []
    for size in sizes:
        if size < 1:
            raise ValueError('a piece has at least 1 byte, not {!r}'.format(size))
        pieces.append(message[:size])
        message = message[size:]
    return pieces + [message] if message or not pieces else pieces


def check_script(script):
    # type: (Any) -> Tuple[Step, ...]
    """Return the steps of a script; raises TypeError, and ValueError for steps never reached."""
    if isinstance(script, Step):
        raise TypeError('a script is a list of steps: write ScriptedServer([{!r}, ...])'.format(
            script))
    if not hasattr(script, '__iter__') or isinstance(script, (bytes, text_type)):
        raise TypeError('a script is a list of steps, not {!r}'.format(script))
    steps = tuple(script)
    for index, step in enumerate(steps):
        if not isinstance(step, Step):
            raise TypeError(
                'a step is made by say(), expect(), drop() and so on of lomond.testing, not '
                '{!r}'.format(step))
        if step.is_last and index + 1 < len(steps):
            raise ValueError('{!r} ends a script: no step can follow it'.format(step))
        if not step.accepts and index:
            raise ValueError('{!r} comes first in a script: the server has accepted the '
                             'connection before any other step'.format(step))
    return steps
