"""What a client is asked to do, and a clock."""

from __future__ import absolute_import, division, print_function

import os
import resource
import socket
import ssl
import time

import payloads

#: Wall clock in seconds: the finest that this Python has.
wall_clock = getattr(time, 'perf_counter', time.time)


def _cpu_used():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


#: Seconds of CPU that this process has used, in all its threads.
cpu_clock = getattr(time, 'process_time', _cpu_used)


class Job(object):
    """One load for one client.

    Parameters: ``base``, the peer's URL without a path; ``options``, a dict
    with some of size, count, is_text, deflate, burst, seconds, has_flood, first, connections,
    each; ``cafile``, the certificate to trust; ``clock``, what to measure with.
    """

    def __init__(self, base, options, cafile=None, clock=wall_clock):
        self._base = base
        self.size = options.get('size', 0)
        self.count = options.get('count', 1)
        self.is_text = options.get('is_text', True)
        self.deflate = options.get('deflate', False)
        self.burst = options.get('burst', 1)
        self.seconds = options.get('seconds')
        self.has_flood = options.get('has_flood', False)
        self.first = options.get('first', 0)
        self.connections = options.get('connections', 1)
        #: How many of them get messages, and how many each in one round.
        self.active = self.connections // 10
        self.each = options.get('each', 1)
        self._commands = None
        self.cafile = cafile
        self.clock = clock

    def url(self, operation):
        """Return the URL under which the peer does its part of an operation."""
        if operation == 'receive' and self.seconds is not None:
            return '{}/idle?seconds={}'.format(self._base, self.seconds)
        if operation == 'receive':
            query = 'size={}&count={}&text={:d}&deflate={:d}'.format(
                self.size, self.count, self.is_text, self.deflate)
        elif operation == 'send':
            operation, query = 'take', 'size={}&count={}&times=1'.format(self.size, self.count)
        elif operation == 'burst':
            operation, query = 'take', 'size={}&count={}&times={}'.format(
                self.size, self.burst, self.count)
        elif operation == 'echo':
            query = 'size={}&count={}'.format(self.size, self.count)
        elif operation == 'flood':
            operation, query = 'receive', 'size=120&count=1000000000&text=1'
        elif operation == 'feed':
            query = 'group={}'.format(os.getpid())
        else:
            operation, query = 'hold', ''
        return '{}/{}?{}'.format(self._base, operation, query)

    def ask_for_round(self):
        """Have the messages of one round arrive; return when they have."""
        self._ask('/round?group={}&size={}&each={}'.format(os.getpid(), self.size, self.each))
        self._commands.recv(2)

    def ask_to_dial(self, port):
        """Have the peer open its connections to a server in this process."""
        self._ask('/dial?port={}&count={}'.format(port, self.connections))

    def _ask(self, target):
        if self._commands is None:
            self._commands = socket.create_connection(
                ('127.0.0.1', int(self._base.rpartition(':')[2])))
        self._commands.sendall('GET {} HTTP/1.1\r\n\r\n'.format(target).encode('ascii'))

    @property
    def payload(self):
        """The message to send: text or bytes."""
        payload = payloads.messages(self.size, 1)[0]
        return payload.decode('ascii') if self.is_text else payload

    @property
    def limit(self):
        """The largest message that the client has to accept, in bytes."""
        return 512 * 1024 * 1024

    def ssl_context(self):
        """Return the context that checks the peer's certificate, made once for all connections."""
        return ssl.create_default_context(cafile=self.cafile) if self.cafile else None

    def check(self, message):
        """Raise ValueError unless the loop body got what was sent."""
        wanted = 2 if self.seconds is not None else self.size
        if not isinstance(message, type(u'') if self.is_text else bytes) or len(message) != wanted:
            raise ValueError('got {} of {}'.format(type(message).__name__, len(message)))
