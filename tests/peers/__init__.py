"""Servers and clients that nobody here wrote, against this package's other end.

Each of the modules named ``*_peer`` has a class `Server`, a context manager:

- ``Server(tls)``: ``tls`` is None, or has the attributes ``context`` (an
  `ssl.SSLContext`) and ``pem`` (the path of a key and its certificates).
- ``port`` is where it listens, on 127.0.0.1.
- ``closed`` is a queue with the pair (code, reason) of each Close frame that
  came in, put there at the end of its connection.

What it does depends on the path of the URL. It sends back what it gets, and

- ``/burst``: first sends the numbers up to `BURST`, as texts.
- ``/ping``: first sends the ping `PING`, and after its pong the text 'ponged'.
- ``/fragments``: sends back each message in `FRAGMENTS` frames.
- ``/close``: closes with `SERVER_CLOSE` when it gets a message.
- ``/record``: sends nothing back. It appends to the list ``records`` a list for
  each connection, and to that the messages (`websockets` and `tornado` only).

It knows the subprotocol 'chat', and takes compression if it's offered.

And it has a function `talk`, a client's part of a dialogue:

- ``talk(url, authority_file, messages, close=None, protocols=(), compress=False)``
  sends the messages and receives as many. Then it closes, with ``close``, or
  waits for the server to do so. It returns a `Talk`.
"""

from __future__ import absolute_import, division, print_function

from collections import namedtuple

#: What a client has to tell of a dialogue: the messages it got (text or
#: bytes), the pair (code, reason) of the Close frame that it got, the
#: subprotocol or None.
Talk = namedtuple('Talk', ['messages', 'closed', 'protocol'])

BURST = 1000
PING = b'are you there?'
FRAGMENTS = 3
SERVER_CLOSE = (4002, u'bis sp\u00e4ter')


def cut(message):
    """Cut a message in `FRAGMENTS` pieces, of which any may be empty."""
    size = len(message) // (FRAGMENTS - 1) or 1
    return [message[i * size:(i + 1) * size] for i in range(FRAGMENTS - 1)] + [
        message[(FRAGMENTS - 1) * size:]]
