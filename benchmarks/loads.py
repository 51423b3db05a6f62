"""The loads: what each client is asked to do, and how the tables show it."""

BURST = 64

_SIZES = [
    # name, bytes, messages of the first trial
    ('16 B', 16, 500),
    ('120 B', 120, 500),
    ('1 KiB', 1024, 200),
    ('16 KiB', 16 * 1024, 50),
    ('1 MiB', 1024 * 1024, 4),
]


class Load:
    """One column of a table.

    Parameters: ``key``; ``table``, the title of its table; ``column``, the head
    of its column; ``operation``, a method of the client; ``measure``, one of the
    worker, or 'import'; ``options``, for `clients.job.Job`; ``has_ratio``,
    whether a ratio to the bare socket means something; ``once``, whether one run will do;
    ``clients``, the keys of those to which it is limited, with which go their compiled lines;
    ``is_quick``, whether `--quick` has it.
    """

    def __init__(self, key, table, column, operation, options, measure='timed', has_ratio=True,
                 once=False, clients=None, is_quick=False):
        self.key = key
        self.table = table
        self.column = column
        self.operation = operation
        self.options = options
        self.measure = measure
        self.has_ratio = has_ratio
        self.once = once
        self.clients = clients
        self.is_quick = is_quick

    def suits(self, client, entry):
        """Return whether a client takes part."""
        client = entry.pure or client
        if self.clients is not None:
            return client in self.clients
        if self.measure == 'import':
            return entry.statement is not None
        if entry.only is not None and self.operation not in entry.only:
            return False
        if client in ('peer', 'zlib', 'zlib-ng', 'lomond-zlib-ng'):
            is_deflated = bool(self.options.get('deflate'))
            return self.measure == 'timed' and is_deflated == (client != 'peer')
        return True


def _receive_loads():
    for deflate in (False, True):
        for is_text in (True, False):
            kind = 'text' if is_text else 'binary'
            table = 'Receive {}{}, µs a message'.format(kind, ', deflated' if deflate else '')
            for name, size, first in _SIZES:
                key = 'receive {} {}{}'.format(name, kind, ' deflated' if deflate else '')
                yield Load(
                    key, table, name, 'receive',
                    {'size': size, 'is_text': is_text, 'deflate': deflate, 'first': first},
                    is_quick=key in (
                        'receive 16 B text', 'receive 120 B text', 'receive 1 KiB text',
                        'receive 1 MiB binary', 'receive 1 KiB text deflated'))


def _sending_loads():
    table = 'Send, µs a message'
    for name, size, first, kind in [
            ('120 B', 120, 100, 'text'), ('16 KiB', 16 * 1024, 20, 'binary'),
            ('1 MiB', 1024 * 1024, 2, 'binary')]:
        yield Load(
            'send {} {}'.format(name, kind), table, '{} {}'.format(name, kind), 'send',
            {'size': size, 'is_text': kind == 'text', 'first': first}, is_quick=True)
    yield Load(
        'burst', table, 'burst of {}, 120 B text'.format(BURST), 'burst',
        {'size': 120, 'is_text': True, 'first': 4, 'burst': BURST}, is_quick=True)


def _other_loads():
    yield Load(
        'echo 64 B', 'Round trips, µs', 'echo 64 B, median (99th percentile)', 'echo',
        {'size': 64, 'is_text': True, 'first': 50}, is_quick=True)
    for scheme in ('ws', 'wss'):
        yield Load(
            'connect ' + scheme, 'Round trips, µs', 'connect, ' + scheme, 'connect',
            {'first': 3, 'tls': scheme == 'wss'})
    table = 'Import, memory, CPU'
    yield Load(
        'import', table, 'import, ms', '', {}, measure='import', has_ratio=False, is_quick=True)
    yield Load(
        'idle memory', table, 'an idle connection, KiB', 'hold', {'count': 50}, measure='hold',
        has_ratio=False, is_quick=True)
    yield Load(
        'peak memory', table, 'peak for a message of 256 MiB, times its size', 'receive',
        {'size': 256 * 1024 * 1024, 'is_text': False}, measure='peak', has_ratio=False,
        once=True, is_quick=True)
    for name, count in (('30,000', 30000), ('300,000', 300000)):
        yield Load(
            'linear ' + name, 'Receive 120 B text, µs a message, by the number of messages', name,
            'receive', {'size': 120, 'is_text': True, 'count': count}, has_ratio=False,
            clients=('lomond',), is_quick=True)


def _crowd_loads():
    table = 'Many connections'
    for scheme, count in (('ws', 10000), ('wss', 2000)):
        yield Load(
            'crowd memory ' + scheme, table,
            'one of {:,} idle connections, {}, KiB'.format(count, scheme), 'crowd',
            {'connections': count, 'first': 100, 'tls': scheme == 'wss'}, measure='crowd_memory',
            has_ratio=False, once=True, is_quick=True,
            clients=('lomond-pool', 'lomond-aio', 'websockets-asyncio', 'aiohttp', 'picows'))
    yield Load(
        'crowd memory threads', table, 'one of 300, a thread each, KiB', 'crowd',
        {'connections': 300, 'first': 10}, measure='crowd_memory', has_ratio=False, once=True,
        clients=('lomond',))
    yield Load(
        'crowd connect', table, 'connect one of 10,000, ms of CPU', 'crowd',
        {'connections': 10000, 'first': 100}, measure='crowd_cpu', has_ratio=False, is_quick=True,
        clients=('lomond-pool',))
    yield Load(
        'broadcast', table, 'broadcast 120 B to 1,000, µs of CPU a connection', 'broadcast',
        {'connections': 1000, 'size': 120, 'is_text': True, 'count': 100, 'burst': 1000},
        measure='timed_cpu', has_ratio=False, is_quick=True,
        clients=('lomond-pool', 'lomond-server'))
    yield Load(
        'echo beside a flood', table, 'echo 64 B beside a flood, µs, median (99th percentile)',
        'echo', {'size': 64, 'is_text': True, 'first': 50, 'has_flood': True}, has_ratio=False,
        is_quick=True, clients=('lomond-pool', 'lomond-aio', 'websockets-asyncio', 'aiohttp'))
    for each in (1, 16):
        for count in (100, 1000, 10000):
            yield Load(
                'rounds {:,} {}'.format(count, each),
                'Receive 120 B text over a tenth of the connections at a time, µs of CPU a message',
                '{:,}, {} each'.format(count, each), 'rounds',
                {'connections': count, 'each': each, 'size': 120, 'is_text': True,
                 'count': 30 if count == 10000 else 300, 'burst': count // 10 * each},
                measure='timed_cpu', has_ratio=False, is_quick=True,
                clients=('lomond', 'lomond-pool', 'picows'))


#: In the order of the tables.
LOADS = list(_receive_loads()) + list(_sending_loads()) + list(_other_loads()) + list(
    _crowd_loads())

#: Measured apart: all clients of all Pythons at the same time.
IDLE_CPU = Load(
    'idle cpu', 'Import, memory, CPU', 'CPU of an idle connection, ms a minute', 'receive',
    {}, measure='idle', has_ratio=False, once=True)
