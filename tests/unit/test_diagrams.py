"""The diagrams and the tables of options in docs/ are what the code says."""

from __future__ import absolute_import, division, print_function

import os
import re
import sys
from xml.etree import ElementTree

import pytest

from lomond import events
from lomond.protocol.connection import CLIENT
from tests.faults.scripted import ORDER

CI = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), '.ci')

sys.path.insert(0, CI)
try:
    import draw_diagrams
    import draw_options
    import draw_svg
    import pages
finally:
    sys.path.remove(CI)


def test_the_diagrams_are_up_to_date():
    """`make diagrams` draws them."""
    names = set()
    for path in draw_diagrams.PAGES:
        page = pages.read_page(path)
        names.update(match.group(2) for match in draw_diagrams.DIAGRAM.finditer(page))
        assert draw_diagrams.draw(page) == page
    assert names == set(draw_diagrams.DRAWN)


def walks(*events):
    """Yield every order of events, by the diagram, that doesn't reconnect."""
    if len(events) > 7:
        return
    following = [event for event in dict(draw_diagrams.FOLLOWING)[events[-1]]
                 if event not in ('Redirected', 'BackOff', 'GaveUp', 'Stale')]
    if not following:
        yield events
    for event in following:
        for walk in walks(*(events + (event,))):
            yield walk


def test_the_events_are_drawn_in_an_order_that_sessions_have():
    """The tests of faults compare each session with `ORDER`."""
    found = list(walks('Connecting'))
    assert len(found) == 9
    for walk in found:
        names = [{draw_diagrams.MESSAGES: 'poll'}.get(event, snake_case(event)) for event in walk]
        assert ORDER[CLIENT].match(' '.join(names)), names


def test_every_event_is_drawn():
    drawn = {event for pair in draw_diagrams.FOLLOWING for event in [pair[0]] + pair[1]}
    drawn.update(draw_diagrams.MESSAGES.split(', '))
    drawn.remove(draw_diagrams.MESSAGES)
    parts = {'TextPart', 'BinaryPart', 'Utf8Text', 'Utf8TextPart'}
    assert drawn | parts | {'Event', 'UnknownMessage'} == {
        name for name, value in vars(events).items()
        if isinstance(value, type) and issubclass(value, events.Event)
        and name not in ('AnyEvent', '_CloseFrame')}


def snake_case(name):
    return re.sub('(?<=.)(?=[A-Z])', '_', name).lower()


def test_the_states_are_drawn_with_what_leads_to_them():
    drawn = draw_diagrams.draw_states().splitlines()
    assert '    [*] --> connecting' in drawn
    assert '    connecting --> open: accepted' in drawn
    assert '    connecting --> closed: disconnected, rejected' in drawn
    assert drawn.index('    open --> closing: close_sent') < drawn.index('    closed --> [*]')


def test_the_layers_are_drawn_from_the_highest_to_the_lowest():
    drawn = draw_diagrams.draw_layers().splitlines()
    assert drawn[0] == '__main__'
    assert drawn[-1] == '_compat'
    assert 'net  protocol' in drawn


# -- the pictures of `make docs` --

@pytest.mark.parametrize('name', ['states', 'phases', 'events'])
def test_a_picture_has_every_node_and_every_label(name):
    mermaid = draw_diagrams.DRAWN[name]()
    picture = ElementTree.fromstring(draw_svg.draw(mermaid))
    texts = {text.text.strip('()') for text in picture.iter('{http://www.w3.org/2000/svg}text')}
    graph = draw_svg.Graph(mermaid)
    assert texts == set(graph.labels.values()).union(
        label for _before, _after, label in graph.edges + graph.loops if label)


@pytest.mark.parametrize('name', ['states', 'phases', 'events'])
def test_the_boxes_of_a_picture_are_apart(name):
    picture = ElementTree.fromstring(draw_svg.draw(draw_diagrams.DRAWN[name]()))
    boxes = [[float(box.get(key)) for key in ('x', 'y', 'width', 'height')]
             for box in picture.iter('{http://www.w3.org/2000/svg}rect')]
    for index, (x, y, width, _height) in enumerate(boxes):
        for other_x, other_y, other_width, height in boxes[:index]:
            assert abs(y - other_y) >= height or x + width < other_x or other_x + other_width < x


# -- the options --

def tables():
    """Yield the page, and what takes the options, of each table."""
    for page in draw_options.PAGES:
        for match in draw_options.TABLE.finditer(pages.read_page(page)):
            yield pytest.param(page, match, id=match.group(3))


@pytest.mark.skipif(sys.version_info < (3, 6), reason='2.7 has no lomond.aio')
@pytest.mark.parametrize('page, match', list(tables()))
def test_a_table_of_options_is_up_to_date(page, match):
    """`make diagrams` draws them."""
    assert draw_options.draw(match.group(0), page) == match.group(0)


@pytest.mark.skipif(sys.version_info < (3, 6), reason='2.7 has no lomond.aio')
@pytest.mark.parametrize('page, match', list(tables()))
def test_a_docstring_describes_every_parameter(page, match):
    taker, function = draw_options.find(match.group(2), match.group(3))
    described = [name for names, _words in draw_options.describe(taker.__doc__) for name in names]
    assert len(described) == len(set(described))
    assert set(draw_options.defaults_of(function)) - set(described) <= {'websocket', 'environ'}


def test_the_names_of_other_libraries_are_up_to_date():
    """`make diagrams` draws them."""
    page = 'docs/coming-from/index.md'
    assert draw_options.draw(pages.read_page(page), page) == pages.read_page(page)


def test_every_page_that_says_more_about_an_option_is_there():
    for page in draw_options.MORE.values():
        assert os.path.exists(os.path.join(pages.ROOT, 'docs', page + '.md')), page
