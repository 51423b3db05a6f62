"""Contexts of clients: which options share one, when there is a new one, and what is kept."""

from __future__ import absolute_import, division, print_function

import gc
import itertools
import logging
import os
import shutil
import ssl
import threading
import weakref

import certifi
import pytest
import trustme

from lomond import WebSocket
from lomond.net.options import TLSOptions
from lomond.net.tls import client as tls_client
from lomond.net.tls.client import TLSClient
from lomond.net.tls.contexts import MAX_IDLE, Contexts, server_context
from tests.support import PATIENCE


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in ('SSL_CERT_FILE', 'SSL_CERT_DIR', 'SSLKEYLOGFILE'):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope='module')
def pems(authority):
    """Certificates and keys, by name."""
    own, other = authority.issue_cert(u'own.example'), authority.issue_cert(u'other.example')
    return {
        'authority': authority.cert_pem.bytes(),
        'other authority': trustme.CA().cert_pem.bytes(),
        'own': own.private_key_and_cert_chain_pem.bytes(),
        'other': other.private_key_and_cert_chain_pem.bytes(),
        'own chain': own.cert_chain_pems[0].bytes(),
        'own key': own.private_key_pem.bytes(),
        'other chain': other.cert_chain_pems[0].bytes(),
        'other key': other.private_key_pem.bytes(),
    }


class Folder(object):
    """Files in a folder, by name; each write makes a file that no stamp can mistake."""

    def __init__(self, path, pems):
        self._path = path
        self.pems = pems
        self._times = itertools.count(10 ** 9)

    def __call__(self, name):
        return str(self._path.join(name))

    def write(self, name, what, is_new=True):
        """Write a file, as a new one in the place of the old or into the old one."""
        data = self.pems.get(what, what)
        path = self(name)
        written = path + '.new' if is_new else path
        with open(written, 'wb') as file:
            file.write(data)
        when = next(self._times)
        os.utime(written, (when, when))
        if is_new:
            if os.path.exists(path):
                os.remove(path)     # 2.7 on Windows has no other way
            os.rename(written, path)
        return path


@pytest.fixture
def folder(tmpdir, pems):
    return Folder(tmpdir, pems)


def get(contexts, cafile=None, verify=True, certfile=None, keyfile=None):
    return contexts.get(cafile, verify, certfile, keyfile)


# -- who shares --

def test_equal_options_share_a_context(folder):
    certfile = folder.write('own.pem', 'own')
    cafile = folder.write('ca.pem', 'authority')
    contexts = Contexts()
    for options in ({}, {'verify': False}, {'cafile': cafile}, {'certfile': certfile},
                    {'cafile': cafile, 'certfile': certfile, 'keyfile': certfile}):
        assert get(contexts, **options) is get(contexts, **options)


def test_each_option_that_differs_makes_another(folder, monkeypatch):
    own, other = folder.write('own.pem', 'own'), folder.write('other.pem', 'own')
    cafile, other_ca = folder.write('ca.pem', 'authority'), folder.write('b.pem', 'authority')
    contexts = Contexts()
    made = [get(contexts, **options) for options in (
        {}, {'cafile': cafile}, {'cafile': other_ca}, {'certfile': own}, {'certfile': other},
        {'certfile': own, 'keyfile': own}, {'certfile': own, 'keyfile': other},
        {'cafile': cafile, 'certfile': own}, {'verify': False},
        {'verify': False, 'certfile': own})]
    environment_file = folder.write('c.pem', 'authority')
    for name, value in (('SSL_CERT_FILE', environment_file), ('SSL_CERT_DIR', folder('')),
                        ('SSLKEYLOGFILE', folder('keys'))):
        monkeypatch.setenv(name, value)
        made.append(get(contexts))
    assert len(set(made)) == len(made)
    for context in made:
        assert context.verify_mode in (ssl.CERT_REQUIRED, ssl.CERT_NONE)
        assert context.check_hostname is (context.verify_mode == ssl.CERT_REQUIRED)


