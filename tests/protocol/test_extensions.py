"""Extensions at work: alone, several in each order, with compression, cut anywhere, and broken."""

from __future__ import absolute_import, division, print_function

import itertools
from functools import partial

import pytest

from lomond import errors, extensions
from lomond._compat import to_bytes
from lomond.extensions import RSV1, RSV2, RSV3, Extension, PermessageDeflate
from lomond.opcode import Opcode
from lomond.protocol.connection import CLIENT, SERVER, Connection
from lomond.protocol.limits import message_limits
from tests.protocol.examples import Checksum, Doubled
from tests.protocol.harness import BINARY, CLOSE, PING, ROLES, TEXT, Wire, bytewise, parse_frames

ORDERS = [order for size in (1, 2, 3)
          for order in itertools.permutations([Checksum, Doubled, PermessageDeflate], size)]

in_each_order = pytest.mark.parametrize(
    'order', ORDERS, ids=['-'.join(factory.__name__ for factory in order) for order in ORDERS])
by_role = pytest.mark.parametrize('role', ROLES)

OTHER = {CLIENT: SERVER, SERVER: CLIENT}

LARGE = b'0123456789abcdef' * 8192


def agree(order):
    """Return the extensions of a client and of a server that agreed on all, in this order."""
    header, offered = extensions.offer(order)
    answer, of_server = extensions.answer(header, order)
    return extensions.accept(answer, offered), of_server


def make_pair(order, sender_role=CLIENT, **options):
    """Return one that sends, of this role, and one that receives."""
    of_client, of_server = agree(order)
    client = Wire(CLIENT, extensions=of_client, **(options if sender_role == SERVER else {}))
    server = Wire(SERVER, extensions=of_server, **(options if sender_role == CLIENT else {}))
    return (client, server) if sender_role == CLIENT else (server, client)


@by_role
@in_each_order
@pytest.mark.parametrize('compress', [False, True])
def test_what_one_end_sends_the_other_receives(role, order, compress):
    sender, receiver = make_pair(order, role)
    messages = [(TEXT, u'caf\xe9'.encode('utf-8')), (BINARY, b''), (TEXT, b''), (BINARY, LARGE),
                (PING, b'hello'), (BINARY, b'x')]
    expected = [('text', u'caf\xe9'), ('binary', b''), ('text', u''), ('binary', LARGE),
                ('ping', b'hello'), ('binary', b'x')]
    for _again in range(2):
        data = b''.join(sender.connection.encode(opcode, payload, compress)
                        for opcode, payload in messages)
        assert receiver.receive(data) == expected
        assert receiver.receive(*bytewise(sender.connection.encode(TEXT, b'in bytes', compress))) \
            == [('text', u'in bytes')]
    assert sender.connection.supports_compression == (PermessageDeflate in order)


@by_role
@in_each_order
@pytest.mark.parametrize('fragment_size', [1, 5, 40000, None])
def test_a_large_message_goes_in_frames_that_pass_through_all(role, order, fragment_size):
    payload = LARGE if fragment_size in (None, 40000) else b'some bytes'
    sender, receiver = make_pair(order, role)
    size, frames = sender.connection.encoder.encode_in_frames(
        BINARY, payload, True, fragment_size)
    pieces = [to_bytes(piece) for frame in frames for piece in frame]
    assert sum(len(piece) for piece in pieces) == size
    assert receiver.receive(*pieces) == [('binary', payload)]
    sent = sender.connection.stats.sent
    assert (sent.messages, sent.payload_bytes, sent.wire_bytes) == (1, len(payload), size)
    received = receiver.connection.stats.received
    assert (received.messages, received.payload_bytes, received.wire_bytes) == (
        1, len(payload), size)


@by_role
@in_each_order
def test_parts_of_a_message_pass_through_all(role, order):
    sender, receiver = make_pair(order, role)
    for parts in ([b''], [b'a', b'bc'], [b'', b'', b'x', b''], [LARGE, b''], [LARGE, LARGE]):
        frames = [
            sender.connection.encoder.encode_part(BINARY, part, number == len(parts) - 1, True)
            for number, part in enumerate(parts)]
        assert receiver.receive(*frames) == [('binary', b''.join(parts))]
        assert receiver.receive(sender.connection.encode(TEXT, b'after', True)) == [
            ('text', u'after')]


