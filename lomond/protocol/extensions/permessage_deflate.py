"""permessage-deflate (RFC 7692): its options, offers and answers, and the extension itself.

Deflates nothing: the codec that was agreed on, in `deflate`, does.
"""

from __future__ import absolute_import, division, print_function

import zlib
from itertools import chain

from lomond._checks import whole_number
from lomond._compat import TYPE_CHECKING, text_type
from lomond.errors import CompressionParameterError, ProtocolError
from lomond.opcode import Opcode
from lomond.protocol.extensions.base import Extension
from lomond.protocol.extensions.deflate import PART, DeflateCodec
from lomond.protocol.frame import CONTROL_BIT, RSV1

if TYPE_CHECKING:
    from typing import Any, ClassVar, Dict, Iterable, Iterator, List, Optional, Sequence, Tuple  # noqa: F401

    from lomond.protocol.extensions.grammar import Offer, Parameter  # noqa: F401
    from lomond.protocol.frame import FrameHeader  # noqa: F401

NAME = u'permessage-deflate'

SERVER_NO_TAKEOVER = u'server_no_context_takeover'
CLIENT_NO_TAKEOVER = u'client_no_context_takeover'
SERVER_WINDOW = u'server_max_window_bits'
CLIENT_WINDOW = u'client_max_window_bits'

_FLAGS = (SERVER_NO_TAKEOVER, CLIENT_NO_TAKEOVER)
_WINDOWS = (SERVER_WINDOW, CLIENT_WINDOW)
_WINDOW_VALUES = {text_type(bits): bits for bits in range(8, 16)}


class DeflateOptions(object):
    """What one side asks for, or allows, of permessage-deflate.

    Parameters:

    - ``server_no_context_takeover``, ``client_no_context_takeover``: True to forget the window
      between messages that this side sends, which saves memory and costs bytes.
    - ``server_max_window_bits``, ``client_max_window_bits``: the size of the window for what this
      side sends, as a power of two: 8 to 15.
    - ``level``: zlib's, for what is sent: -1 for its default, or 0 to 9.
    - ``mem_level``: zlib's, for what is sent: 1 to 9.

    Raises ValueError for other numbers.
    """

    def __init__(self, server_no_context_takeover=False, client_no_context_takeover=False,
                 server_max_window_bits=15, client_max_window_bits=15,
                 level=zlib.Z_DEFAULT_COMPRESSION, mem_level=8):
        # type: (bool, bool, int, int, int, int) -> None
        self.server_no_context_takeover = server_no_context_takeover  # type: bool
        self.client_no_context_takeover = client_no_context_takeover  # type: bool
        self.server_max_window_bits = _check_range(
            'server_max_window_bits', server_max_window_bits, 8, 15)  # type: int
        self.client_max_window_bits = _check_range(
            'client_max_window_bits', client_max_window_bits, 8, 15)  # type: int
        self.level = _check_range('level', level, -1, 9)  # type: int
        self.mem_level = _check_range('mem_level', mem_level, 1, 9)  # type: int


def _check_range(name, value, low, high):
    # type: (str, int, int, int) -> int
    number = whole_number(value)
    if number is None or not low <= number <= high:
        raise ValueError(
            '{} must be a whole number from {} to {}, not {!r}'.format(name, low, high, value))
    return number


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
    # Always offered, so that the server may limit our window if it has to.
    parameters.append((
        CLIENT_WINDOW,
        text_type(options.client_max_window_bits) if options.client_max_window_bits < 15
        else None))
    return parameters


def accept_answer(options, parameters):
    # type: (DeflateOptions, List[Parameter]) -> DeflateCodec
    """Turn the server's answer to `offer` into the client's codec.

    Raises CompressionParameterError for an answer that the offer doesn't
    allow (RFC 7692 7.1.1 to 7.1.2).
    """
    answer = _check_parameters(parameters)
    for name in _WINDOWS:
        if name in answer and answer[name] is None:
            raise CompressionParameterError('{} needs a value', name)
    if options.server_no_context_takeover and SERVER_NO_TAKEOVER not in answer:
        raise CompressionParameterError(
            'the server did not answer {}, which was asked for', SERVER_NO_TAKEOVER)
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
    return DeflateCodec(
        deflate_bits=client_bits,
        deflate_takeover=not (
            options.client_no_context_takeover or CLIENT_NO_TAKEOVER in answer),
        inflate_bits=server_bits,
        inflate_takeover=SERVER_NO_TAKEOVER not in answer,
        level=options.level,
        mem_level=options.mem_level,
    )


