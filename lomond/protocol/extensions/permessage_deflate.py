"""permessage-deflate (RFC 7692): agreeing on it, deflating, bounded inflating.

By zlib-ng where that is installed, else by Python's own zlib: `find_zlib`.
"""

from __future__ import absolute_import, division, print_function

import zlib

from lomond._checks import whole_number
from lomond._compat import TYPE_CHECKING, text_type
from lomond.errors import CompressionParameterError, InvalidPayload, PayloadTooLarge

if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple  # noqa: F401

    from lomond.protocol.extensions.grammar import Extension, Parameter  # noqa: F401

NAME = u'permessage-deflate'

SERVER_NO_TAKEOVER = u'server_no_context_takeover'
CLIENT_NO_TAKEOVER = u'client_no_context_takeover'
SERVER_WINDOW = u'server_max_window_bits'
CLIENT_WINDOW = u'client_max_window_bits'

_FLAGS = (SERVER_NO_TAKEOVER, CLIENT_NO_TAKEOVER)
_WINDOWS = (SERVER_WINDOW, CLIENT_WINDOW)
_WINDOW_VALUES = {text_type(bits): bits for bits in range(8, 16)}

#: RFC 7692 7.2.1: what a sender takes off each message, a receiver puts back.
_TAIL = b'\x00\x00\xff\xff'

#: RFC 7692 7.2.3.6: an empty message; zlib flushes to nothing the second time.
_EMPTY = b'\x00'

# An encoder ends its deflate stream (BFINAL, RFC 7692 7.2.3.4) once a message,
# if ever. A message full of tiny streams would cost quadratic time.
_MAX_STREAM_ENDS = 8

# Inflate so many bytes at once at most: zlib takes no length beyond a C long.
_SLICE = 16 * 1024 * 1024

# What find_zlib found, once it was asked.
_found_zlib = None  # type: Any


def find_zlib():
    # type: () -> Any
    """Return the module that deflates and inflates; imported when it is first asked for.

    zlib-ng's has zlib's interface, and is the faster one but for tiny
    messages. Its ``error`` isn't zlib's.
    """
    global _found_zlib  # noqa: PLW0603
    if _found_zlib is None:
        try:
            from zlib_ng import zlib_ng
            _found_zlib = zlib_ng
        except (ImportError, SyntaxError):      # SyntaxError: a package for another Python
            _found_zlib = zlib
        except EnvironmentError:        # no descriptor left to read it by
            return zlib
    return _found_zlib


class DeflateOptions(object):
    """What one side asks for, or allows, of permessage-deflate.

    Parameters, each for the stream of that side: ``server_no_context_takeover``
    and ``client_no_context_takeover`` (bool) forget the window between messages;
    ``server_max_window_bits`` and ``client_max_window_bits`` (8 to 15) bound
    it. ``level`` (-1 to 9) and ``mem_level`` (1 to 9) are zlib's, for what
    this side sends. Raises ValueError for numbers beyond these.
    """

    def __init__(self, server_no_context_takeover=False, client_no_context_takeover=False,
                 server_max_window_bits=15, client_max_window_bits=15,
                 level=zlib.Z_DEFAULT_COMPRESSION, mem_level=8):
        # type: (bool, bool, int, int, int, int) -> None
        self.server_no_context_takeover = server_no_context_takeover
        self.client_no_context_takeover = client_no_context_takeover
        self.server_max_window_bits = _check_range(
            'server_max_window_bits', server_max_window_bits, 8, 15)
        self.client_max_window_bits = _check_range(
            'client_max_window_bits', client_max_window_bits, 8, 15)
        self.level = _check_range('level', level, -1, 9)
        self.mem_level = _check_range('mem_level', mem_level, 1, 9)


def _check_range(name, value, low, high):
    # type: (str, int, int, int) -> int
    number = whole_number(value)
    if number is None or not low <= number <= high:
        raise ValueError(
            '{} must be a whole number from {} to {}, not {!r}'.format(name, low, high, value))
    return number