@in_each_order
def test_pings_between_fragments_disturb_nothing(order):
    sender, receiver = make_pair(order)
    encoder = sender.connection.encoder
    data = b''
    for number in range(5):
        data += encoder.encode_part(TEXT, b'abc', number == 4, True) + encoder.encode(PING, b'p')
    assert receiver.receive(*bytewise(data)) == [('ping', b'p')] * 4 + [
        ('text', u'abc' * 5), ('ping', b'p')]


@in_each_order
def test_close_passes_through_too(order):
    sender, receiver = make_pair(order)
    data = sender.connection.encode(Opcode.CLOSE, b'\x03\xe8bye')
    assert receiver.receive(data) == [('closing', 1000, u'bye')]


def test_what_is_sent_passes_in_the_order_of_the_answer_and_back_in_the_opposite():
    """RFC 6455 9.1."""
    def make(letter, bit):
        class Appends(Extension):
            name = letter
            rsv = bit

            def frame_inbound_payload_data(self, data):
                assert data.endswith(letter.encode('ascii')), data
                return data[:-1]

            def frame_outbound(self, opcode, rsv, payload, fin):
                return rsv, payload + letter.encode('ascii')
        return Appends

    order = [make(u'a', 0x20), make(u'b', 0x10)]
    sender, receiver = make_pair(order, SERVER)
    data = sender.connection.encode(BINARY, b'x')
    assert data == b'\x82\x03xab'
    assert receiver.receive(data) == [('binary', b'x')]


class Recorder(Extension):
    """Records what is sent, and marks it."""

    name = u'x-recorder'
    rsv = 0x10

    def __init__(self):
        self.sent = []
        self.is_released = False

    def frame_outbound(self, opcode, rsv, payload, fin):
        self.sent.append((opcode, rsv, payload, fin))
        return rsv | 0x10, payload

    def release(self):
        self.is_released = True


@by_role
def test_every_frame_that_is_sent_is_shown_to_an_extension_and_marked(role):
    made = []

    def factory():
        made.append(Recorder())
        return made[-1]

    sender = make_pair([factory], role)[0]
    extension = made[-1 if role == SERVER else 0]
    connection, encoder = sender.connection, sender.connection.encoder
    frames = [
        encoder.encode(TEXT, b'a'), encoder.encode(PING, b'b'),
        encoder.encode_part(TEXT, b'c', False), encoder.encode_part(TEXT, b'', True),
        encoder.encode(TEXT, b'd')]
    for size, made in (encoder.encode_in_frames(BINARY, b'', False, 5),
                       encoder.encode_in_frames(BINARY, b'12345678', False, 5)):
        whole = b''.join(to_bytes(piece) for frame in made for piece in frame)
        assert len(whole) == size
        frames.append(whole)
    frames.append(connection.encode(Opcode.CLOSE, b'\x03\xe8'))
    assert [(opcode, payload, fin) for opcode, _rsv, payload, fin in extension.sent] == [
        (TEXT, b'a', True), (PING, b'b', True), (TEXT, b'c', False), (0, b'', True),
        (TEXT, b'd', True), (BINARY, b'', True), (BINARY, b'12345', False), (0, b'678', True),
        (Opcode.CLOSE, b'\x03\xe8', True)]
    assert all(first & 0x70 == 0x10 for first, _payload in parse_frames(b''.join(frames), role))
    connection.disconnect()
    assert extension.is_released


@by_role
@pytest.mark.parametrize('parts', [False, True])
def test_an_extension_may_add_to_the_end_of_a_frame(role, parts):
    class Adds(Extension):
        name = u'x-adds'

        def frame_inbound_complete(self, fin):
            return b'.' if fin else b','

    receiver = make_pair([Adds], SERVER if role == CLIENT else CLIENT, message_parts=parts)[1]
    frames = [receiver.frame(TEXT, b'a', fin=False), receiver.frame(0, b'b'),
              receiver.frame(BINARY, b'')]
    assert b''.join(
        event.text.encode('ascii') if event.name == 'text' else event.data
        for piece in bytewise(b''.join(frames)) for event in receiver.read(piece)) == b'a,b..'


@by_role
def test_a_close_frame_in_the_middle_of_transformed_fragments_ends_them(role):
    connection = make_pair([Doubled], role)[0].connection
    _size, frames = connection.encoder.encode_in_frames(BINARY, b'12345678', False, 5)
    next(frames)
    connection.encode(Opcode.CLOSE, b'')
    with pytest.raises(errors.WebSocketClosing, match='in the middle of this message'):
        next(frames)


