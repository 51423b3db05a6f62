"""What came of the Autobahn test suite's cases: a table, and what is worse than expected.

Knows no process and no file: those are `autobahn.py`'s. ``results`` are as in
the suite's report, {case: {'behavior': ..., 'behaviorClose': ...}}.
"""

from __future__ import absolute_import, division, print_function

from collections import Counter

#: What the suite says of a case, and of how it was closed; the best first.
VERDICTS = ['OK', 'INFORMATIONAL', 'NON-STRICT', 'UNIMPLEMENTED', 'FAILED']

_OK, _FAILED = VERDICTS[0], VERDICTS[-1]
_ASPECTS = ('behavior', 'behaviorClose')


def group_of(case):
    """Return the group of a case: '9' for '9.7.1'."""
    return case.partition('.')[0]


def find_faults(expected, groups, cases, results):
    """Return what is worse than expected, a list of text.

    Parameters: ``expected``, what autobahn_expected.json holds; ``groups``,
    those to be run as a whole; ``cases``, all that the suite was to run.
    """
    if not cases:
        return ['no case was run']
    faults = []
    offered = Counter(group_of(case) for case in cases)
    for group in groups:
        count = expected['cases'].get(group, 1)
        if offered[group] < count:
            faults.append('group {}: {} cases, not {}'.format(group, offered[group], count))
    for case in cases:
        if case not in results:
            faults.append('{} was not run'.format(case))
            continue
        for aspect in _ASPECTS:
            found, allowed = results[case][aspect], _expect(expected, case, aspect)
            if _rank(found) > _rank(allowed):
                faults.append('{}: {} is {}, not {}'.format(case, aspect, found, allowed))
    return faults


def find_improvements(expected, results):
    """Return what is better than expected, a list of text."""
    return [
        '{}: {} is {}'.format(case, aspect, result[aspect])
        for case, result in sorted(results.items()) for aspect in _ASPECTS
        if _rank(result[aspect]) < _rank(_expect(expected, case, aspect))]


def _expect(expected, case, aspect):
    return expected['not plain OK'].get(case, {}).get(aspect, _OK)


def _rank(verdict):
    return VERDICTS.index(_kind(verdict))


def _kind(verdict):
    # WRONG CODE, UNCLEAN, FAILED BY CLIENT
    return verdict if verdict in VERDICTS else _FAILED


def tabulate(names, cases, results):
    """Return the lines of a Markdown table, a row for each group.

    ``names`` are those of the groups. A count is of behaviours / of closings,
    or only one if they are the same.
    """
    lines = [
        '| Group | Cases | ' + ' | '.join(VERDICTS) + ' |',
        '| --- | ---: | ' + ' | '.join(['---:'] * len(VERDICTS)) + ' |',
    ]
    groups = sorted({group_of(case) for case in cases}, key=int)
    for group in groups:
        lines.append(_row('{} {}'.format(group, names.get(group, '')), [
            case for case in cases if group_of(case) == group], results))
    if len(groups) > 1:
        lines.append(_row('all', cases, results))
    return lines


def _row(name, cases, results):
    counts = [
        Counter(_kind(results[case][aspect]) for case in cases if case in results)
        for aspect in _ASPECTS]
    cells = [name, str(sum(case in results for case in cases))]
    for verdict in VERDICTS:
        behaviors, closings = (count[verdict] for count in counts)
        cells.append(str(behaviors) if behaviors == closings else '{} / {}'.format(
            behaviors, closings))
    return '| ' + ' | '.join(cells) + ' |'
