"""Reverse proxies with TLS in front of a WebSocket server: how each is told to be one.

Each function makes a `Program`. On the paths of their own they do as `tests/servers/conftest.py`
says; all others go to the server as they are.
"""

from __future__ import absolute_import, division, print_function

from tests.programs import Program, find_program, write_file

#: After how long, in seconds, an idle connection on ``/idle`` is cut.
IDLE = 3.0

#: How long a worker of nginx that was told to end keeps its connections, in seconds.
SHUTDOWN = 0.5

#: What HAProxy's answer says when it has no server to go to.
RETRY_AFTER = 7

_NGINX = u'''
daemon off;
pid nginx.pid;
error_log stderr error;
worker_processes 1;
worker_shutdown_timeout {shutdown}ms;
events {{ worker_connections 128; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

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
    bind 127.0.0.1:{port} ssl crt {pem}
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
    server echo 127.0.0.1:{upstream}
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
    return _haproxy(u'http', _HAPROXY + _HAPROXY_PATHS + _HAPROXY_SERVER, upstream, dead, pem)


def haproxy_tcp(upstream, dead, pem):
    """HAProxy, that takes TLS off and passes bytes on; parameters as of `nginx`."""
    return _haproxy(u'tcp', _HAPROXY + _HAPROXY_SERVER, upstream, dead, pem)


def _haproxy(mode, template, upstream, dead, pem):
    program = find_program('haproxy')

    def make_command(folder, port):
        path = write_file(folder, 'haproxy.cfg', template.format(
            mode=mode, port=port, upstream=upstream, dead=dead, pem=pem, after=RETRY_AFTER,
            idle=int(IDLE * 1000)))
        return [program, '-db', '-f', path]     # -db: one process, in the foreground
    return Program(make_command)
