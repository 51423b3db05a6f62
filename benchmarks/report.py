"""Results as a Markdown page."""

import check_targets
from clients import ENTRIES, ORDER
from loads import IDLE_CPU, LOADS

#: Below this share of CPU a client that receives has waited for the peer.
BUSY = 0.9

#: If other processes had more than this share of the CPU, the results say that they are unreliable.
BUSY_OTHERS = 0.05


def render(results):
    """Return the page."""
    machine = results['machine']
    lines = [
        '# Results',
        '',
        'Made by `make bench`; [README.md](README.md) says what is measured, and how to read it.',
        '',
        '- {cpu}, {cores} cores, {system}, {architecture}'.format(**machine),
        '- {}, lomond {}'.format(machine['date'], machine['lomond']),
        '- {}{} rounds'.format(
            'client and peer pinned to a CPU each; ' if results['pinned'] else '',
            results['rounds']),
        '- ' + _others(results.get('others')),
        '',
        'A figure is the median of the rounds; `[2x]`: twice what the bare socket takes. `~`: it',
        'had the CPU for less than {:.0%} of the time, so it waited for the peer, or the machine'
        .format(BUSY),
        'was busy: it may be faster than this. A dash: not measured.',
    ]
    for version, found in results['pythons'].items():
        lines += ['', '## Python {}'.format(version), '', _versions(found), '']
        if version == check_targets.VERSION:
            lines += ['### Targets', '', *check_targets.table(results), '']
        for table in dict.fromkeys(load.table for load in [*LOADS, IDLE_CPU]):
            lines += _table(table, found['results'])
        lines += _missing(found['results'])
    return '\n'.join(lines).rstrip() + '\n'


def _others(share):
    if share is None:
        return 'the CPU share of other processes was not recorded: the figures may be unreliable'
    return 'other processes had {:.0%} of the CPU meanwhile{}'.format(
        share, ': the figures are unreliable' if share > BUSY_OTHERS else '')


def _versions(found):
    versions = ', '.join(
        '{} {}'.format(*pair) for pair in sorted(found['clients'].items()) if pair[0] != 'lomond')
    return '; '.join(['CPython ' + found['version'], *_forms(found['results']), versions])


def _forms(results):
    """Yield which forms of lomond were measured; each process has checked its own."""
    found = {
        kept.get('accelerated') for clients in results.values() for kept in clients.values()}
    for accelerated, name in ((False, 'pure Python'), (True, 'compiled')):
        if accelerated in found:
            yield 'lomond {}'.format(name)


def _table(title, results):
    loads = [load for load in [*LOADS, IDLE_CPU] if load.table == title and load.key in results]
    clients = [
        client for client in ORDER
        if any('median' in results[load.key].get(client, {}) for load in loads)]
    if not clients:
        return []
    lines = [
        '### {}'.format(title),
        '',
        '| | {} |'.format(' | '.join(load.column for load in loads)),
        '| --- |{}'.format(' ---: |' * len(loads)),
    ]
    for client in clients:
        cells = [_cell(load, results[load.key].get(client, {})) for load in loads]
        lines.append('| {} | {} |'.format(ENTRIES[client].label, ' | '.join(cells)))
    return [*lines, '']


def _cell(load, kept):
    if 'median' not in kept:
        return '-'
    text = number(kept['median'])
    if load.operation == 'receive' and kept.get('busy', 1) < BUSY:
        text = '~' + text
    if 'p99' in kept and load.operation == 'echo':
        text += ' ({})'.format(number(kept['p99']))
    if 'ratio' in kept:
        text += ' [{}x]'.format(number(kept['ratio'], 2))
    return text


def number(value, digits=3):
    """Return a figure with as many digits as it deserves."""
    if value >= 10 ** (digits - 1):
        return '{:,.0f}'.format(value)
    for power in range(digits - 2, -4, -1):
        if value >= 10 ** power:
            return '{:.{}f}'.format(value, digits - 1 - power)
    return '0' if value < 0.0005 else '{:.4f}'.format(value)


def _missing(results):
    reasons = {}
    for client in ORDER:
        for load in [*LOADS, IDLE_CPU]:
            kept = results.get(load.key, {}).get(client, {})
            if 'missing' in kept and 'runs' not in kept:
                reasons.setdefault((client, kept['missing']), []).append(load.key)
    lines = []
    if reasons:
        lines += ['Not measured:', '']
    for (client, reason), keys in reasons.items():
        what = ', '.join(keys) if len(keys) < 6 else '{} loads'.format(len(keys))
        lines.append('- {}: {} ({})'.format(ENTRIES[client].label, reason, what))
    broken = [client for client in ORDER if any(
        'failures' in clients.get(client, {}) for clients in results.values())]
    if broken:
        lines += ['', 'Failed now and then, and were run again: {}.'.format(
            ', '.join(ENTRIES[client].label for client in broken))]
    return [*lines, ''] if lines else []
