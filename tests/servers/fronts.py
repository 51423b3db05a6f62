"""Reverse proxies with TLS in front of a WebSocket server: how each is told to be one.

Each function makes a `Program`. On the paths of their own they do as `tests/servers/conftest.py`
says; all others go to the server as they are.
"""

from __future__ import absolute_import, division, print_function

import os

from tests.programs import Program, find_program, write_file

#: After how long, in seconds, an idle connection on ``/idle`` is cut.
IDLE = 3.0

#: How long a worker of nginx that was told to end keeps its connections, in seconds.
SHUTDOWN = 0.5

#: What HAProxy's answer says when it has no server to go to.
RETRY_AFTER = 7

#: What a program of nginx's that runs in a folder of its own begins with, and the same for http.
NGINX_HEAD = u'''
daemon off;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
events {{ worker_connections 128; }}
'''
NGINX_HTTP = u'''
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
'''

_NGINX = NGINX_HEAD + u'''
worker_shutdown_timeout {shutdown}ms;
http {{''' + NGINX_HTTP + u'''
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
    proxy_set_header Host $host;

    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {pem};
        ssl_certificate_key {pem};
        ssl_protocols TLSv1.2 TLSv1.3;

        location / {{ proxy_pass http://127.0.0.1:{upstream}; }}
        location = /idle {{
            proxy_pass http://127.0.0.1:{upstream}/;
            proxy_read_timeout {idle}ms;
        }}
        location = /down {{ proxy_pass http://127.0.0.1:{dead}; }}
    }}
}}
'''

_HAPROXY = u'''
global
    maxconn 100
    tune.ssl.default-dh-param 2048

defaults
    mode {mode}
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout tunnel 60s

frontend front
    bind 127.0.0.1:{port} ssl crt {pem} alpn {alpn}
    default_backend server
'''

_HAPROXY_PATHS = u'''
    use_backend idle if {{ path /idle }}
    use_backend down if {{ path /down }}

backend idle
    timeout tunnel {idle}ms
    http-request set-path /
    server echo 127.0.0.1:{upstream}

backend down
    retries 0
    http-error status 503 content-type text/plain string "nobody is there" hdr Retry-After {after}
    server nobody 127.0.0.1:{dead}
'''

_HAPROXY_SERVER = u'''
backend server
    server echo 127.0.0.1:{upstream} {proto}
'''


def nginx(upstream, dead, pem):
    """nginx; parameters: the server's port, one where nobody is, a file of key and certificate."""
    program = find_program('nginx')

    def make_command(folder, port):
        path = write_file(folder, 'nginx.conf', _NGINX.format(
            port=port, upstream=upstream, dead=dead, pem=pem, idle=int(IDLE * 1000),
            shutdown=int(SHUTDOWN * 1000)))
        return [program, '-p', folder, '-c', path, '-e', 'stderr']
    return Program(make_command)


def haproxy(upstream, dead, pem):
    """HAProxy, that understands HTTP; parameters as of `nginx`."""
    return _haproxy(
        _HAPROXY + _HAPROXY_PATHS + _HAPROXY_SERVER, upstream, pem, dead=dead, after=RETRY_AFTER,
        idle=int(IDLE * 1000))


def haproxy_tcp(upstream, dead, pem):
    """HAProxy, that takes TLS off and passes bytes on; parameters as of `nginx`."""
    return _haproxy(_HAPROXY + _HAPROXY_SERVER, upstream, pem, mode=u'tcp')


def haproxy_http2(upstream, is_http2, pem):
    """HAProxy, for clients of HTTP/2 and HTTP/1.1; ``is_http2`` says what the server speaks."""
    return _haproxy(
        _HAPROXY + _HAPROXY_SERVER, upstream, pem, alpn=u'h2,http/1.1',
        proto=u'proto h2' if is_http2 else u'')


def _haproxy(template, upstream, pem, mode=u'http', alpn=u'http/1.1', proto=u'', **fields):
    program = find_program('haproxy')

    def make_command(folder, port):
        path = write_file(folder, 'haproxy.cfg', template.format(
            port=port, upstream=upstream, pem=pem, mode=mode, alpn=alpn, proto=proto, **fields))
        return [program, '-db', '-f', path]     # -db: one process, in the foreground
    return Program(make_command)


def nghttpx_http2(upstream, is_http2, _pem):
    """nghttpx, as `haproxy_http2`, but without TLS: it detects HTTP/2 (RFC 9113 3.3)."""
    program = find_program('nghttpx')

    def make_command(_folder, port):
        return [
            program, '--conf=' + os.devnull, '--workers=1', '--errorlog-file=/dev/stderr',
            '--frontend=127.0.0.1,{};no-tls'.format(port),
            '--backend=127.0.0.1,{};;proto={}'.format(
                upstream, 'h2' if is_http2 else 'http/1.1')]
    return Program(make_command)
