"""A WSGI server for the tests: ``python -m tests.wsgi.servers NAME PORT [OPTION ...]``.

Options: ``wrapped`` for middleware around the application, ``tls=FILE`` with a key and
certificates, ``unpatched`` for a gevent that doesn't patch, others of the server.
"""

from __future__ import absolute_import, division, print_function

import sys


def run_werkzeug(application, port, tls, *options):
    from werkzeug.debug import DebuggedApplication
    from werkzeug.serving import WSGIRequestHandler, make_server

    if 'debug' in options:
        application = DebuggedApplication(application)

    class Handler(WSGIRequestHandler):
        def log_request(self, *_args):
            """Log no requests."""

    make_server(
        '127.0.0.1', port, application, threaded=True, request_handler=Handler,
        ssl_context=(tls, tls) if tls else None).serve_forever()


def run_gunicorn(application, port, tls, *options):
    from gunicorn.app.base import BaseApplication

    settings = {
        'bind': '127.0.0.1:{}'.format(port), 'loglevel': 'warning', 'graceful_timeout': 8}
    if tls:
        settings.update(certfile=tls, keyfile=tls)
    for option in options:
        name, _mark, value = option.partition('=')
        settings[name] = value if not value.isdigit() else int(value)
    if settings.pop('close_all', None):
        settings.update(closing_settings())

    class Application(BaseApplication):

        def load_config(self):
            for name, value in settings.items():
                self.cfg.set(name, value)

        def load(self):
            return application

    Application().run()


def closing_settings():
    """Return gunicorn's settings as docs/howto/wsgi.md recommends: all get a Close frame."""
    import signal

    from lomond import wsgi

    def post_worker_init(_worker):
        before = signal.getsignal(signal.SIGTERM)

        def stop(signum, frame):
            wsgi.close_all(timeout=0)
            before(signum, frame)

        signal.signal(signal.SIGTERM, stop)

    return {'post_worker_init': post_worker_init,
            'worker_exit': lambda _server, _worker: wsgi.close_all(timeout=5)}


def run_gevent(application, port, tls):
    from gevent.pywsgi import WSGIServer
    options = {'certfile': tls, 'keyfile': tls} if tls else {}
    WSGIServer(('127.0.0.1', port), application, log=None, **options).serve_forever()


def run_cheroot(application, port, tls):
    from cheroot.wsgi import Server
    server = Server(('127.0.0.1', port), application, numthreads=10)
    if tls:
        from cheroot.ssl.builtin import BuiltinSSLAdapter
        server.ssl_adapter = BuiltinSSLAdapter(tls, tls)
    server.start()


def run_wsgiref(application, port, _tls):
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    from six.moves.socketserver import ThreadingMixIn

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True

    class Handler(WSGIRequestHandler):
        def log_message(self, *_args):
            """Log no requests."""

    make_server('127.0.0.1', port, application, Server, Handler).serve_forever()


def run_eventlet(application, port, _tls):
    import eventlet
    from eventlet import wsgi
    wsgi.server(eventlet.listen(('127.0.0.1', port)), application, log_output=False)


def run_waitress(application, port, _tls):
    from waitress.server import create_server
    create_server(application, host='127.0.0.1', port=port, threads=10).run()


SERVERS = {name[4:]: function for name, function in list(globals().items())
           if name.startswith('run_')}


def main():
    name, port, options = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    tls = next((option[4:] for option in options if option.startswith('tls=')), None)
    flags = [option for option in options if not option.startswith('tls=')]
    if name == 'gevent' or 'worker_class=gevent' in flags:
        if 'unpatched' not in flags:
            from gevent import monkey
            monkey.patch_all()
    elif name == 'eventlet':
        import eventlet
        eventlet.monkey_patch()
    from tests.wsgi import applications
    application = applications.wrapped if 'wrapped' in flags else applications.application
    flags = [flag for flag in flags if flag not in ('wrapped', 'unpatched')]
    SERVERS[name](application, port, tls, *flags)


if __name__ == '__main__':
    main()
