"""Of `lomond.cli`: `formats`, `frames`, `figures`, `commands`, `output` and `editor`."""

from __future__ import absolute_import, division, print_function

import json

import pytest

from lomond._compat import text_type
from lomond._har_writer import make_item
from lomond.cli.commands import read_command
from lomond.cli.editor import Line
from lomond.cli.figures import Figures, format_seconds, format_size
from lomond.cli.formats import (
    Message,
    Records,
    decode_binary,
    encode_binary,
    format_json,
    read_item,
)
from lomond.cli.frames import FrameHeads
from lomond.cli.output import escape
from lomond.stats import Stats
from tests.support import make_frame

# -- records --

@pytest.mark.parametrize('size', [1, 2, 3, 100])
def test_records_are_the_same_however_they_arrive(size):
    data = b'one\n\ntwo \r\n\0three'
    records = Records()
    found = [record for start in range(0, len(data), size)
             for record in records.feed(data[start:start + size])]
    assert found == [b'one', b'', b'two \r']
    assert records.finish() == b'\0three'
    assert records.finish() is None


def test_a_record_without_an_end_has_a_limit(monkeypatch):
    monkeypatch.setattr('lomond.cli.formats.MAX_RECORD', 10)
    records = Records()
    assert list(records.feed(b'0123456789')) == []
    with pytest.raises(ValueError):
        list(records.feed(b'x'))


# -- binary data --

@pytest.mark.parametrize('how', ['hex', 'base64', 'raw'])
def test_binary_data_returns_unchanged(how):
    data = bytes(bytearray(range(256)))
    assert decode_binary(encode_binary(data, how), how) == data


@pytest.mark.parametrize('data, how', [
    (b'0', 'hex'), (b'0g', 'hex'), (b'A', 'base64'), (b'A-==', 'base64'), (b'\xff', 'hex'),
    (b'QQ==QUJD', 'base64'), (b'=QUJD', 'base64'), (b'QUJD=', 'base64'), (b'QQ', 'base64')])
def test_what_is_not_binary_data_is_refused_without_showing_it(data, how):
    with pytest.raises(ValueError) as caught:
        decode_binary(data, how)
    assert str(caught.value) == 'it is not {}'.format(how)


# -- items of a HAR file --

def test_items_of_texts_and_binary_messages():
    assert make_item('receive', 1.5, 1, u'\xe9') == {
        'type': 'receive', 'time': 1.5, 'opcode': 1, 'data': u'\xe9'}
    item = make_item('send', 1.5, 2, b'\0\xff')
    assert item['data'] == u'AP8='
    assert read_item(item) == Message(2, b'\0\xff')
    assert read_item(json.loads('{"data": "\\u00e9", "other": 1}')) == Message(1, b'\xc3\xa9')
    assert read_item({'data': u'', 'opcode': 9}) == Message(9, b'')
    assert read_item(dict(item, type='receive')) is None
    assert read_item(dict(item, type='error', opcode=-1)) is None


@pytest.mark.parametrize('item', [
    None, [], {}, {'data': 1}, {'data': u'\ud800'}, {'data': u'', 'opcode': 8},
    {'data': u'%', 'opcode': 2}, {'data': u'', 'opcode': 'x'}])
def test_what_is_no_item_is_refused(item):
    with pytest.raises(ValueError):
        read_item(item)


# -- JSON --

@pytest.mark.parametrize('text, compact', [
    (u'{ "a" : 1.10 , "a" : [ 1e400 , -0.0 ] }', u'{"a":1.10,"a":[1e400,-0.0]}'),
    (u'"a \\" , b"', u'"a \\" , b"'), (u' null ', u'null'), (u'[ ]', u'[]'), (u'{ }', u'{}'),
    (u'{not json }', u'{not json }'), (u'', u''),
    (u'{"\u20ac": "\\u20ac"}', u'{"\u20ac":"\\u20ac"}'),
])
def test_json_is_formatted_without_changing_a_value(text, compact):
    assert format_json(text) == compact
    assert format_json(format_json(text, 2)) == compact


def test_json_is_indented():
    assert format_json(u'{"a":[1,{"b":[]}],"c":{}}', 2) == (
        u'{\n  "a": [\n    1,\n    {\n      "b": []\n    }\n  ],\n  "c": {}\n}')


def test_json_of_many_brackets_in_one_another_does_not_become_many_times_as_long():
    text = u'[' * 500 + u'1,' * 2000 + u'1' + u']' * 500
    assert format_json(format_json(text, 2)) == text
    assert len(format_json(text, 2)) < 100 * len(text)


# -- what a terminal gets --

@pytest.mark.parametrize('code', [
    0, 7, 8, 10, 13, 27, 31, 127, 128, 0x9b, 0x9d, 0x61c, 0x200e, 0x200f, 0x2028, 0x202a, 0x202e,
    0x2066, 0x2069])
def test_controls_are_escaped(code):
    shown = escape(u'a{}b'.format((b'\\u%04x' % code).decode('unicode-escape')))
    assert shown in (u'a\\x{:02x}b'.format(code), u'a\\u{:04x}b'.format(code))


def test_all_else_is_shown_as_it_is():
    text = u'\ta\\x1b \xe9 \u4e2d \u05d0 \u200d \U0001f600'
    assert escape(text) == text


