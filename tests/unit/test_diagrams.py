"""The diagrams of docs/architecture.md are what the tables in the code say."""

from __future__ import absolute_import, division, print_function

import os
import sys

CI = os.path.join(
    os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), '.ci')

sys.path.insert(0, CI)
try:
    import draw_diagrams
finally:
    sys.path.remove(CI)


def test_the_diagrams_are_up_to_date():
    """`make diagrams` draws them."""
    page = draw_diagrams.read_page()
    names = {match.group(2) for match in draw_diagrams.DIAGRAM.finditer(page)}
    assert names == set(draw_diagrams.DRAWN)
    assert draw_diagrams.draw(page) == page


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