class PermessageDeflate(object):
    """The extension as agreed on, in one open WebSocket.

    ``deflate_*`` tells of what we send, ``inflate_*`` of what we receive.
    The zlib objects, some 300 KiB, are made with the first message.
    """

    def __init__(self, deflate_bits=15, deflate_takeover=True,
                 inflate_bits=15, inflate_takeover=True,
                 level=zlib.Z_DEFAULT_COMPRESSION, mem_level=8):
        # type: (int, bool, int, bool, int, int) -> None
        # zlib has no raw window of 8 bits to deflate with. Its window of 9
        # never looks back over 250 bytes, so an 8-bit inflater understands it.
        self.deflate_bits = max(deflate_bits, 9)
        self.deflate_takeover = deflate_takeover
        self.inflate_bits = inflate_bits
        self.inflate_takeover = inflate_takeover
        self._level = level
        self._mem_level = mem_level
        self._zlib = find_zlib()
        self._deflater = None  # type: Any
        self._inflater = None  # type: Any
        self._has_begun = False     # a message, with a first byte of it
        self._stream_ends = 0

    def compress(self, payload):
        # type: (bytes) -> bytes
        """Deflate a whole message. Calls must be in the order of sending."""
        if not payload:
            return _EMPTY
        deflater = self._deflater
        if deflater is None:
            deflater = self._zlib.compressobj(
                self._level, zlib.DEFLATED, -self.deflate_bits, self._mem_level)
            if self.deflate_takeover:
                self._deflater = deflater
        data = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)  # type: bytes
        return data[:-len(_TAIL)]

    def decompress(self, data, limit, is_last):
        # type: (bytes, Optional[int], bool) -> bytes
        """Inflate a piece of a message, the last or not.

        Stops at ``limit`` bytes (None: no limit) with PayloadTooLarge.
        Raises InvalidPayload for what isn't deflated data.
        """
        if is_last:
            if data or self._has_begun:
                # zlib flushes a second empty message to nothing at all, and some
                # peers send just that. The tail alone would be half a block.
                data += _TAIL
            self._has_begun = False
        elif data:
            self._has_begun = True
        message = self._gather(self._inflate(data, limit), limit, is_last) if data else b''
        if is_last:
            self._stream_ends = 0
            if not self.inflate_takeover:
                self._inflater = None
        return message

    def decompress_whole(self, data, limit):
        # type: (bytes, Optional[int]) -> bytes
        """Inflate a message that is all there, where no other has begun.

        As ``decompress(data, limit, True)``, only faster.
        """
        inflater = self._inflater
        if inflater is None or not data:
            return self.decompress(data, limit, True)
        # There is an inflater from the messages before: the window is kept.
        # What _inflate does, without the call.
        room = _SLICE if limit is None or limit >= _SLICE else limit + 1
        try:
            message = inflater.decompress(data + _TAIL, room)  # type: bytes
        except self._zlib.error as error:
            raise _bad_data(error)
        if len(message) == room or inflater.unused_data:
            message = self._gather(message, limit, True)
            self._stream_ends = 0
        return message

    def _inflate(self, data, limit):
        # type: (bytes, Optional[int]) -> bytes
        """Inflate once, to one byte beyond the limit at most: it shows that there is more."""
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = self._zlib.decompressobj(-self.inflate_bits)
        room = _SLICE if limit is None or limit >= _SLICE else limit + 1
        try:
            piece = inflater.decompress(data, room)  # type: bytes
        except self._zlib.error as error:
            raise _bad_data(error)
        return piece

    def _gather(self, piece, limit, is_last):
        # type: (bytes, Optional[int], bool) -> bytes
        """Return a piece just inflated and all that is still to come of the same data.

        ``is_last``: `_TAIL` is at the end of this data.
        """
        pieces = []  # type: List[bytes]
        while True:
            if limit is not None:
                limit -= len(piece)
                if limit < 0:
                    raise PayloadTooLarge('a compressed message inflates beyond the limit')
            pieces.append(piece)
            data = self._inflater.unconsumed_tail
            if not data and self._inflater.unused_data:
                data = self._inflater.unused_data
                self._restart()
                if is_last and len(data) <= len(_TAIL):
                    # Of the tail alone a new stream would keep half a block for the next message.
                    data = b''
            if not data:
                return b''.join(pieces)
            piece = self._inflate(data, limit)

    def release(self):
        # type: () -> None
        """Free the windows: the connection is over, but may be kept to be asked about."""
        self._deflater = self._inflater = None

    def _restart(self):
        # type: () -> None
        """Begin a new deflate stream after the peer ended one (BFINAL)."""
        self._inflater = None
        self._stream_ends += 1
        if self._stream_ends > _MAX_STREAM_ENDS:
            raise InvalidPayload('a compressed message ends its deflate stream too often')


def _bad_data(error):
    # type: (Exception) -> InvalidPayload
    return InvalidPayload('compressed data that does not inflate: {}', error)


def offer(options):
    # type: (DeflateOptions) -> List[Parameter]
    """Return the parameters of a client's offer (RFC 7692 7.1)."""
    parameters = []  # type: List[Parameter]
    if options.server_no_context_takeover:
        parameters.append((SERVER_NO_TAKEOVER, None))
    if options.client_no_context_takeover:
        parameters.append((CLIENT_NO_TAKEOVER, None))
    if options.server_max_window_bits < 15:
        parameters.append((SERVER_WINDOW, text_type(options.server_max_window_bits)))
    # Always offered, so that the server may bound our window if it has to.
    parameters.append((
        CLIENT_WINDOW,
        text_type(options.client_max_window_bits) if options.client_max_window_bits < 15
        else None))
    return parameters


