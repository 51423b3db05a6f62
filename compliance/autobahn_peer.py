"""The Autobahn test suite's end of `autobahn.py`: a process of its own, on Python 2.7.

    python autobahn_peer.py '{"role": "server", "cases": ["9.*"], "folder": "..."}'
    python autobahn_peer.py '{"role": "client", "cases": ["9.*"], "folder": "...", "url": "ws://..."}'

Prints one line of JSON: the cases that these patterns mean, the names of the
groups, and for a server its port. It listens on 127.0.0.1 only, on a free port;
the suite's own command listens on every interface. The server ends with its
standard input, the client with the last case. The suite's report is in the
folder then; all else that it has to say goes to standard error.
"""

from __future__ import absolute_import, division, print_function

import json
import socket
import sys
import threading

# autobahn.py beside this file isn't the package of that name.
del sys.path[0]

from autobahntestsuite import case, fuzzing  # noqa: E402
from twisted.internet import reactor  # noqa: E402

#: How often the server looks if the last connection is gone, in seconds.
_GLANCE = 0.05


def serve(spec, say):
    """Run the suite's server until standard input ends."""
    listener = socket.socket()
    listener.bind(('127.0.0.1', 0))
    listener.listen(64)
    listener.setblocking(False)
    port = listener.getsockname()[1]
    factory = fuzzing.FuzzingServerFactory(dict(spec, url='ws://127.0.0.1:{}'.format(port)))

    def end():
        # A case has its result when its connection is gone on this side too.
        if factory.countConnections:
            reactor.callLater(_GLANCE, end)
        else:
            factory.createReports(produceHtml=False)
            reactor.stop()

    def wait_for_the_end():
        sys.stdin.read()
        reactor.callFromThread(end)

    waiter = threading.Thread(target=wait_for_the_end)
    waiter.daemon = True
    reactor.adoptStreamPort(listener.fileno(), socket.AF_INET, factory)
    listener.close()
    say(factory, port=port)
    waiter.start()
    reactor.run()


class Client(fuzzing.FuzzingClientFactory):
    """The suite's, whose pages nobody reads."""

    def createReports(self, produceHtml=False, produceJson=True):
        fuzzing.FuzzingClientFactory.createReports(self, produceHtml, produceJson)


def visit(spec, say):
    """Run the suite's client through all cases."""
    say(Client(dict(spec, servers=[{'agent': 'lomond', 'url': spec['url']}])))
    reactor.run()


def main():
    options = json.loads(sys.argv[1])
    role = options.pop('role')
    options['outdir'] = options.pop('folder')
    answers, sys.stdout = sys.stdout, sys.stderr     # the suite prints what it does

    def say(factory, **more):
        print(json.dumps(dict(
            more, cases=factory.specCases, groups=case.CaseCategories)), file=answers)
        answers.flush()

    {'server': serve, 'client': visit}[role](options, say)


if __name__ == '__main__':
    main()