def test_files_may_be_path_objects(folder):
    pathlib = pytest.importorskip('pathlib', reason='2.7 has no os.PathLike')
    own = pathlib.Path(folder.write('own.pem', 'own'))
    cafile = pathlib.Path(folder.write('ca.pem', 'authority'))
    context = get(Contexts(), cafile=cafile, certfile=own, keyfile=own)
    assert len(context.get_ca_certs()) == 1
    assert server_context(own).verify_mode == server_context(own, own).verify_mode == ssl.CERT_NONE


def test_file_that_the_environment_names_is_the_same_file(folder, monkeypatch):
    cafile = folder.write('ca.pem', 'authority')
    contexts = Contexts()
    named = get(contexts, cafile=cafile)
    monkeypatch.setenv('SSL_CERT_FILE', cafile)
    assert get(contexts) is named


def test_two_websockets_share_a_context_and_each_has_its_own_sessions(folder):
    certfile = folder.write('own.pem', 'own')
    first, second = (
        WebSocket(u'wss://example.org/', ssl_certfile=certfile) for _ in range(2))
    assert first.dialer.tls is not second.dialer.tls
    options = first.net_options.tls
    context = first.dialer.tls.context(options)
    assert second.dialer.tls.context(second.net_options.tls) is context
    bare = first.dialer.tls.context(options.without_certificate())
    assert bare is not context
    assert first.dialer.tls.context(options.for_proxy()) is bare


def test_what_is_checked_besides_makes_no_difference():
    """The name and the fingerprint are looked at after the context has done its part."""
    tls = TLSClient()
    plain = tls.context(TLSOptions())
    assert tls.context(TLSOptions(server_hostname='other.example')) is plain
    assert tls.context(TLSOptions(fingerprint='0' * 64)) is plain


def test_context_of_the_caller_is_used_and_not_shared(folder):
    context = ssl.create_default_context()
    given, tls = TLSOptions(context=context), TLSClient()
    for options in (given, given.for_proxy(), given.without_certificate()):
        assert tls.context(options) is context
    assert tls.context(TLSOptions()) is not context


def test_certifi_is_the_default_and_its_file_is_watched(folder, monkeypatch):
    path = folder.write('cacert.pem', 'authority')
    contexts = Contexts()
    assert get(contexts).cert_store_stats()['x509_ca'] > 1
    monkeypatch.setattr(certifi, 'where', lambda: path)
    first = get(contexts)
    assert first.cert_store_stats()['x509_ca'] == 1
    assert get(contexts) is first
    folder.write('cacert.pem', folder.pems['authority'] + folder.pems['other authority'])
    assert get(contexts).cert_store_stats()['x509_ca'] == 2


def test_threads_that_come_at_once_share_a_context(folder):
    certfile = folder.write('own.pem', 'own')
    contexts, made = Contexts(), []
    barrier = threading.Semaphore(0)

    def run():
        barrier.acquire()
        made.append(get(contexts, certfile=certfile))

    threads = [threading.Thread(target=run) for _ in range(12)]
    for thread in threads:
        thread.daemon = True
        thread.start()
    for _ in threads:
        barrier.release()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(made) == 12
    assert len(set(made)) == 1


# -- when there is a new one --

@pytest.mark.parametrize('is_new', [True, False])
@pytest.mark.parametrize('option, before, after', [
    ('cafile', 'authority', 'other authority'), ('certfile', 'own', 'other')])
def test_file_that_was_written_again_makes_a_new_context(folder, option, before, after, is_new):
    path = folder.write('file.pem', before)
    contexts = Contexts()
    first = get(contexts, **{option: path})
    folder.write('file.pem', after, is_new)
    second = get(contexts, **{option: path})
    assert second is not first
    assert get(contexts, **{option: path}) is second


@pytest.mark.parametrize('is_new', [True, False])
def test_key_that_was_renewed_makes_a_new_context(folder, is_new):
    certfile, keyfile = folder.write('chain.pem', 'own chain'), folder.write('key.pem', 'own key')
    contexts = Contexts()
    first = get(contexts, certfile=certfile, keyfile=keyfile)
    folder.write('key.pem', 'own key', is_new)
    assert get(contexts, certfile=certfile, keyfile=keyfile) is not first