def accept_answer(options, parameters):
    # type: (DeflateOptions, List[Parameter]) -> PermessageDeflate
    """Turn the server's answer to `offer` into the client's codec.

    Raises CompressionParameterError for an answer that the offer doesn't
    allow (RFC 7692 7.1.1 to 7.1.2).
    """
    answer = _check_parameters(parameters)
    for name in _WINDOWS:
        if name in answer and answer[name] is None:
            raise CompressionParameterError('{} needs a value', name)
    if options.server_no_context_takeover and SERVER_NO_TAKEOVER not in answer:
        raise CompressionParameterError('the server left out {}', SERVER_NO_TAKEOVER)
    client_bits = answer.get(CLIENT_WINDOW) or options.client_max_window_bits
    if client_bits > options.client_max_window_bits:
        raise CompressionParameterError(
            '{} is {}, but at most {} was offered',
            CLIENT_WINDOW, client_bits, options.client_max_window_bits)
    server_bits = answer.get(SERVER_WINDOW) or 15
    if server_bits > options.server_max_window_bits:
        raise CompressionParameterError(
            '{} is {}, but {} was asked for',
            SERVER_WINDOW, server_bits, options.server_max_window_bits)
    return PermessageDeflate(
        deflate_bits=client_bits,
        deflate_takeover=not (
            options.client_no_context_takeover or CLIENT_NO_TAKEOVER in answer),
        inflate_bits=server_bits,
        inflate_takeover=SERVER_NO_TAKEOVER not in answer,
        level=options.level,
        mem_level=options.mem_level,
    )


def answer_offers(options, extensions):
    # type: (DeflateOptions, List[Extension]) -> Optional[Tuple[List[Parameter], PermessageDeflate]]
    """Return the answer to the first offer that a server can take, and its codec.

    None if there is no such offer: then the connection goes on uncompressed.
    """
    for name, parameters in extensions:
        if name != NAME:
            continue
        try:
            asked = _check_parameters(parameters)
            if SERVER_WINDOW in asked and asked[SERVER_WINDOW] is None:
                raise CompressionParameterError('{} needs a value', SERVER_WINDOW)
        except CompressionParameterError:
            continue        # RFC 7692 7.1: decline this offer, look at the next
        return _answer_offer(options, asked)
    return None


def _answer_offer(options, asked):
    # type: (DeflateOptions, Dict[text_type, Optional[int]]) -> Tuple[List[Parameter], PermessageDeflate]
    server_takeover = not (options.server_no_context_takeover or SERVER_NO_TAKEOVER in asked)
    client_takeover = not (options.client_no_context_takeover or CLIENT_NO_TAKEOVER in asked)
    server_bits = min(options.server_max_window_bits, asked.get(SERVER_WINDOW) or 15)
    client_bits = 15
    if CLIENT_WINDOW in asked:      # else the client couldn't obey (RFC 7692 7.1.2.2)
        client_bits = min(options.client_max_window_bits, asked[CLIENT_WINDOW] or 15)

    answer = []  # type: List[Parameter]
    if not server_takeover:
        answer.append((SERVER_NO_TAKEOVER, None))
    if not client_takeover:
        answer.append((CLIENT_NO_TAKEOVER, None))
    if server_bits < 15 or SERVER_WINDOW in asked:
        answer.append((SERVER_WINDOW, text_type(server_bits)))
    if client_bits < 15:
        answer.append((CLIENT_WINDOW, text_type(client_bits)))
    return answer, PermessageDeflate(
        deflate_bits=server_bits,
        deflate_takeover=server_takeover,
        inflate_bits=client_bits,
        inflate_takeover=client_takeover,
        level=options.level,
        mem_level=options.mem_level,
    )


def _check_parameters(parameters):
    # type: (List[Parameter]) -> Dict[text_type, Optional[int]]
    """Return the parameters by name; raise for unknown, repeated or bad ones.

    A window's value is 8 to 15, or None if it has none.
    """
    checked = {}  # type: Dict[text_type, Optional[int]]
    for name, value in parameters:
        if name in checked:
            raise CompressionParameterError('{} is given twice', name)
        if name in _FLAGS:
            if value is not None:
                raise CompressionParameterError('{} takes no value', name)
            checked[name] = None
        elif name in _WINDOWS:
            if value is not None and value not in _WINDOW_VALUES:
                raise CompressionParameterError(
                    '{} must be from 8 to 15, not {!r}', name, value[:80])
            checked[name] = _WINDOW_VALUES[value] if value is not None else None
        else:
            raise CompressionParameterError('unknown parameter {!r}', name[:80])
    return checked
