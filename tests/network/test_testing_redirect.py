"""redirect: a program whose URLs are fixed connects to the servers of its test."""

from __future__ import absolute_import, division, print_function

import socket
import ssl

import pytest

from lomond import WebSocket
from lomond.net.detour import detours
from lomond.pool import Pool
from lomond.server import Server
from lomond.testing import ScriptedServer, close, expect, redirect, say, stall
from lomond.tls import server_context
from tests.network.driving import Background, echo_handler, run_program
from tests.support import PATIENCE, names

pytestmark = pytest.mark.usefixtures('nothing_is_left_open', 'clean_environment')

URL = u'wss://api.example.com/feed?x=1'


@pytest.fixture(autouse=True)
def no_detour_is_left():
    yield
    assert detours == []


def connect(url=URL, **options):
    """Run a loop to its end; return the events."""
    return list(WebSocket(url, **options).connect(close_timeout=PATIENCE))


def test_program_that_names_its_url_reaches_the_server():
    """The program is as it would run: only what starts it belongs to the test."""
    printed = run_program("""if 1:
        def program():      # somebody else's module
            from lomond import WebSocket
            for event in WebSocket(u'wss://api.example.com/feed'):
                if event.name == 'text':
                    print(event.text)
                elif event.name in ('connect_fail', 'rejected'):
                    print(event.reason)

        from lomond.testing import ScriptedServer, close, redirect, say
        with ScriptedServer([say(u'hello'), close()], tls=True) as server:
            with redirect({'api.example.com': server}):
                program()
        print(server.requests[0].get('Host'))
        print(server.requests[0].path)
        """)
    assert printed.split() == ['hello', 'api.example.com', '/feed']


def test_host_and_path_are_those_of_the_url():
    with ScriptedServer([close()], tls=True) as server, redirect({'API.example.com.': server}):
        seen = connect()
    assert seen[0].url == seen[1].url == URL
    assert seen[-1].graceful
    assert server.requests[0].resource == u'/feed?x=1'
    assert server.requests[0].get(u'Host') == u'api.example.com'


def test_plain_url_reaches_a_plain_server():
    with ScriptedServer([close()]) as server, redirect({'api.example.com': server}):
        assert connect(u'ws://api.example.com:8080/')[-1].graceful
    assert server.requests[0].get(u'Host') == u'api.example.com:8080'


def test_several_hosts_have_servers_and_certificates_of_their_own():
    with ScriptedServer([say(u'a'), close()], tls=True) as one, \
            ScriptedServer([say(u'b'), close()], [say(u'c'), close()], tls=True) as other, \
            redirect({'a.example': one, u'b.example': other, u'c.example': other}):
        texts = [[event.text for event in connect(url) if event.name == 'text']
                 for url in (u'wss://a.example/', u'wss://b.example/', u'wss://c.example/')]
    assert texts == [[u'a'], [u'b'], [u'c']]


def test_name_may_have_other_letters_than_ascii():
    with ScriptedServer([close()]) as server, redirect({u'b\xfccher.example': server}):
        assert connect(u'ws://b\xfccher.example/')[-1].graceful
    assert server.requests[0].get(u'Host') == u'xn--bcher-kva.example'


def test_one_server_takes_all_hosts():
    with ScriptedServer([close()], [close()], tls=True) as server, redirect(server):
        assert connect(u'wss://a.example/')[-1].graceful
        assert connect(u'wss://192.0.2.7/')[-1].graceful


def test_name_is_verified():
    """By the name that the program checks: an option that names another host has an effect."""
    with ScriptedServer([close()], tls=True) as server, redirect({'api.example.com': server}):
        assert connect(ssl_server_hostname='other.example')[-1].graceful
    assert server.requests[0].get(u'Host') == u'api.example.com'
    with pytest.raises(AssertionError, match='broke'):       # the server's view
        with ScriptedServer([], tls=True) as server:
            failed = connect(server.url, ssl_cafile=server.cafile,
                             ssl_server_hostname='other.example')[-1]
    assert failed.phase == 'tls'
    assert 'other.example' in failed.reason


def test_server_without_a_certificate_for_the_name_is_refused(server_pem, authority_file):
    """A server of one's own may be the target as well; its authority is its ``cafile``."""
    with Server(echo_handler, ssl_context=server_context(server_pem)) as server:
        server.cafile = authority_file
        with redirect({'api.example.com': server}):
            failed = connect()[-1]
    assert failed.name == 'connect_fail'
    assert failed.phase == 'tls'
    assert 'api.example.com' in failed.reason


def test_authorities_fingerprint_and_proxy_of_the_program_have_no_effect(
        authority_file, monkeypatch, dead_port):
    monkeypatch.setenv('HTTPS_PROXY', 'http://127.0.0.1:{}'.format(dead_port))
    with ScriptedServer(*[[close()]] * 3, tls=True) as server, redirect(server):
        assert connect(ssl_context=ssl.create_default_context())[-1].graceful
        assert connect(ssl_cafile=authority_file, ssl_fingerprint='00' * 32)[-1].graceful
        seen = connect(proxies={'all': 'http://127.0.0.1:{}'.format(dead_port)})
    assert seen[1].proxy is None
    assert seen[-1].graceful


