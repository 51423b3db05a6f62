"""The clients that are compared, each as a user would write it, with the same few operations.

    receive(job)   seconds from a first message `go` until the last of `job.count` is in the
                   hands of the loop body, as str or bytes
    send(job)      seconds for `job.count` messages, until the peer says that it has them all
    burst(job)     a list: seconds for the `job.burst` calls of each burst
    echo(job)      a list: seconds of each round trip
    connect(job)   a list: seconds of each connection, until it may be used
    hold(job, opened)   open `job.count` connections, and call `opened` after each
    crowd(job, mark)    open `job.first` connections, then `job.connections`; each time call `mark`
                   when they can be used, and again when each has got the answer to a ping
    rounds(job)    a list: seconds to receive `job.each` messages, that have arrived, over each of
                   `job.active` connections of `job.connections`
    broadcast(job)      a list: seconds of each broadcast to `job.connections`

What a client can't do raises NotImplementedError, and is a dash in the table.
"""

from __future__ import absolute_import, division, print_function

import copy
from collections import OrderedDict


class Entry(object):
    """A line of the tables.

    Parameters: ``label``, for people; ``module`` and ``class_name`` in this
    package; ``package``, as pip knows it, None if it needs none; ``statement``,
    the import to time; ``only``, operations to which it is limited;
    ``is_old``, whether it lives in the environment of Lomond 0.3.4; ``needs``,
    another package.

    `accelerated` is what `lomond.accelerated` must be, None if the line isn't
    this checkout. `pure` is the key of the same line on pure Python, for a
    compiled one.
    """

    accelerated = pure = None

    def __init__(self, label, module, class_name, package=None, statement=None, only=None,
                 is_old=False, needs=None):
        self.label = label
        self.module = module
        self.class_name = class_name
        self.package = package
        self.statement = statement
        self.only = only
        self.is_old = is_old
        self.needs = needs

    def load(self):
        """Import the client, and return it."""
        module = __import__('clients.' + self.module, fromlist=['clients'])
        return getattr(module, self.class_name)()


class Checkout(Entry):
    """A line of this checkout, on pure Python."""

    accelerated = False

    def compiled(self, key):
        """Return the line on the compiled core that goes with this one, which has this key."""
        other = copy.copy(self)
        other.label = self.label.replace('lomond', 'lomond, compiled', 1)
        other.accelerated, other.pure = True, key
        return other


#: The loads in which a client masks.
_SENDING = ('send', 'burst', 'echo')

#: By key, in the order of the tables. Only floors have no import statement.
ENTRIES = OrderedDict()

for _key, _entry in [
    ('bare', Entry('bare socket', 'bare', 'BareSocket')),
    ('peer', Entry('the peer alone', 'bare', 'PeerAlone', only=('receive',))),
    ('zlib', Entry('zlib alone', 'bare', 'Zlib', only=('receive',))),
    ('zlib-ng', Entry('zlib-ng alone', 'bare', 'ZlibNg', only=('receive',), needs='zlib-ng')),
    ('lomond', Checkout('lomond', 'lomond_', 'Lomond', statement='from lomond import WebSocket')),
    ('lomond-spin', Checkout('lomond, spin', 'lomond_', 'LomondSpin', only=('echo',))),
    ('lomond-wsaccel', Checkout(
        'lomond, wsaccel', 'lomond_', 'LomondWsaccel', only=_SENDING, needs='wsaccel')),
    ('lomond-zlib-ng', Checkout(
        'lomond, zlib-ng', 'lomond_', 'LomondZlibNg', only=('receive',), needs='zlib-ng')),
    ('lomond-many', Checkout('lomond, send_many', 'lomond_', 'LomondSendMany', only=('burst',))),
    ('lomond-many-wsaccel', Checkout(
        'lomond, send_many, wsaccel', 'lomond_', 'LomondSendManyWsaccel', only=('burst',),
        needs='wsaccel')),
    ('lomond-pool', Checkout('lomond, Pool', 'many', 'LomondPool', only=('echo',))),
    ('lomond-server', Checkout('lomond, Server(threads=False)', 'many', 'LomondServer', only=())),
    ('lomond-aio', Checkout(
        'lomond, asyncio', 'lomond_aio', 'LomondAio', only=('receive', 'echo'))),
    ('lomond-aio-uvloop', Checkout(
        'lomond, uvloop', 'lomond_aio', 'LomondUvloop', only=('echo',), needs='uvloop')),
    ('lomond-0.3.4', Entry(
        'Lomond 0.3.4', 'lomond_', 'OldLomond', 'lomond', 'from lomond import WebSocket',
        is_old=True)),
    ('websocket-client', Entry(
        'websocket-client', 'websocket_client', 'WebsocketClient', 'websocket-client',
        'from websocket import create_connection')),
    ('websockets-sync', Entry(
        'websockets, threaded', 'websockets_sync', 'WebsocketsSync', 'websockets',
        'from websockets.sync.client import connect')),
    ('websockets-asyncio', Entry(
        'websockets, asyncio', 'websockets_asyncio', 'WebsocketsAsyncio', 'websockets',
        'from websockets.asyncio.client import connect')),
    ('aiohttp', Entry('aiohttp', 'aiohttp_', 'Aiohttp', 'aiohttp', 'import aiohttp')),
    ('picows', Entry('picows', 'picows_', 'Picows', 'picows', 'import picows')),
    ('simple-websocket', Entry(
        'simple-websocket', 'simple_websocket_', 'SimpleWebsocket', 'simple-websocket',
        'import simple_websocket')),
    ('ws4py', Entry(
        'ws4py', 'ws4py_', 'Ws4py', 'ws4py', 'from ws4py.client import WebSocketBaseClient')),
]:
    ENTRIES[_key] = _entry
    # The compiled core never uses wsaccel.
    if isinstance(_entry, Checkout) and _entry.needs != 'wsaccel':
        ENTRIES[_key.replace('lomond', 'lomond-compiled', 1)] = _entry.compiled(_key)

#: The keys.
ORDER = list(ENTRIES)
