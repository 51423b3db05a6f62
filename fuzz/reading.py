"""What a target makes of a file of the corpus: options first, then the bytes as they come.

Plain, so that a seed can be written by hand and a fuzzer's changes stay small.
"""

from __future__ import absolute_import, division, print_function

#: The most pieces that are asked for.
MAX_CUTS = 15


class Input(object):
    """Bytes, taken from the front; zeros once there are none."""

    def __init__(self, data):
        self._data = bytes(data)
        self._pos = 0

    @property
    def is_empty(self):
        return self._pos >= len(self._data)

    def byte(self):
        return ord(self.take(1) or b'\0')

    def choose(self, *choices):
        return choices[self.byte() % len(choices)]

    def take(self, count):
        """Return this number of bytes, or what there is."""
        taken = self._data[self._pos:self._pos + count]
        self._pos += len(taken)
        return taken

    def rest(self):
        return self.take(len(self._data))

    def sizes(self):
        """Return the sizes of pieces: a number of them, then a byte for each."""
        return [self.byte() for _ in range(self.byte() % (MAX_CUTS + 1))]


def cut(data, sizes):
    """Return the data in pieces of these sizes, and the rest."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return pieces + [data]


def check_same(one, other):
    """Assert that two accounts of the same are equal; say what they are."""
    assert one == other, '{!r}\n  is not\n{!r}'.format(one, other)[:4000]


def as_text(data):
    """Return the text that these bytes are in UTF-8, else in Latin-1."""
    try:
        return data.decode('utf-8')
    except UnicodeDecodeError:
        return data.decode('latin-1')
