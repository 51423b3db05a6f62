"""lomond.har: whatever is in a file, reading it ends in recordings or in ValueError."""

from __future__ import absolute_import, division, print_function

import io
import json
import os
import tempfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lomond._compat import text_type
from lomond._har_writer import HarWriter, repair_file
from lomond.har import read_har

#: Text that UTF-8 can encode.
texts = st.text(st.characters(blacklist_categories=['Cs']), max_size=20)

numbers = st.one_of(
    st.integers(), st.floats(), st.sampled_from([10 ** 400, 1e308, 1714564800, 1714564800000]))

values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=8)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from([
            u'type', u'time', u'opcode', u'data', u'name', u'value', u'url', u'headers', u'status',
            u'request', u'response', u'log', u'entries', u'_webSocketMessages',
            u'startedDateTime']), inner, max_size=6)),
    max_leaves=12)


def either(usual):
    """A usual value, or any."""
    return st.one_of(usual, usual, usual, values)


messages = st.fixed_dictionaries({
    u'type': either(st.sampled_from([u'send', u'receive', u'error'])), u'time': either(numbers),
    u'opcode': either(st.sampled_from([1, 2, 8, -1])), u'data': either(st.text(max_size=8))})

heads = st.fixed_dictionaries({
    u'url': either(st.sampled_from([u'ws://a/', u'https://a/?b', u''])),
    u'status': either(st.integers(0, 600)),
    u'headers': either(st.lists(either(st.fixed_dictionaries({
        u'name': either(st.just(u'Host')), u'value': either(st.just(u'a'))})), max_size=2))})

entries = st.fixed_dictionaries({
    u'request': either(heads), u'response': either(heads),
    u'startedDateTime': either(st.sampled_from([u'2024-13-41T99:00:00Z', u'2024-05-01T12:00Z'])),
    u'_webSocketMessages': either(st.lists(either(messages), max_size=3))})

hars = st.one_of(
    st.fixed_dictionaries({u'log': either(st.fixed_dictionaries({
        u'entries': either(st.lists(either(entries), max_size=3))}))}), values)


@pytest.fixture(scope='module')
def path():
    descriptor, path = tempfile.mkstemp()
    os.close(descriptor)
    yield path
    os.remove(path)


def check(path, content):
    with io.open(path, 'wb') as har:
        har.write(content)
    try:
        recordings = read_har(path)
    except ValueError as error:
        assert path in str(error)
        return
    for recording in recordings:
        assert isinstance(recording.url, text_type)
        for message in recording.messages:
            assert message.type in ('send', 'receive', 'error')
            assert message.time - message.time == 0
            assert isinstance(message.data, text_type if message.opcode in (1, -1) else bytes)
            if message.opcode == 1:
                message.data.encode('utf-8')


@given(hars)
def test_any_json_is_read_or_refused(path, har):
    check(path, json.dumps(har).encode('ascii'))


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(path, content):
    check(path, content)
    try:
        repair_file(path)
    except ValueError:
        pass


@pytest.mark.parametrize('content', [b'[' * 100000, b'{"a":' * 100000])
def test_many_brackets_are_refused(path, content):
    check(path, content)


sessions = st.lists(st.tuples(texts, st.lists(st.tuples(
    st.sampled_from(['send', 'receive']), st.floats(0, 2e9), st.one_of(texts, st.binary(max_size=9))
), max_size=4)), min_size=1, max_size=3)


@given(sessions)
def test_what_is_written_is_read(path, sessions):
    with HarWriter(path, replace=True) as writer:
        for resource, items in sessions:
            writer.begin(u'ws://a/' + resource, 1714564800.25, 1714564800.5)
            for kind, time, data in items:
                writer.message(kind, time, 1 if isinstance(data, text_type) else 2, data)
    if not any(items for _resource, items in sessions):
        return
    recordings = read_har(path)
    assert [[(message.type, message.data) for message in recording.messages]
            for recording in recordings] == [
        [(kind, data) for kind, _time, data in items] for _resource, items in sessions]
    for recording, (_resource, items) in zip(recordings, sessions):
        for message, (_kind, time, _data) in zip(recording.messages, items):
            assert message.time == pytest.approx(time, abs=1e-5)
