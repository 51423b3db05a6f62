"""Which modules log by the logger of the package: most of what is logged is about one WebSocket."""

from __future__ import absolute_import, division, print_function

import ast

from tests.unit.test_imports import MODULES, is_in, parse

#: The modules that do, and what they log there is about no single WebSocket or server. (Those of
#: `lomond.shards` log about feeds, shards and Redis.)
BY_THE_PACKAGE = {
    'lomond.net.offload',       # a result for nobody, of a call whose `discard` fails
    'lomond.net.tls.contexts',  # a file for keys, which all share
    'lomond.testing.scripted',  # what went over all connections of a server of the test's
    'lomond.wsgi',              # once in a process: what the server's workers can't do
}


def test_what_is_about_one_websocket_is_logged_by_its_logger():
    """By the logger of a parameter, or an attribute: see docs/architecture.md."""
    modules = [name for name in MODULES
               if not is_in(name, 'lomond.examples') and not is_in(name, 'lomond.shards')]
    found = {
        name for name in modules for node in ast.walk(parse(name))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name) and node.func.value.id == 'log'}
    assert found == BY_THE_PACKAGE
