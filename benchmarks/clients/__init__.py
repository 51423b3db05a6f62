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


class Entry(object):
    """A line of the tables.

    Parameters: ``label``, for people; ``module`` and ``class_name`` in this
    package; ``package``, as pip knows it, None if it needs none; ``statement``,
    the import to time; ``note``, for the legend; ``only``, operations to
    which it is limited; ``is_old``, whether it lives in the environment of
    Lomond 0.3.4.
    """

    def __init__(self, label, module, class_name, package=None, statement=None, note=None,
                 only=None, is_old=False, needs=None):
        self.label = label
        self.module = module
        self.class_name = class_name
        self.package = package
        self.statement = statement
        self.note = note
        self.only = only
        self.is_old = is_old
        self.needs = needs

    def load(self):
        """Import the client, and return it."""
        module = __import__('clients.' + self.module, fromlist=['clients'])
        return getattr(module, self.class_name)()


#: The loads in which a client masks.
_SENDING = ('send', 'burst', 'echo')

#: By key, in the order of the tables. Only floors have no import statement.
ENTRIES = {}

for _key, _entry in [
    ('bare', Entry(
        'bare socket', 'bare', 'BareSocket',
        note='does the same I/O, and no WebSocket')),
    ('peer', Entry(
        'the peer alone', 'bare', 'PeerAlone', only=('receive',),
        note='a client that has the system throw the bytes away: as fast as the peer can send')),
    ('zlib', Entry(
        'zlib alone', 'bare', 'Zlib', only=('receive',),
        note='inflates the same payloads with one decompressobj, with no socket')),
    ('lomond', Entry(
        'lomond', 'lomond_', 'Lomond', statement='from lomond import WebSocket',
        note='this checkout, pure Python')),
    ('lomond-wsaccel', Entry(
        'lomond, wsaccel', 'lomond_', 'LomondWsaccel', only=_SENDING, needs='wsaccel',
        note='this checkout with wsaccel, which serves sending only')),
    ('lomond-zlib-ng', Entry(
        'lomond, zlib-ng', 'lomond_', 'LomondZlibNg', only=('receive',), needs='zlib-ng',
        note='this checkout with zlib-ng, which serves deflated messages only')),
    ('lomond-many', Entry(
        'lomond, send_many', 'lomond_', 'LomondSendMany', only=('burst',),
        note='this checkout, several messages in one call')),
    ('lomond-many-wsaccel', Entry(
        'lomond, send_many, wsaccel', 'lomond_', 'LomondSendManyWsaccel', only=('burst',),
        needs='wsaccel', note='the same with wsaccel')),
    ('lomond-pool', Entry(
        'lomond, Pool', 'many', 'LomondPool', only=('echo',),
        note='this checkout, all connections in one thread')),
    ('lomond-server', Entry(
        'lomond, Server(threads=False)', 'many', 'LomondServer', only=(),
        note='this checkout, all connections in one thread')),
    ('lomond-aio', Entry(
        'lomond, asyncio', 'lomond_aio', 'LomondAio', only=('receive', 'echo'),
        note='this checkout, `lomond.aio`')),
    ('lomond-aio-uvloop', Entry(
        'lomond, uvloop', 'lomond_aio', 'LomondUvloop', only=('echo',), needs='uvloop',
        note='the same on uvloop')),
    ('lomond-0.3.4', Entry(
        'Lomond 0.3.4', 'lomond_', 'OldLomond', 'lomond', 'from lomond import WebSocket',
        is_old=True, note='the Lomond before this one')),
    ('websocket-client', Entry(
        'websocket-client', 'websocket_client', 'WebsocketClient', 'websocket-client',
        'from websocket import create_connection', note='its blocking functions')),
    ('websockets-sync', Entry(
        'websockets, threaded', 'websockets_sync', 'WebsocketsSync', 'websockets',
        'from websockets.sync.client import connect', note='its `sync` client')),
    ('websockets-asyncio', Entry(
        'websockets, asyncio', 'websockets_asyncio', 'WebsocketsAsyncio', 'websockets',
        'from websockets.asyncio.client import connect', note='its asyncio client')),
    ('aiohttp', Entry(
        'aiohttp', 'aiohttp_', 'Aiohttp', 'aiohttp', 'import aiohttp',
        note='asyncio, parser in C')),
    ('picows', Entry(
        'picows', 'picows_', 'Picows', 'picows', 'import picows',
        note='asyncio, in C by Cython; its core API of callbacks; for deflated messages, which '
        'that cannot do, its `websockets` API')),
    ('simple-websocket', Entry(
        'simple-websocket', 'simple_websocket_', 'SimpleWebsocket', 'simple-websocket',
        'import simple_websocket', note='wsproto, with a thread for the I/O')),
    ('ws4py', Entry(
        'ws4py', 'ws4py_', 'Ws4py', 'ws4py', 'from ws4py.client import WebSocketBaseClient',
        note='its loop in the calling thread')),
]:
    ENTRIES[_key] = _entry

#: The same on 2.7, whose dict has no order.
ORDER = [
    'bare', 'peer', 'zlib', 'lomond', 'lomond-wsaccel', 'lomond-zlib-ng',
    'lomond-many', 'lomond-many-wsaccel', 'lomond-pool', 'lomond-server', 'lomond-aio',
    'lomond-aio-uvloop', 'lomond-0.3.4', 'websocket-client', 'websockets-sync',
    'websockets-asyncio', 'aiohttp', 'picows', 'simple-websocket', 'ws4py',
]