# -- what the peer does wrong --

def test_an_error_of_an_extension_ends_the_connection_with_its_close_code():
    sender, receiver = make_pair([Checksum], SERVER)
    data = bytearray(sender.connection.encode(BINARY, b'hello'))
    data[3] ^= 1
    assert receiver.receive(bytes(data)) == [
        ('protocol_error', u'the checksum is wrong', False, 4400)]
    assert receiver.replies[0][1][:2] == b'\x11\x30'     # 4400
    assert receiver.state == 'failing'


@pytest.mark.parametrize('payload', [b'', b'abc'])
def test_a_frame_that_is_too_short_for_its_checksum_is_an_error(payload):
    receiver = make_pair([Checksum], SERVER)[1]
    event, = receiver.receive(receiver.frame(BINARY, payload, rsv=0x20))
    assert event[0] == 'protocol_error' and event[3] == 4400


@pytest.mark.parametrize('opcode', [TEXT, BINARY, PING, 0])
@pytest.mark.parametrize('rsv', [0x10, 0x40])
def test_bits_that_nobody_agreed_on_close_with_1002(opcode, rsv):
    receiver = make_pair([Checksum], SERVER)[1]
    event, = receiver.receive(receiver.frame(opcode, b'x', rsv=rsv))
    assert event[0] == 'protocol_error' and event[3] == 1002


@pytest.mark.parametrize('opcode', [PING, 0])
def test_rsv1_where_rfc_7692_forbids_it_closes_with_1002_beside_other_extensions(opcode):
    receiver = make_pair([Checksum, PermessageDeflate], SERVER)[1]
    receiver.receive(receiver.frame(BINARY, b'', fin=False))
    event, = receiver.receive(receiver.frame(opcode, b'x', rsv=0x40))
    assert event[0] == 'protocol_error' and event[3] == 1002
    assert u'RSV1' in event[1]


@pytest.mark.parametrize('order', [[PermessageDeflate], [Checksum, PermessageDeflate],
                                   [PermessageDeflate, Doubled]])
@pytest.mark.parametrize('size, fits', [(999, True), (1000, True), (1001, False), (1003, False)])
@pytest.mark.parametrize('make', [lambda size: b'\0' * size, lambda size: LARGE[:size]])
def test_the_limit_holds_for_what_extensions_make(order, size, fits, make):
    sender, receiver = make_pair(order, limits=message_limits(1000)._replace(frame=None))
    payload = make(size)
    happened = receiver.receive(sender.connection.encode(BINARY, payload, True))
    if fits:
        assert happened == [('binary', payload)]
    else:
        assert [(event[0], event[3]) for event in happened] == [('protocol_error', 1009)]


def test_a_transform_that_makes_more_is_held_to_the_limit_as_it_grows():
    class Grows(Extension):
        name = u'x-grows'

        def frame_inbound_payload_data(self, data):
            return data * 1000

    _sender, receiver = make_pair([Grows], SERVER, limits=message_limits(5000))
    assert receiver.receive(receiver.frame(BINARY, b'12345')) == [('binary', b'12345' * 1000)]
    event, = receiver.receive(receiver.frame(BINARY, b'123', fin=False),
                              receiver.frame(0, b'456', fin=False))
    assert event[0] == 'protocol_error' and event[3] == 1009


# -- what the user's extension does wrong --

@pytest.mark.parametrize('error', [errors.ProtocolError('no'), ValueError('no'), KeyError()])
def test_an_error_in_sending_comes_out_of_the_call_and_nothing_is_sent_after_it(error):
    """Deflate comes first: the peer hasn't got what that has seen."""
    class Fails(Extension):
        name = u'x-fails'

        def frame_outbound(self, opcode, rsv, payload, fin):
            if is_bad:
                raise error
            return rsv, payload

    is_bad = [1]
    connection = make_pair([PermessageDeflate, Fails])[0].connection
    with pytest.raises(type(error)):
        connection.encode(TEXT, b'x', compress=True)
    is_bad.pop()
    for send in [
            partial(connection.encode, TEXT, b'x', compress=True),
            partial(connection.encode, PING, b'x'),
            partial(connection.encode, CLOSE, b''),
            partial(connection.encoder.encode_part, TEXT, b'x', True),
            partial(connection.encoder.encode_in_frames, TEXT, b'x')]:
        with pytest.raises(errors.WebSocketUnavailable, match=type(error).__name__):
            send()
    assert connection.stats.sent.messages == connection.stats.sent.wire_bytes == 0


