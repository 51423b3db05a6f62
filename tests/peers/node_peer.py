"""Node's `ws`: echo.js and talk.js, run by node. `make peers` installs it."""

from __future__ import absolute_import, division, print_function

import base64
import json
import os
import subprocess
import threading

from six.moves import queue

from ..support import PATIENCE
from . import BURST, FRAGMENTS, PING, SERVER_CLOSE, Talk

HERE = os.path.dirname(os.path.abspath(__file__))


def missing():
    """Say why these tests can't run, or return None."""
    try:
        subprocess.check_output(['node', '--version'])
    except (EnvironmentError, subprocess.CalledProcessError):
        return 'there is no node'
    if not os.path.exists(os.path.join(HERE, 'node_modules', 'ws', 'package.json')):
        return "node's ws is not installed: make peers"
    return None


def start(script, *arguments):
    return subprocess.Popen(
        ['node', os.path.join(HERE, script)] + list(arguments),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)


class Server(object):

    def __init__(self, tls):
        self._tls = tls
        self.closed = queue.Queue()
        self.port = None
        self._process = None
        self._reader = threading.Thread(target=self._read)
        self._started = threading.Event()

    def __enter__(self):
        options = {
            'pem': self._tls and self._tls.pem,
            'burst': BURST, 'fragments': FRAGMENTS, 'ping': PING.decode('ascii'),
            'close': SERVER_CLOSE,
        }
        self._process = start('echo.js', json.dumps(options))
        self._reader.start()
        assert self._started.wait(PATIENCE)
        assert self.port, 'node failed'
        return self

    def __exit__(self, *_exc_info):
        self._process.stdin.close()     # it ends with that
        self._reader.join(PATIENCE)
        assert not self._reader.is_alive()
        assert self._process.wait() == 0
        self._process.stdout.close()

    def _read(self):
        for line in iter(self._process.stdout.readline, b''):
            message = json.loads(line.decode('utf-8'))
            if 'port' in message:
                self.port = message['port']
                self._started.set()
            else:
                self.closed.put((message['code'], message['reason']))
        self._started.set()


def talk(url, authority_file, messages, close=None, protocols=(), compress=False):
    process = start('talk.js')
    output, _errors = process.communicate(json.dumps({
        'url': url, 'authority': authority_file, 'close': close,
        'messages': [pack(message) for message in messages],
        'protocols': protocols, 'compress': compress,
    }).encode('ascii'))
    assert process.returncode == 0
    result = json.loads(output.decode('utf-8'))
    return Talk(
        [unpack(message) for message in result['messages']],
        tuple(result['closed']), result['protocol'] or None)


def pack(message):
    if isinstance(message, bytes):
        return {'base64': base64.b64encode(message).decode('ascii')}
    return {'text': message}


def unpack(message):
    return message['text'] if 'text' in message else base64.b64decode(message['base64'])