@pytest.mark.skipif(not hasattr(os, 'symlink'), reason='there are no symlinks')
def test_symlink_that_leads_elsewhere_makes_a_new_context(folder):
    """As Kubernetes renews a secret: the link of a folder is replaced."""
    contexts = Contexts()
    for name in ('own', 'other'):
        os.mkdir(folder(name))
        folder.write(os.path.join(name, 'tls.pem'), name)
    os.symlink('own', folder('data'))
    certfile = folder(os.path.join('data', 'tls.pem'))
    first = get(contexts, certfile=certfile)
    os.symlink('other', folder('data.new'))
    os.rename(folder('data.new'), folder('data'))
    assert get(contexts, certfile=certfile) is not first


def test_content_that_kept_its_size_and_its_time_makes_a_new_context(folder):
    """As ``cp -p`` and rsync leave it: the time of the change is kept by the system."""
    data = folder.pems['authority']
    path = folder.write('ca.pem', data)
    when = os.stat(path)
    contexts = Contexts()
    first = get(contexts, cafile=path)
    while os.stat(path).st_ctime == when.st_ctime:      # of a coarse clock, on some systems
        with open(path, 'wb') as file:
            file.write(data)
        os.utime(path, (when.st_atime, when.st_mtime))
    assert os.stat(path).st_size == when.st_size
    assert get(contexts, cafile=path) is not first


@pytest.mark.parametrize('count', [1, 2])
def test_directory_whose_names_have_changed_makes_a_new_context(folder, monkeypatch, count):
    for number in range(count):
        os.mkdir(folder(str(number)))
    last = os.path.join(folder(str(count - 1)), 'aaaaaaaa.0')
    monkeypatch.setenv('SSL_CERT_DIR', os.pathsep.join(folder(str(n)) for n in range(count)))
    contexts = Contexts()
    first = get(contexts)
    assert get(contexts) is first
    shutil.copy(folder.write('ca.pem', 'authority'), last)
    os.utime(os.path.dirname(last), (1, 1))
    second = get(contexts)
    assert second is not first
    os.remove(last)
    os.utime(os.path.dirname(last), (2, 2))
    assert get(contexts) not in (first, second)


@pytest.mark.parametrize('name, value', [
    ('SSL_CERT_FILE', 'missing.pem'), ('SSL_CERT_FILE', 'ca.pem')])
def test_variable_that_was_set_later_counts(folder, monkeypatch, name, value):
    contexts = Contexts()
    first = get(contexts)
    folder.write('ca.pem', 'authority')
    monkeypatch.setenv(name, folder(value))
    if value == 'missing.pem':
        with pytest.raises(EnvironmentError) as caught:
            get(contexts)
        assert 'missing.pem' in str(caught.value)
    else:
        assert get(contexts).cert_store_stats()['x509_ca'] == 1
    monkeypatch.delenv(name)
    assert get(contexts) is first


@pytest.mark.skipif(not hasattr(ssl.SSLContext, 'keylog_filename'), reason='needs Python 3.8')
def test_key_log_that_was_taken_away_is_made_again(folder, monkeypatch):
    monkeypatch.setenv('SSLKEYLOGFILE', folder('keys'))
    contexts = Contexts()
    first = get(contexts, verify=False)
    assert get(contexts, verify=False) is first
    with open(folder('keys'), 'a') as file:
        file.write('# more of it\n')
    assert get(contexts, verify=False) is first
    os.rename(folder('keys'), folder('keys.1'))
    second = get(contexts, verify=False)
    assert second is not first
    assert os.path.exists(folder('keys'))
    assert get(contexts, verify=False) is second
    del first, second
    gc.collect()        # they hold the files open


# -- what can't be loaded --

@pytest.mark.parametrize('option, good, bad', [
    ('cafile', 'authority', b''), ('cafile', 'authority', b'-----BEGIN CERTIFICATE-----\nMII'),
    ('cafile', 'authority', None), ('certfile', 'own', b''), ('certfile', 'own', None),
    ('certfile', 'own', 'own chain'), ('certfile', 'own', 'own key')])