def test_a_control_frame_that_grows_beyond_125_bytes_is_refused():
    class Grows(Extension):
        name = u'x-grows'

        def frame_outbound(self, opcode, rsv, payload, fin):
            return rsv, payload * 2

    sender = make_pair([Grows])[0]
    with pytest.raises(errors.FrameBuildError, match='125'):
        sender.connection.encode(PING, b'x' * 100)


@pytest.mark.parametrize('size, name', [(25, 'ping'), (26, 'protocol_error')])
def test_a_control_frame_received_may_grow_to_125_bytes(size, name):
    class Grows(Extension):
        name = u'x-grows'

        def frame_inbound_payload_data(self, data):
            return data * 5

    receiver = make_pair([Grows])[0]
    happened = receiver.receive_frame(PING, b'x' * size)
    assert [fields[0] for fields in happened] == [name]


def test_a_control_frame_received_ends_its_message():
    ends = []

    class Notes(Extension):
        name = u'x-notes'

        def frame_inbound_complete(self, fin):
            ends.append(fin)

    make_pair([Notes])[0].receive_frame(PING, b'x')
    assert ends == [True]


class Marks(Extension):
    """Sets bits that a test chooses."""

    name = u'x-marks'
    bits = 0

    def frame_outbound(self, opcode, rsv, payload, fin):
        return rsv | self.bits, payload


@pytest.mark.parametrize('opcode', [TEXT, PING])
@pytest.mark.parametrize('agreed, others, bits', [
    (RSV2, [], RSV1), (RSV2, [], RSV3), (RSV2, [], 0x80), (RSV2, [], 0x08), (RSV2, [], 0x01),
    (0, [], RSV1)])
def test_bits_that_the_extensions_do_not_have_are_refused(opcode, agreed, others, bits):
    class Marked(Marks):
        rsv = agreed

    Marked.bits = bits
    connection = make_pair([Marked] + others)[0].connection
    with pytest.raises(errors.FrameBuildError, match='0x{:02x}'.format(bits)):
        connection.encode(opcode, b'x')


def test_rsv1_on_a_control_frame_is_refused_if_it_is_of_permessage_deflate():
    Marked = type(str('Marked'), (Marks,), {'bits': RSV1})
    connection = make_pair([PermessageDeflate, Marked])[0].connection
    with pytest.raises(errors.FrameBuildError, match='PING'):
        connection.encode(PING, b'')


def test_rsv1_on_a_control_frame_is_sent_and_received_if_it_is_of_another_extension():
    Marked = type(str('Marked'), (Marks,), {'bits': RSV1, 'rsv': RSV1})
    sender, receiver = make_pair([Marked])
    ping = sender.connection.encode(PING, b'x')
    assert parse_frames(ping, CLIENT) == [(0xC9, b'x')]
    assert receiver.receive(ping) == [('ping', b'x')]


@pytest.mark.parametrize('times', [2, 10 ** 6])
def test_a_control_frame_that_extensions_make_too_large_closes_with_1002(times):
    class Grows(Extension):
        name = u'x-grows'

        def frame_inbound_payload_data(self, data):
            return data * times

    receiver = make_pair([Grows])[1]
    event, = receiver.receive(receiver.frame(PING, b'x' * 100))
    assert (event[0], event[3]) == ('protocol_error', 1002)


def test_nothing_is_received_after_an_exception_of_an_extension():
    """Where the frame ends isn't known: its rest could be taken for frames."""
    class Raises(Extension):
        name = u'x-raises'

        def frame_inbound_payload_data(self, data):
            raise MemoryError()

    receiver = make_pair([Raises])[1]
    with pytest.raises(MemoryError):
        receiver.receive(receiver.frame(BINARY, b'0123'))
    assert receiver.receive(receiver.frame(BINARY, b'4567')) == []


@by_role
@pytest.mark.parametrize('method', [
    'frame_inbound_header', 'frame_inbound_payload_data', 'frame_inbound_complete'])