def test_other_hosts_are_refused_and_this_machine_is_not():
    with ScriptedServer([close()]) as local, ScriptedServer() as server:
        with redirect({'api.example.com': server}):
            failed = connect(u'ws://other.example/')[-1]
            assert failed.name == 'connect_fail'
            assert "lomond.testing.redirect({'other.example': server})" in failed.reason
            assert connect(local.url)[-1].graceful


@pytest.mark.parametrize('host', [u'127.example', u'127.0.0.1.example'])
def test_name_that_begins_like_an_address_of_this_machine_is_none(host):
    with ScriptedServer() as server, redirect({'api.example.com': server}):
        assert 'is not redirected' in connect(u'ws://{}/'.format(host))[-1].reason


def test_this_machine_is_reached_without_the_programs_proxy(dead_port):
    proxies = {'ws': 'http://127.0.0.1:{}'.format(dead_port)}
    with ScriptedServer([close()]) as local, ScriptedServer() as server:
        with redirect({'api.example.com': server}), redirect(server):
            assert connect(local.url, proxies=proxies)[-1].graceful


def test_block_that_another_thread_ends_while_a_connection_is_dialled_still_decides():
    def end_block(_target, _options, _is_outermost):
        block.__exit__(None, None, None)

    with ScriptedServer() as server:
        block = redirect({'api.example.com': server})
        block.__enter__()
        detours.append(end_block)       # as if it were the thread's own block
        try:
            assert 'is not redirected' in connect(u'ws://other.example/')[-1].reason
        finally:
            detours.remove(end_block)


@pytest.mark.parametrize('tls', [False, True])
def test_server_that_was_stopped_meanwhile_is_a_connect_fail(tls):
    with ScriptedServer(tls=tls) as server, redirect(server):
        server.stop()
        failed = connect(u'wss://a.example/' if tls else u'ws://a.example/')[-1]
    assert failed.name == 'connect_fail'
    assert 'does not listen any more' in failed.reason


def test_server_outside_of_its_block_is_refused():
    with pytest.raises(RuntimeError, match='in its block only'):
        with redirect({'a.example': ScriptedServer()}):
            pass


def test_address_may_be_named():
    with ScriptedServer([close()], [close()]) as server:
        with redirect({u'192.0.2.1': server, '2001:db8::1': server}):
            for host in (u'192.0.2.1', u'[2001:db8::1]'):
                assert connect(u'ws://{}/'.format(host))[-1].graceful


def test_blocks_may_be_nested():
    with ScriptedServer([say(u'a'), close()]) as outer, \
            ScriptedServer([say(u'b'), close()]) as inner:
        with redirect({'a.example': outer, 'b.example': outer}):
            with redirect({'b.example': inner}):
                assert [event.text for url in (u'ws://a.example/', u'ws://b.example/')
                        for event in connect(url) if event.name == 'text'] == [u'a', u'b']


def test_block_ends_with_its_effect():
    with ScriptedServer() as server:
        with pytest.raises(ZeroDivisionError), redirect(server):
            1 / 0       # noqa: B018
        assert detours == []


def test_every_thread_is_redirected():
    with ScriptedServer(*[[close()]] * 3) as server, redirect({'api.example.com': server}):
        threads = [Background(connect, u'ws://api.example.com/') for _number in range(3)]
        assert all(thread.result()[-1].graceful for thread in threads)


def test_pool_is_redirected():
    with ScriptedServer(*[[expect(u'a'), close()]] * 3, tls=True) as server, redirect(server):
        pool = Pool()
        for name in u'abc':
            pool.add(WebSocket(u'wss://{}.example/'.format(name)))
        ends = []
        for websocket, event in pool:
            if event.name == 'ready':
                websocket.send_text(u'a')
            elif event.name == 'disconnected':
                ends.append(event.graceful)
    assert ends == [True] * 3


def test_connection_goes_on_after_the_block():
    with ScriptedServer([expect(u'a'), close()]) as server:
        with redirect({'api.example.com': server}):
            websocket = WebSocket(u'ws://api.example.com/')
            loop = websocket.connect()
            while next(loop).name != 'ready':
                pass
        websocket.send_text(u'a')
        assert names(loop)[-1] == 'disconnected'


@pytest.mark.parametrize('tls, url, words', [
    (False, u'wss://api.example.com/', 'ScriptedServer(..., tls=True)'),
    (True, u'ws://api.example.com/', 'without tls=True')])
def test_scheme_that_the_server_does_not_speak_is_explained(tls, url, words):
    server = ScriptedServer([stall()], tls=tls, timeout=0.1)
    with pytest.raises(AssertionError, match='only 0 connections'), server, redirect(server):
        failed = connect(url)[-1]
        assert failed.name == 'connect_fail'
        assert words in failed.reason


@pytest.mark.parametrize('servers, error', [
    (1, TypeError), ({'a': 1}, TypeError), ({'wss://a/': 1}, ValueError), ({'': 1}, ValueError),
    ({'a:443': 1}, ValueError), ({'[::1]': 1}, ValueError), ({1: 1}, TypeError)])
def test_wrong_argument_is_refused(servers, error):
    with pytest.raises(error):
        with redirect(servers):
            pass


def test_sockets_of_the_program_are_not_redirected():
    with ScriptedServer([say(u'a'), close()]) as server, ScriptedServer() as other:
        with redirect(other):
            seen = connect(u'ws://api.example.com/', sock=lambda: socket.create_connection(
                (server.host, server.port)))
    assert seen[-1].graceful