def test_file_of_no_use_raises_each_time_until_it_is_right(folder, option, good, bad):
    path = folder.write('file.pem', good)
    contexts = Contexts()
    first = get(contexts, **{option: path})
    if bad is None:
        os.remove(path)
    else:
        folder.write('file.pem', bad)
    for _again in range(2):
        # Not the one from before: the file that it was made of is there no more.
        with pytest.raises(EnvironmentError) as caught:
            get(contexts, **{option: path})
        assert 'file.pem' in str(caught.value)
    folder.write('file.pem', good)
    assert get(contexts, **{option: path}) is not first


def test_key_of_another_certificate_raises_until_both_are_renewed(folder):
    certfile, keyfile = folder.write('chain.pem', 'own chain'), folder.write('key.pem', 'own key')
    contexts = Contexts()
    get(contexts, certfile=certfile, keyfile=keyfile)
    folder.write('chain.pem', 'other chain')
    with pytest.raises(ssl.SSLError) as caught:
        get(contexts, certfile=certfile, keyfile=keyfile)
    assert 'chain.pem' in str(caught.value)
    assert 'key.pem' in str(caught.value)
    folder.write('key.pem', 'other key')
    assert get(contexts, certfile=certfile, keyfile=keyfile)


# -- what is kept --

def test_few_are_kept_of_what_nobody_uses(folder):
    contexts = Contexts()
    alive = []
    for number in range(MAX_IDLE + 10):
        path = folder.write('ca-{}.pem'.format(number), 'authority')
        alive.append(weakref.ref(get(contexts, cafile=path)))
    gc.collect()
    assert [reference() is not None for reference in alive] == [False] * 10 + [True] * MAX_IDLE
    assert len(contexts) == MAX_IDLE


def test_context_in_use_is_shared_however_many_were_made_since(folder):
    contexts = Contexts()
    path = folder.write('ca.pem', 'authority')
    used = get(contexts, cafile=path)
    for number in range(MAX_IDLE + 1):
        get(contexts, cafile=folder.write('ca-{}.pem'.format(number), 'authority'))
    assert get(contexts, cafile=path) is used


def test_context_of_a_file_that_was_renewed_goes_with_its_last_user(folder):
    """It has the old key in it."""
    contexts = Contexts()
    path = folder.write('own.pem', 'own')
    old = weakref.ref(get(contexts, certfile=path))
    gc.collect()
    assert old() is not None
    folder.write('own.pem', 'other')
    get(contexts, certfile=path)
    gc.collect()
    assert old() is None


def test_websocket_keeps_its_context_while_there_are_others(folder, monkeypatch):
    monkeypatch.setattr(tls_client, 'shared_context', Contexts().get)
    path = folder.write('ca.pem', 'authority')
    options, tls = TLSOptions(cafile=path), TLSClient()
    mine = weakref.ref(tls.context(options))
    for number in range(MAX_IDLE + 1):
        other = folder.write('ca-{}.pem'.format(number), 'authority')
        TLSClient().context(TLSOptions(cafile=other))
    gc.collect()
    assert mine() is tls.context(options)


# -- the warning --

def test_each_websocket_that_checks_nothing_warns_once(caplog):
    with caplog.at_level(logging.WARNING, logger='lomond'):
        options = TLSOptions(verify=False)
        first, second = TLSClient(), TLSClient()
        for _again in range(3):
            assert first.context(options) is second.context(options)
        assert len(caplog.records) == 2
        first.context(TLSOptions(verify=False, fingerprint='0' * 64))
        first.context(TLSOptions(verify=False, context=ssl.create_default_context()))
        first.context(TLSOptions())
    assert len(caplog.records) == 2
    assert 'not verified' in caplog.records[0].getMessage()


def test_proxy_that_is_not_checked_is_warned_of_though_the_server_is_pinned(caplog):
    with caplog.at_level(logging.WARNING, logger='lomond'):
        options, tls = TLSOptions(verify=False, fingerprint='0' * 64), TLSClient()
        tls.context(options)
        assert not caplog.records
        for _again in range(2):
            tls.context(options.for_proxy())
    assert len(caplog.records) == 1
