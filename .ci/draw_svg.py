"""Draw the state diagrams of docs/ as SVG, for `make docs`: only a code host draws Mermaid.

Layers from top to bottom; what passes a layer has a place in it. `docs/conf.py` puts the result
into the page, whose colours it takes on.
"""

from __future__ import absolute_import, division, print_function

import re
from xml.sax.saxutils import escape

_ARROW = re.compile(r'^ *(\S+) --> (\S+?)(?:: (.*))?$', re.MULTILINE)
_ALIAS = re.compile(r'^ *state "(.*)" as (\w+)$', re.MULTILINE)

# Pixels.
_MARGIN, _BOX, _GAP, _LAYER, _LETTER = 15, 28, 26, 64, 7.4

_TIP = ('<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto-start-reverse"><path d="M0 0L8 4L0 8z" '
        'fill="currentColor"/></marker></defs>')


class Graph(object):
    """What a diagram says: names of nodes, and what leads from each to the next.

    Attributes: ``labels`` of the nodes, by name; ``edges``, (from, to, label) triples; ``loops``,
    those from a node to itself; ``first``, the node where it begins; ``lasts``, where it may end.
    """

    def __init__(self, mermaid):
        arrows = _ARROW.findall(mermaid)
        self.edges = [arrow for arrow in arrows if '[*]' not in arrow and arrow[0] != arrow[1]]
        self.loops = [arrow for arrow in arrows if arrow[0] == arrow[1]]
        self.first, = [after for before, after, _label in arrows if before == '[*]']
        self.lasts = {before for before, after, _label in arrows if after == '[*]'}
        self.labels = {}
        for before, after, _label in self.edges:
            self.labels.setdefault(before, before)
            self.labels.setdefault(after, after)
        self.labels.update((name, label) for label, name in _ALIAS.findall(mermaid))

    def backward(self):
        """Return the edges that lead back to where a path came from."""
        found, path, done = set(), [], set()

        def visit(name):
            path.append(name)
            for edge in self.edges:
                if edge[0] == name and edge[1] in path:
                    found.add(edge)
                elif edge[0] == name and edge[1] not in done:
                    visit(edge[1])
            done.add(path.pop())

        visit(self.first)
        return found

    def ranks(self, backward):
        """Return the layer of each node: the length of the longest path to it.

        Each label has a layer between.
        """
        step = 2 if any(label for _before, _after, label in self.edges) else 1
        ranks = dict.fromkeys(self.labels, 0)
        for _ in ranks:
            for before, after, label in self.edges:
                if (before, after, label) not in backward:
                    ranks[after] = max(ranks[after], ranks[before] + step)
        return ranks


def draw(mermaid):
    """Return the SVG of a state diagram in Mermaid's notation."""
    graph = Graph(mermaid)
    backward = graph.backward()
    ranks = graph.ranks(backward)
    layers = [[] for _ in range(max(ranks.values()) + 1)]
    for name in graph.labels:
        layers[ranks[name]].append(name)
    labels = dict(graph.labels)
    paths = []
    for edge in graph.edges:
        before, after = edge[1::-1] if edge in backward else edge[:2]
        path = [before]
        for rank in range(ranks[before] + 1, ranks[after]):
            layers[rank].append((edge, rank))
            path.append((edge, rank))
        if edge[2]:
            labels[path[1]] = edge[2]
        paths.append((path + [after], edge in backward))
    _sort(layers, [path for path, _is_backward in paths])
    places, width = _place(layers, labels)
    return _render(graph, paths, places, labels, width + 2 * _GAP, len(layers) * _LAYER)


def _sort(layers, paths):
    """Put the nodes of each layer where their neighbours are, so that few lines cross."""
    neighbours = {}
    for path in paths:
        for one, other in zip(path, path[1:]):
            neighbours.setdefault(one, []).append(other)
            neighbours.setdefault(other, []).append(one)
    for _ in range(12):
        for layer in layers:
            at = {name: index / len(others) for others in layers
                  for index, name in enumerate(others)}
            layer.sort(key=lambda name, at=at: sum(
                at[other] for other in neighbours[name]) / len(neighbours[name]))


def _place(layers, labels):
    """Return the middle of each node, and of each passage, with its width; and the whole width."""
    widths = [[_GAP + (len(labels[name]) * _LETTER + _MARGIN if name in labels else 0)
               for name in layer] for layer in layers]
    total = max(sum(widths_of) for widths_of in widths)
    places = {}
    for rank, (layer, widths_of) in enumerate(zip(layers, widths)):
        space = (total - sum(widths_of)) / (len(layer) + 1)
        x = _GAP
        for name, width in zip(layer, widths_of):
            x += space
            places[name] = (x + width / 2, rank * _LAYER + _LAYER / 2, width - _GAP)
            x += width
    return places, total


def _render(graph, paths, places, labels, width, height):
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {:.0f} {:.0f}" style="max-width: '
        '{:.0f}px" role="img" class="diagram">'.format(width, height, width),
        _TIP]
    texts = []
    for path, is_backward in paths:
        points = [places[name][:2] for name in path]
        lines.append(
            '<path d="{}" fill="none" stroke="currentColor" stroke-opacity="0.6"{} '
            'marker-{}="url(#tip)"/>'.format(
                _curve(points), ' stroke-dasharray="4 3"' if is_backward else '',
                'start' if is_backward else 'end'))
        if path[1] in labels and path[1] not in graph.labels:
            texts.append(_text(points[1][0], points[1][1] + 4, labels[path[1]], 11))
    for name, _name, label in graph.loops:
        x, y, box = places[name]
        texts.append(_text(x, y + _BOX, '(' + label + ')', 11))
    for name, label in sorted(graph.labels.items()):
        x, y, box = places[name]
        lines.append(
            '<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{}" rx="6" class="node" '
            'stroke="currentColor" stroke-width="{}"/>'.format(
                x - box / 2, y - _BOX / 2, box, _BOX, 2.5 if name in graph.lasts else 1))
        texts.append(_text(x, y + 5, label, 13))
    return '\n'.join(lines + texts + ['</svg>']) + '\n'


def _curve(points):
    """Return a path from the lower side of the first box to the upper side of the last."""
    points = list(points)
    points[0] = (points[0][0], points[0][1] + _BOX / 2)
    points[-1] = (points[-1][0], points[-1][1] - _BOX / 2)
    parts = ['M{:.1f} {:.1f}'.format(*points[0])]
    for (x, y), (to_x, to_y) in zip(points, points[1:]):
        middle = (y + to_y) / 2
        parts.append('C{:.1f} {:.1f} {:.1f} {:.1f} {:.1f} {:.1f}'.format(
            x, middle, to_x, middle, to_x, to_y))
    return ''.join(parts)


def _text(x, y, text, size):
    return '<text x="{:.1f}" y="{:.1f}" font-size="{}" text-anchor="middle">{}</text>'.format(
        x, y, size, escape(text))
