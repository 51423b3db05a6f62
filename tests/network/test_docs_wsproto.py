"""docs/from-wsproto.md: every row is there, and every cell of lomond's code runs."""

from __future__ import absolute_import, division, print_function

import io
import os
import re

import pytest

import lomond
from lomond import errors, events, extensions
from lomond.extensions import DeflateOptions, Extension, PermessageDeflate
from lomond.opcode import Opcode
from lomond.sansio import CLIENT, SERVER, Client, Connection, Server
from lomond.status import Status
from tests.support import make_close, make_frame

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

KEY = b'\x37\xfa\x21\x3d'

URL = 'ws://example.org/feed'


class MyExtension(Extension):
    name = u'x-mine'


def cells():
    """Yield the number of each row, and its code."""
    with io.open(os.path.join(ROOT, 'docs', 'from-wsproto.md'), encoding='utf-8') as page:
        for line in page:
            if re.match(r'\| [0-9]', line):
                number, _theirs, ours, _words = [
                    cell.strip() for cell in line.strip().strip('|').split(' | ', 3)]
                yield int(number), ours


def ask(**options):
    server = Server(**options)
    list(server.receive(new_client().data_to_send()))
    return server


def new_client():
    return Client(URL, protocols=['chat'], compress=True)


def raises(error, call):
    with pytest.raises(error):
        call()


def names():
    """Return what the page says that the names in the code are."""
    client, server = new_client(), Server(protocols=['chat'], compress=True)
    request = client.data_to_send()
    list(server.receive(request))
    list(server.accept())
    ready, = client.receive(server.data_to_send())
    refused, refusing = new_client(), ask()
    refusing.reject(403)
    rejected, = refused.receive(refusing.data_to_send())
    head = request.decode('ascii').split('\r\n')[1:-2]
    return {
        'CLIENT': CLIENT, 'Client': Client, 'Connection': Connection,
        'DeflateOptions': DeflateOptions, 'Extension': Extension, 'Opcode': Opcode,
        'PermessageDeflate': PermessageDeflate, 'SERVER': SERVER, 'Server': Server,
        'Status': Status, 'errors': errors, 'events': events, 'extensions': extensions,
        'MyExtension': MyExtension, 'lomond': lomond, 'raises': raises,
        'asked': ask(), 'bad': Server(), 'client': client, 'server': server, 'url': URL,
        'request': request, 'headers': [line.split(': ', 1) for line in head],
        'data': make_frame(1, b'hi'),
        'frames': make_frame(1, b'h', fin=False) + make_frame(0, b'i'),
        'closing': make_close(1000, key=KEY), 'ready': ready, 'rejected': rejected}


def test_every_row_is_there():
    assert [number for number, _code in cells()] == list(range(1, 59))


@pytest.mark.parametrize('number, code', list(cells()))
def test_the_code_of_a_row_runs(number, code):
    assert code.startswith('`') and code.endswith('`')
    parts = code.strip('`').split('; ')
    here = names()
    for part in parts:
        if ' == ' in part:
            assert eval(part, here)
        else:
            exec(part, here)
