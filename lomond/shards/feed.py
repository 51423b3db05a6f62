"""A feed: where its messages come from, and what numbers them. It opens no connection."""

from __future__ import absolute_import, division, print_function

from lomond._checks import check_callable
from lomond._compat import TYPE_CHECKING, text_type
from lomond.engine.policy import check_policy
from lomond.persist import ReconnectPolicy
from lomond.websocket import WebSocket

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Union  # noqa: F401

    Source = Union[text_type, Callable[[], WebSocket]]
    Sequence = Callable[[Any], int]
    OnReady = Callable[[WebSocket, Optional[int]], Any]


class Feed(object):
    """One named feed.

    Parameters:

    - ``name``: text that identifies the feed, and by which its messages are found.
    - ``source``: a URL, or a function that returns a new `WebSocket` at each call.
    - ``policy``: when to connect again, a `ReconnectPolicy`; None for the default one.
    - ``sequence``: a function that returns the feed's own number of a Text or Binary event, an
      integer that grows with each message; None if the feed has none. A message for which it
      returns None is ``skipped``; if it raises, or returns anything else, the message is counted
      as ``unnumbered``, and isn't published.
    - ``on_ready``: a function that is called with the WebSocket after each Ready, and with the
      number of the last message that the sink has, or that waits for it, or None: it subscribes,
      and asks a feed that can be resumed for what came after that. It runs in the sink's thread.
    - ``options``: further options of `lomond.pool.Pool.add`, such as ``ping_rate``.

    A feed that is sent to another process, as by `lomond.shards.ray`, has to be picklable, and so
    do its functions. Raises TypeError and ValueError.
    """

    __slots__ = ('name', 'on_ready', 'options', 'policy', 'sequence', 'source')

    def __init__(
        self,
        name,               # type: text_type
        source,             # type: Source
        policy=None,        # type: Optional[ReconnectPolicy]
        sequence=None,      # type: Optional[Sequence]
        on_ready=None,      # type: Optional[OnReady]
        options=None        # type: Optional[Dict[str, Any]]
    ):
        # type: (...) -> None
        if not isinstance(name, (text_type, str)) or not name:
            raise TypeError('the name of a feed must be text, not {!r}'.format(name))
        if callable(source):
            pass
        elif isinstance(source, (text_type, str)):
            WebSocket(source)       # raises ValueError for a URL that is none
        else:
            raise TypeError('a feed needs a URL, or a function that returns a WebSocket, '
                            'not {!r}'.format(source))
        check_policy(policy, '')
        self.name = text_type(name)  # type: text_type
        self.source = source  # type: Source
        self.policy = ReconnectPolicy() if policy is None else policy  # type: ReconnectPolicy
        self.sequence = check_callable('sequence', sequence)  # type: Optional[Sequence]
        self.on_ready = check_callable('on_ready', on_ready)  # type: Optional[OnReady]
        self.options = dict(options or {})  # type: Dict[str, Any]

    def make(self):
        # type: () -> WebSocket
        """Return a new WebSocket for the feed."""
        source = self.source  # type: Any
        websocket = source() if callable(source) else WebSocket(source)
        if not isinstance(websocket, WebSocket):
            raise TypeError('the function of feed {!r} must return a WebSocket, not {!r}'.format(
                self.name, websocket))
        return websocket

    def __repr__(self):
        # type: () -> str
        return 'Feed({!r})'.format(self.name)
