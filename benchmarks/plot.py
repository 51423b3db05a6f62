"""The one picture: what a text message of 120 bytes costs with each client, as SVG."""

from xml.sax.saxutils import escape

from clients import ENTRIES, ORDER
from report import number

LOAD = 'receive 120 B text'

#: The Python to show, if it was measured.
VERSION = '3.11'

_WIDTH, _LABELS, _FIGURES = 720, 170, 60
_TOP, _ROW, _BAR = 46, 26, 16

# Media queries work in an <img> too, which takes no colours from its page.
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #24292f }
  .title { font-weight: 600 }
  .small { font-size: 11px; fill: #57606a }
  .other { fill: #8c959f }
  .ours { fill: #1a7f37 }
  .name { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .small { fill: #9198a1 }
    .other { fill: #6e7681 }
    .ours { fill: #3fb950 }
  }
"""


def render(results):
    """Return the picture, or None if what it shows wasn't measured."""
    pythons = results['pythons']
    version = VERSION if VERSION in pythons else next(reversed(list(pythons)))
    found = pythons[version]['results'].get(LOAD, {})
    bars = sorted(
        (found[client]['median'], client) for client in ORDER
        if client not in ('peer', 'bare') and 'median' in found.get(client, {}))
    if not bars:
        return None
    height = _TOP + _ROW * len(bars) + 24
    scale = (_WIDTH - _LABELS - _FIGURES) / bars[-1][0]
    lines = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" '
        'role="img" aria-label="Microseconds to receive a message, by client">'.format(
            _WIDTH, height),
        '<style>{}</style>'.format(_STYLE),
        '<text class="title" x="10" y="20">Receiving a text message of 120 bytes</text>',
        '<text class="small" x="10" y="37">µs from the socket to the loop body; less is better. '
        'CPython {}, {}</text>'.format(version, escape(results['machine']['cpu'])),
    ]
    for row, (value, client) in enumerate(bars):
        top = _TOP + row * _ROW
        kind = 'ours' if client in ('lomond', 'lomond-compiled') else 'other'
        length = max(1, value * scale)
        lines += [
            '<text x="{}" y="{}" text-anchor="end"{}>{}</text>'.format(
                _LABELS - 8, top + 13, ' class="name"' if kind == 'ours' else '',
                escape(ENTRIES[client].label)),
            '<rect class="{}" x="{}" y="{}" width="{:.1f}" height="{}" rx="2"/>'.format(
                kind, _LABELS, top, length, _BAR),
            '<text x="{:.1f}" y="{}">{}</text>'.format(
                _LABELS + length + 6, top + 13, number(value)),
        ]
    lines.append(
        '<text class="small" x="10" y="{}">Loopback, a peer that sends prebuilt frames; '
        'benchmarks/README.md tells more. {}</text>'.format(
            height - 8, results['machine']['date']))
    return '\n'.join([*lines, '</svg>', ''])


def write(results, path):
    """Write the picture, if there is one."""
    picture = render(results)
    if picture is not None:
        with open(path, 'w', encoding='utf-8') as file:
            file.write(picture)