# -- frames --

@pytest.mark.parametrize('size', [1, 3, 7, 100000])
def test_each_frame_is_described_once(size):
    data = make_frame(1, b'abc', fin=False, key=b'1234') + make_frame(
        0, b'') + make_frame(2, b'x' * 300, rsv=0x40) + make_frame(9, b'') + make_frame(
            2, b'y' * 70000)
    heads = FrameHeads()
    lines = [line for start in range(0, len(data), size)
             for line in heads.feed(data[start:start + size])]
    assert lines == [
        u'text, 3 bytes, not final, masked', u'continuation, 0 bytes', u'binary, 300 bytes, rsv1',
        u'ping, 0 bytes', u'binary, 70000 bytes']


@pytest.mark.parametrize('before', [b'', b'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'])
@pytest.mark.parametrize('end', [b'\n', b'\r\n'])
def test_frames_begin_after_the_head_of_the_response(before, end):
    head = b'HTTP/1.1 101 X' + 2 * end
    heads = FrameHeads(is_open=False)
    data = before + head + make_frame(1, b'abc')
    assert list(heads.feed(data[:20]) or ()) + list(heads.feed(data[20:])) == []
    assert list(heads.open(head)) == [u'text, 3 bytes']
    assert list(heads.feed(make_frame(9, b''))) == [u'ping, 0 bytes']


# -- figures --

def test_figures_have_rates_since_the_last_line():
    now = [0.0]
    stats = Stats()
    figures = Figures(stats, lambda: now[0])
    stats.received.messages, stats.received.payload_bytes = 10, 4096
    now[0] = 2.0
    figures.opened()
    assert figures.line() == (
        u'in 5/s 2.0 KiB/s, out 0/s 0 B/s, round trip -, 10 in, 0 out')
    stats.round_trips.add(0.0123)
    now[0] = 3.0
    assert figures.line() == u'in 0/s 0 B/s, out 0/s 0 B/s, round trip 12.3 ms, 10 in, 0 out'
    assert figures.summary()[0].startswith(u'open after 2.00 s')


def test_units():
    assert [format_size(size) for size in (0, 1023, 1024, 102400, 5 * 1024 ** 2, 1024 ** 4)] == [
        u'0 B', u'1023 B', u'1.0 KiB', u'100 KiB', u'5.0 MiB', u'1024.0 GiB']
    assert [format_seconds(seconds) for seconds in (None, 1e-5, 0.5, 2)] == [
        u'-', u'10 us', u'500.0 ms', u'2.00 s']


# -- commands --

@pytest.mark.parametrize('line, command', [
    (u'/ping', Message(9, b'')), (u'/pong \xe9 x', Message(10, b'\xc3\xa9 x')),
    (u'/close', (1000, u'')), (u'/close 4000', (4000, u'')), (u'/close 4000 a b', (4000, u'a b')),
])
def test_commands(line, command):
    assert read_command(line) == command


@pytest.mark.parametrize('line', [
    u'/', u'/quit', u'/ping ' + u'x' * 126, u'/close x', u'/close 999', u'/close 5000'])
def test_wrong_commands_are_refused(line):
    with pytest.raises(ValueError):
        read_command(line)


# -- the line --

def typed(keys):
    line = Line()
    for key in keys:
        line.press(key)
    return line


@pytest.mark.parametrize('keys, text, cursor', [
    ([u'a', u'b', u'\x1b[D', u'c'], u'acb', 2), ([u'a', u'\x01', u'b', u'\x05', u'c'], u'bac', 3),
    ([u'\x08', u'\x1b[D', u'\x1b[C', u'\x04'], u'', 0), ([u'a', u'\x7f'], u'', 0),
    ([u'a', u'\x1b[D', u'\x1b[3~'], u'', 0), (list(u'ab cd  ') + [u'\x17'], u'ab ', 3),
    (list(u'abc') + [u'\x17'], u'', 0), (list(u'abc') + [u'\x1b[D', u'\x15'], u'c', 0),
    (list(u'abc') + [u'\x1b[D', u'\x0b'], u'ab', 2), ([u'\x1b[99~', u'\x07', u'\t'], u'\t', 1),
])
def test_keys(keys, text, cursor):
    line = typed(keys)
    assert (line.text, line.cursor) == (text, cursor)


def test_history_keeps_the_line_that_is_being_typed():
    line = typed(u'one')
    assert line.take() == u'one'
    line.insert(u'two')
    line.take()
    line.insert(u'th')
    shown = []
    for key in [u'\x1b[A', u'\x1b[A', u'\x1b[A', u'\x1b[B', u'\x1b[B', u'\x1b[B']:
        line.press(key)
        shown.append(line.text)
    assert shown == [u'two', u'one', u'one', u'two', u'th', u'th']


def test_the_window_holds_the_cursor():
    line = Line()
    line.insert(u'0123456789')
    assert line.window(20) == (u'0123456789', 10)
    assert line.window(5) == (u'56789', 5)
    line.move(3)
    assert line.window(5) == (u'01234', 3)
    line = Line()
    line.insert(u'\u4e2d\u6587e\u0301\x1b')
    text, column = line.window(20)
    assert (text, column) == (u'\u4e2d\u6587e\u0301\\x1b', 9)
    assert isinstance(text, text_type)
