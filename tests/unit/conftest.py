"""Tests of one module each, which open no socket."""

from __future__ import absolute_import, division, print_function

from tests.offline import no_socket_and_no_process  # noqa: F401