def test_an_extensions_unicode_error_is_not_blamed_on_the_peers_text(role, method):
    class Decodes(Extension):
        name = u'x-decodes'

    def decode(self, _argument):
        return b'\xff'.decode('ascii')

    setattr(Decodes, method, decode)
    receiver = make_pair([Decodes], OTHER[role])[1]
    with pytest.raises(UnicodeDecodeError):
        receiver.receive(receiver.frame(TEXT, b'hello'))
    assert (receiver.state, receiver.replies) == ('open', [])


def test_an_exception_in_release_is_logged_and_the_others_are_released(caplog):
    class Holds(Extension):
        name = u'x-holds'

        def release(self):
            released.append(self)
            raise ValueError('not today')

    class HoldsToo(Holds):
        name = u'x-holds-too'

    released = []
    connection = make_pair([Holds, HoldsToo])[0].connection
    connection.disconnect()
    assert len(released) == 2
    assert 'x-holds-too' in caplog.text and 'not today' in caplog.text


# -- messages in parts --

@by_role
def test_no_other_message_goes_between_the_parts_of_one(role):
    sender = make_pair([], role)[0]
    encoder = sender.connection.encoder
    encoder.encode_part(TEXT, b'a', False)
    for send in (lambda: encoder.encode(TEXT, b'b'), lambda: encoder.encode(BINARY, b'b' * 200),
                 lambda: encoder.encode_in_frames(BINARY, LARGE),
                 lambda: encoder.encode_part(BINARY, b'b', True)):
        with pytest.raises(errors.FrameBuildError, match='finish it first'):
            send()
    encoder.encode(PING, b'')
    encoder.encode_part(TEXT, b'c', True)
    encoder.encode(TEXT, b'd')
    assert sender.connection.stats.sent.messages == 2


@by_role
def test_parts_are_frames_of_one_message_byte_for_byte(role):
    encoder = make_pair([], role)[0].connection.encoder
    frames = [encoder.encode_part(opcode, payload, is_last) for opcode, payload, is_last in (
        (BINARY, b'a', False), (BINARY, b'', False), (BINARY, b'b', True), (TEXT, b'c', True))]
    assert parse_frames(b''.join(frames), role) == [
        (0x02, b'a'), (0x00, b''), (0x80, b'b'), (0x81, b'c')]


def test_nothing_is_compressed_unless_the_sender_asks_for_it():
    encoder = make_pair([PermessageDeflate])[0].connection.encoder
    frames = [encoder.encode(TEXT, b'a'), encoder.encode(TEXT, b'a', True),
              encoder.encode_part(TEXT, b'a', True), encoder.encode_part(TEXT, b'a', True, True)]
    assert [first for first, _payload in parse_frames(b''.join(frames), CLIENT)] == [
        0x81, 0xC1, 0x81, 0xC1]


@pytest.mark.parametrize('opcode', [PING, 0, 8, 3])
def test_only_messages_can_be_sent_in_parts(opcode):
    with pytest.raises(errors.FrameBuildError):
        make_pair([])[0].connection.encoder.encode_part(opcode, b'', True)


def test_no_part_is_made_after_our_close_frame():
    connection = make_pair([])[0].connection
    connection.encoder.encode_part(TEXT, b'a', False)
    connection.encode(Opcode.CLOSE, b'')
    with pytest.raises(errors.WebSocketClosing):
        connection.encoder.encode_part(TEXT, b'b', True)


@pytest.mark.parametrize('takeover', [False, True])
def test_parts_are_compressed_as_one_message(takeover):
    def factory():
        return PermessageDeflate(extensions.DeflateOptions(
            client_no_context_takeover=not takeover))

    sender, receiver = make_pair([factory])
    for _again in range(3):
        frames = [sender.connection.encoder.encode_part(TEXT, b'abc' * 50, number == 3, True)
                  for number in range(4)]
        assert [first for first, _payload in parse_frames(b''.join(frames), CLIENT)] == [
            0x41, 0, 0, 0x80]
        assert len(b''.join(frames)) < 200
        assert receiver.receive(*frames) == [('text', u'abc' * 200)]


