"""The WSGI application that each server runs, and middleware around it."""

from __future__ import absolute_import, division, print_function

import threading

from lomond import errors, wsgi
from lomond.pool import Pool

OPTIONS = {'compress': True, 'origins': [u'https://good.example', None], 'poll': None}


def handle(websocket):
    """Echo; or do what a text says."""
    for event in websocket:
        answer(websocket, event)
        if event.name == 'text' and event.text == u'leave':
            break


def answer(websocket, event):
    if event.name == 'binary':
        websocket.send_binary(event.data)
    elif event.name == 'text':
        if event.text == u'close':
            websocket.close(1000, u'enough')
        elif event.text == u'close elsewhere':
            threading.Thread(target=websocket.close, args=(1000, u'elsewhere')).start()
        elif event.text == u'break':
            websocket.force_disconnect()
        elif event.text == u'fail':
            raise KeyError('as it was asked to')
        elif event.text == u'path':
            websocket.send_text(websocket.request.resource + u' ' + str(
                websocket.environ['REQUEST_METHOD']))
        elif event.text != u'leave':
            websocket.send_text(event.text)


class PoolThread(object):
    """A pool in a thread of the process that uses it, begun at its first member."""

    def __init__(self):
        self._lock = threading.Lock()
        self._pool = None

    def add(self, websocket):
        with self._lock:
            if self._pool is None:
                self._pool = Pool(max_queue=None, ends_when_empty=False)
                thread = threading.Thread(target=self._run)
                thread.daemon = True
                thread.start()
        self._pool.add(websocket)

    def _run(self):
        for websocket, event in self._pool:
            answer(websocket, event)


pool_thread = PoolThread()

loop = wsgi.websocket_app(handle, **OPTIONS)
quick = wsgi.websocket_app(handle, ping_rate=0.5, ping_timeout=0.5)
often = wsgi.websocket_app(handle, ping_rate=0.5, ping_timeout=None)
detached = wsgi.websocket_app(handle, detach=True, **OPTIONS)


def pooled(environ, start_response):
    try:
        websocket = wsgi.upgrade(environ, detach=True, **OPTIONS)
    except wsgi.NotUpgraded as refused:
        return refused(environ, start_response)
    pool_thread.add(websocket)
    start_response('200 OK', [('Content-Type', 'text/plain')])
    return [b'this goes nowhere']


def called(environ, start_response):
    """Calls instead of a loop, a cookie, and a response that frameworks like to make."""
    with wsgi.upgrade(environ, headers={'Set-Cookie': 'a=b'}, **OPTIONS) as websocket:
        try:
            for message in websocket.messages():
                websocket.send_many([message])
        except errors.WebSocketError:
            pass        # the client broke it off
    start_response('204 No Content', [])
    return iter([])


def plain(_environ, start_response):
    start_response('200 OK', [('Content-Type', 'text/plain'), ('Content-Length', '5')])
    return [b'hello']


def unauthorized(_environ, start_response):
    start_response('401 Unauthorized', [
        ('WWW-Authenticate', 'Basic realm="x"'), ('Content-Length', '3')])
    return [b'no\n']


PATHS = {'/loop': loop, '/detached': detached, '/pooled': pooled, '/called': called,
         '/plain': plain, '/quick': quick, '/often': often, '/unauthorized': unauthorized}


def application(environ, start_response):
    return PATHS[environ['PATH_INFO']](environ, start_response)


class Wrapped(object):
    """Middleware as monitoring has it: around start_response and around what is returned."""

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __call__(self, environ, start_response):
        def start(status, headers, exc_info=None):
            headers = list(headers) + [('X-Wrapped', 'yes')]
            return start_response(status, headers, *([exc_info] if exc_info else []))
        return _Iterable(self._wrapped(environ, start))


class _Iterable(object):

    def __init__(self, wrapped):
        self._wrapped = wrapped

    def __iter__(self):
        for item in self._wrapped:
            yield item

    def close(self):
        if hasattr(self._wrapped, 'close'):
            self._wrapped.close()


wrapped = Wrapped(application)