def answer_offers(options, extensions):
    # type: (DeflateOptions, List[Offer]) -> Optional[Tuple[List[Parameter], DeflateCodec]]
    """Return the answer to the first offer that a server can accept, and its codec.

    None if there is no such offer: then the connection is not compressed.
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
    # type: (DeflateOptions, Dict[text_type, Optional[int]]) -> Tuple[List[Parameter], DeflateCodec]
    server_takeover = not (options.server_no_context_takeover or SERVER_NO_TAKEOVER in asked)
    client_takeover = not (options.client_no_context_takeover or CLIENT_NO_TAKEOVER in asked)
    server_bits = min(options.server_max_window_bits, asked.get(SERVER_WINDOW) or 15)
    client_bits = 15
    if CLIENT_WINDOW in asked:      # otherwise the client doesn't know it (RFC 7692 7.1.2.2)
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
    return answer, DeflateCodec(
        deflate_bits=server_bits,
        deflate_takeover=server_takeover,
        inflate_bits=client_bits,
        inflate_takeover=client_takeover,
        level=options.level,
        mem_level=options.mem_level,
    )


def _check_parameters(parameters):
    # type: (List[Parameter]) -> Dict[text_type, Optional[int]]
    """Return the parameters by name; CompressionParameterError for unknown or wrong ones.

    The value of a window is 8 to 15, or None if it has none.
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


class PermessageDeflate(Extension):
    """permessage-deflate as an extension among others (RFC 7692).

    Parameter: ``options``, `DeflateOptions` (None for its defaults). The option ``compress`` of a
    WebSocket or a server adds one of these after all others.
    """

    name = NAME  # type: ClassVar[text_type]
    rsv = RSV1  # type: ClassVar[int]

    def __init__(self, options=None):
        # type: (Optional[DeflateOptions]) -> None
        self.options = DeflateOptions() if options is None else options  # type: DeflateOptions
        #: What deflates and inflates, once it is agreed on.
        self.codec = None  # type: Optional[DeflateCodec]
        self._is_inflating = False      # the message that is being received
        self._is_control = False        # the frame that is being received
        self._is_deflating = False      # the message that is being sent

    def offer(self):
        # type: () -> List[Parameter]
        return offer(self.options)

    def finalize(self, parameters):
        # type: (List[Parameter]) -> None
        self.codec = accept_answer(self.options, parameters)

    def accept(self, parameters):
        # type: (List[Parameter]) -> Optional[List[Parameter]]
        answer = answer_offers(self.options, [(NAME, parameters)])
        if answer is None:
            return None
        reply, self.codec = answer
        return reply

    # -- beside other extensions; alone, the connection uses the codec itself, which is faster --

    def frame_inbound_header(self, header):
        # type: (FrameHeader) -> None
        self._is_control = bool(header.opcode & CONTROL_BIT)
        if self._is_control or header.opcode == Opcode.CONTINUATION:
            if header.rsv & RSV1:       # RFC 7692 6.1
                raise ProtocolError('RSV1 is set on a {} frame', Opcode.to_str(header.opcode))
        else:
            self._is_inflating = bool(header.rsv & RSV1)

    def receive_through(self, pieces, is_end, fin):
        # type: (Iterable[bytes], bool, bool) -> Iterator[bytes]
        if self._is_control or not self._is_inflating:
            for piece in pieces:
                yield piece
            return
        last = [(b'', True)] if is_end and fin else []
        for piece, is_last in chain(((piece, False) for piece in pieces), last):
            for data in self._inflate(piece, is_last):
                yield data

    def _inflate(self, piece, is_last):
        # type: (bytes, bool) -> Iterator[bytes]
        codec = self.codec  # type: Any
        # The connection counts each slice, once it has passed through the other extensions.
        for data in codec.inflate(piece, None, is_last, PART):
            if data:
                yield data

    def send_through(self, opcode, rsv, payload, fin, compress):
        # type: (int, int, bytes, bool, bool) -> Tuple[int, bytes]
        if opcode & CONTROL_BIT:
            return rsv, payload
        if opcode != Opcode.CONTINUATION:
            self._is_deflating = compress
        if not self._is_deflating:
            return rsv, payload
        codec = self.codec  # type: Any
        return rsv if opcode == Opcode.CONTINUATION else rsv | RSV1, \
            codec.compress_part(payload, fin)

    def release(self):
        # type: () -> None
        codec = self.codec  # type: Any     # there is one, as it was agreed on
        codec.release()


def alone(extensions):
    # type: (Sequence[Extension]) -> Optional[DeflateCodec]
    """Return the codec if these are permessage-deflate and nothing else, or None."""
    if len(extensions) == 1 and type(extensions[0]) is PermessageDeflate:
        return extensions[0].codec
    return None
