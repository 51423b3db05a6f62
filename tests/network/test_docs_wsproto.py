"""docs/coming-from/wsproto.md: every row is there, and every cell of lomond's code runs."""

from __future__ import absolute_import, division, print_function

import pytest

import lomond
from lomond import errors, events, extensions
from lomond.extensions import DeflateOptions, Extension, PermessageDeflate
from lomond.opcode import Opcode
from lomond.sansio import CLIENT, SERVER, Client, Connection, Server
from lomond.status import Status
from tests.network.doc_cells import raises, read_page, rows, run_cell
from tests.support import make_close, make_frame

KEY = b'\x37\xfa\x21\x3d'

URL = 'ws://example.org/feed'


class MyExtension(Extension):
    name = u'x-mine'


def cells():
    """Yield the number of each row, and its code."""
    for number, _theirs, ours, _words in rows(read_page('coming-from/wsproto.md')):
        yield int(number), ours


def ask(**options):
    server = Server(**options)
    list(server.receive(new_client().data_to_send()))
    return server


def new_client():
    return Client(URL, protocols=['chat'], compress=True)


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
    run_cell(code, names())
