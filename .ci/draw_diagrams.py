"""Draw the diagrams of docs/ from the tables in the code: `make diagrams`.

    python .ci/draw_diagrams.py         # rewrites the pages

tests/unit/test_diagrams.py fails while a page and the tables differ.
"""

from __future__ import absolute_import, division, print_function

import ast
import io
import os
import re
import sys

from pages import ROOT, rewrite

PAGES = ['docs/architecture.md', 'docs/explanation/life-of-a-connection.md']

#: What comes between Ready and the end.
MESSAGES = 'Poll, Text, Binary, Ping, Pong'

#: Which events may follow each; the last two come from `persist`, or with a policy.
FOLLOWING = [
    ('Connecting', ['ConnectFail', 'Connected']),
    ('Connected', ['Redirected', 'Rejected', 'ProtocolError', 'Ready', 'Disconnected']),
    ('Redirected', ['Connecting']),
    ('Rejected', ['Disconnected']),
    ('Ready', [MESSAGES]),
    (MESSAGES, ['Stale', 'Closing', 'Closed', 'ProtocolError', 'Unresponsive', 'Disconnected']),
    ('Stale', [MESSAGES, 'Disconnected']),
    ('Closing', ['Disconnected']),
    ('Closed', ['Disconnected']),
    ('ProtocolError', ['Disconnected']),
    ('Unresponsive', ['Disconnected']),
    ('ConnectFail', ['BackOff', 'GaveUp']),
    ('Disconnected', ['BackOff', 'GaveUp']),
    ('BackOff', ['Connecting']),
]

#: A diagram in the page: its name in a comment, then a fenced block.
DIAGRAM = re.compile(r'(<!-- diagram: (\w+) -->\n```\w*\n)(.*?)(?=^```$)', re.DOTALL | re.MULTILINE)


def draw_states():
    """Return the states of a WebSocket and what leads from each to the next, for Mermaid."""
    from lomond.protocol.state import TRANSITIONS, State
    order = _in_order(State)
    lines = ['stateDiagram-v2', '    [*] --> {}'.format(State.CONNECTING)]
    for state in order:
        for following in order:
            triggers = sorted(
                trigger for (before, trigger), after in TRANSITIONS.items()
                if (before, after) == (state, following))
            if triggers and state != State.CLOSED:
                lines.append('    {} --> {}: {}'.format(state, following, ', '.join(triggers)))
    return _text(lines + ['    {} --> [*]'.format(State.CLOSED)])


def draw_phases():
    """Return the phases of a session and what may follow each, for Mermaid."""
    from lomond.engine.phases import PHASES, Phase
    order = _in_order(Phase)
    lines = ['stateDiagram-v2', '    [*] --> {}'.format(Phase.NEW)]
    lines.extend(
        '    {} --> {}'.format(phase, following)
        for phase in order for following in order if following in PHASES[phase])
    return _text(lines + ['    {} --> [*]'.format(Phase.FINISHED)])


def draw_events():
    """Return which event may follow which, for Mermaid."""
    lines = [
        'stateDiagram-v2', '    state "{}" as Messages'.format(MESSAGES), '    [*] --> Connecting']
    lines.extend('    {} --> {}'.format(*(
        'Messages' if name == MESSAGES else name for name in (event, following)))
        for event, all_following in FOLLOWING for following in all_following)
    return _text(lines + ['    {} --> [*]'.format(name)
                          for name in ('ConnectFail', 'Disconnected', 'GaveUp')])


def draw_layers():
    """Return the layers of modules, the highest first, as tests/unit/test_imports.py lists them."""
    return _text('  '.join(names) for names in reversed(_read_constant(
        os.path.join('tests', 'unit', 'test_imports.py'), 'HOUSE')))


DRAWN = {
    'states': draw_states, 'phases': draw_phases, 'layers': draw_layers, 'events': draw_events}


def _in_order(cls):
    """Return the values of the constants in a class, as they are in its source."""
    with io.open(os.path.join(ROOT, *cls.__module__.split('.')) + '.py', 'rb') as source:
        tree = ast.parse(source.read())
    body, = [node.body for node in tree.body
             if isinstance(node, ast.ClassDef) and node.name == cls.__name__]
    return [getattr(cls, node.targets[0].id) for node in body if isinstance(node, ast.Assign)]


def _read_constant(path, name):
    """Return a constant of a module without importing it."""
    with io.open(os.path.join(ROOT, path), 'rb') as source:
        tree = ast.parse(source.read())
    value, = [node.value for node in tree.body
              if isinstance(node, ast.Assign) and node.targets[0].id == name]
    return ast.literal_eval(value)


def _text(lines):
    return u''.join(u'{}\n'.format(line) for line in lines)


def draw(page):
    """Return a page with its diagrams as the tables have them."""
    return DIAGRAM.sub(lambda match: match.group(1) + DRAWN[match.group(2)](), page)


if __name__ == '__main__':
    sys.path.insert(0, ROOT)
    rewrite(PAGES, lambda text, _page: draw(text))