class Mistaken(Extension):
    """An extension whose methods return what they may not."""

    name = u'x-mistaken'

    def __init__(self, **returned):
        self.returned = returned

    def _of(self, method, right):
        return self.returned[method] if method in self.returned else right

    def offer(self):
        return self._of('offer', [])

    def accept(self, parameters):
        return self._of('accept', [])

    def frame_inbound_payload_data(self, data):
        return self._of('frame_inbound_payload_data', data)

    def frame_inbound_complete(self, fin):
        return self._of('frame_inbound_complete', None)

    def frame_outbound(self, opcode, rsv, payload, fin):
        return self._of('frame_outbound', (rsv, payload))


def connect_mistaken(role, **returned):
    connection = Connection(role)
    connection.accept(extensions=[Mistaken(**returned)])
    return connection


@pytest.mark.parametrize('result', [None, 1, (1, 2, 3), (0, u'x'), (0, None)])
@pytest.mark.parametrize('opcode', [Opcode.TEXT, Opcode.PING, Opcode.CLOSE])
def test_a_frame_to_send_that_is_none_names_the_extension_and_its_method(opcode, result):
    with pytest.raises(TypeError, match=r"Mistaken\.frame_outbound\(\) .*x-mistaken.* a pair"):
        connect_mistaken(CLIENT, frame_outbound=result).encode(opcode, b'')


def test_a_frame_to_send_may_be_bytes_of_a_subclass():
    class Bytes(bytes):
        pass

    frame = connect_mistaken(SERVER, frame_outbound=(0, Bytes(b'x'))).encode(Opcode.TEXT, b'')
    assert frame == b'\x81\x01x'


@pytest.mark.parametrize('method, result', [
    ('frame_inbound_payload_data', u'x'), ('frame_inbound_payload_data', None),
    ('frame_inbound_payload_data', 1), ('frame_inbound_complete', u'x'),
    ('frame_inbound_complete', 1)])
@pytest.mark.parametrize('opcode', [Opcode.TEXT, Opcode.BINARY, Opcode.PING])
def test_received_data_that_is_not_bytes_names_the_extension_and_its_method(
        opcode, method, result):
    frame = Connection(CLIENT)
    frame.accept()
    server = connect_mistaken(SERVER, **{method: result})
    with pytest.raises(TypeError, match=r'Mistaken\.{}\(\) .*must return bytes'.format(method)):
        list(server.receive(frame.encode(opcode, b'abc')))


@pytest.mark.parametrize('wrap', [bytes, bytearray, memoryview])
def test_received_data_may_be_bytes_of_any_type(wrap):
    client = Connection(CLIENT)
    client.accept()
    server = connect_mistaken(
        SERVER, frame_inbound_payload_data=wrap(b'ab'), frame_inbound_complete=wrap(b'c'))
    event, = server.receive(client.encode(Opcode.TEXT, b'x'))
    assert event.text == u'abc'


@pytest.mark.parametrize('result, error', [
    (u'a=b', TypeError), (5, TypeError), ({u'a': u'b'}, TypeError), ([u'a'], TypeError),
    ([u'ab'], TypeError), (frozenset([(u'a', None)]), TypeError),
    ([(u'a', 3)], ValueError), ([(u'a b', None)], ValueError)])
def test_parameters_that_are_no_pairs_name_the_extension_and_its_method(result, error):
    with pytest.raises(error, match=r'Mistaken\.offer\(\) .*x-mistaken'):
        extensions.offer([lambda: Mistaken(offer=result)])
    with pytest.raises(error, match=r'Mistaken\.accept\(\) .*x-mistaken'):
        extensions.answer(u'x-mistaken', [lambda: Mistaken(accept=result)])


@pytest.mark.parametrize('name', [None, b'x' if bytes is not str else 5, u'x y', u''])
def test_a_wrong_name_names_the_class(name):
    class Nameless(Mistaken):
        pass

    Nameless.name = name
    with pytest.raises(ValueError, match=r'Nameless\.name'):
        extensions.offer([Nameless])


def test_a_factory_that_is_given_twice_is_refused():
    for call in (lambda: extensions.offer([Mistaken, Mistaken]),
                 lambda: extensions.answer(u'', [Mistaken, Mistaken])):
        with pytest.raises(ValueError, match='twice'):
            call()


def test_of_two_offers_of_a_required_extension_one_has_to_be_accepted():
    class Required(Mistaken):
        is_required = True

    _header, offered = extensions.offer([Required, partial(Required)])
    assert extensions.accept(u'x-mistaken', offered) == offered[:1]
