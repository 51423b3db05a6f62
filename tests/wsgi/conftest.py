"""The servers, each in a process of its own."""

from __future__ import absolute_import, division, print_function

import os
import sys

import pytest
import six

from tests.programs import Program, find_program

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def run_server(name, *options):
    """Return one of `tests.wsgi.servers`, or uWSGI, a `Program`."""
    if name == 'uwsgi':
        return _run_uwsgi('wrapped' if 'wrapped' in options else 'application')
    return Program(
        lambda _folder, port: [
            sys.executable, '-u', '-m', 'tests.wsgi.servers', name, str(port)] + list(options),
        prefix=['env', 'PYTHONPATH=' + ROOT])


def _run_uwsgi(application):
    program = find_program('uwsgi_python3')
    site_packages = os.path.dirname(six.__file__)       # Debian's Python has them, too: pure ones
    return Program(lambda _folder, port: [
        program, '--plugin', 'python3', '--http-socket', '127.0.0.1:{}'.format(port),
        '--threads', '8', '--die-on-term', '--disable-logging', '--pythonpath', ROOT,
        '--pythonpath', site_packages, '--wsgi', 'tests.wsgi.applications:' + application])


@pytest.fixture(autouse=True)
def clean(clean_environment):
    """No proxy of the environment stands between."""
