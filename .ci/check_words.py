"""Find words of an idiom that only its authors read easily, and say what to write: `make lint`.

    python .ci/check_words.py [FILE ...]        # without arguments all that is listed below

Looks at comments, docstrings, messages and names in code, and at the text of documents. It
changes no file. Where such a word is right after all, the line ends in `words: ok`, in a comment.
"""

from __future__ import absolute_import, division, print_function

import glob
import io
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: What is looked at, by glob; `**` isn't known to 2.7.
SCANNED = [
    '*.md', 'docs/*.md', 'docs/*/*.md', 'docs/conf.py', 'benchmarks/*.md', 'compliance/*.md',
    'Makefile', 'tox.ini', 'setup.cfg',
    'setup.py', 'pyproject.toml', '.ci/*.py', '.ci/run', '.ci/install_programs', 'examples/*.py',
    'lomond/*.py', 'lomond/*/*.py', 'lomond/*/*/*.py']

#: Which words, and what to write instead. A space stands for any white space and for `_`: phrases
#: are found across lines, and in names. The third says in which files, if not in all.
WORDS = [
    (r'ow(e|es|ed|ing)(?! to)', 'pending, unsent, not answered yet'),
    (r'lack(s|ed|ing)?', 'has no, is missing, is short of'),
    (r'tells?|told|telling', 'say, report, return, whether'),
    (r'anew|afresh', 'again, a new ...'),
    (r'who(m|ever|mever|ever)', 'the thread that, the caller'),
    (r'who', 'name the thread, the peer or the caller', r'\.py$'),
    (r'rooms?', 'space (in a buffer), package (of modules)'),
    (r'left to (itself|themselves)', 'unattended, unchanged'),
    (r'tak(e|es|en|ing) note|took note', 'record, notice, remember'),
    (r'stands? for', 'means, represents'),
    (r'ha(s|ve|d) had', 'already got, was given'),
    (r'(of )?no use( for| to)?|of use', 'useful, usable; unusable, not needed'),
    (r'so (many|much|long)(?! (as|that|more|less)\b)', 'name the number: N bytes, this long'),
    (r'verdicts?', 'result, decision, error'),
    (r'hear[sd]?|hearing', 'receive, last received'),
    (r'for good', 'permanently, until it is closed'),
    (r'for ever', 'forever, without a limit'),
    (r'by (itself|themselves)', 'automatically, alone, separately'),
    (r'kn(ow|ows|ew) (of|no|nothing)', "uses no, doesn't depend on, notices"),
    (r'to be had', 'available, returned'),
    (r'midst', 'in the middle of, during'),
    (r'mend(s|ed|ing)?', 'fix'),
    (r'judg(e|es|ed|ing)', 'decide, check'),
    (r'(tak(e|es|en|ing)|took)( nothing| anything| everything)? in(?! (the|a|turn|order)\b)',
     'accept, receive, read'),
    (r'but for', 'except'),
    (r'wants', 'requires, expects'),
    (r'go(es)? by', 'uses, depends on'),
    (r'as of(?= [`"])', 'the same as those of'),
    (r'(trips|tripped|tripping|not trip) over', 'fails at'),
    (r'strangers?|is foreign', 'another origin, is_cross_origin'),
    (r'(see|sees|saw) to (it|what)', 'ensure, check, do'),
    (r'com(e|es|ing) of (it|that|this)|(becomes?|became) of', 'result, outcome'),
    (r'speaks? of|spoke of|said of', 'say about, mean'),
    (r'looks? around', 'check for work'),
]

ALLOWED = 'words: ok'


def compile_word(pattern):
    """Return the regular expression for an entry of `WORDS`."""
    # Between two words of a phrase: white space, a new line with a comment's sign, or `_`.
    pattern = pattern.replace(' ', r'(?:\s+(?:#:?\s*)?|_)')
    return re.compile(r'(?<![A-Za-z])(?:{})(?![A-Za-z])'.format(pattern), re.IGNORECASE)


PATTERNS = [
    (compile_word(entry[0]), entry[1], re.compile(entry[2] if len(entry) > 2 else ''))
    for entry in WORDS]


def find(path, text):
    """Yield (line, what is written, what to write) for each word that is found in a text."""
    lines = text.split('\n')
    for pattern, instead, where in PATTERNS:
        if where.search(path) is None:
            continue
        for match in pattern.finditer(text):
            first, last = (text.count('\n', 0, index) for index in match.span())
            if not any(ALLOWED in line for line in lines[first:last + 1]):
                yield first + 1, ' '.join(match.group().split()), instead


def files():
    """Return the paths of the files that are looked at, from the root of the checkout."""
    found = set()
    for pattern in SCANNED:
        for path in glob.glob(os.path.join(ROOT, *pattern.split('/'))):
            if os.path.isfile(path):
                found.add(os.path.relpath(path, ROOT).replace(os.sep, '/'))
    found.discard('.ci/check_words.py')     # which names them all
    return sorted(found)


def check(paths):
    """Return a line for each word that is found in these files."""
    faults = []
    for path in paths:
        with io.open(os.path.join(ROOT, *path.split('/')), encoding='utf-8') as opened:
            text = opened.read()
        faults.extend(
            '{}:{}: "{}": write {}'.format(path, line, word, instead)
            for line, word, instead in sorted(find(path, text)))
    return faults


def main(paths):
    faults = check(paths or files())
    if faults:
        sys.exit('\n'.join(faults))


if __name__ == '__main__':
    main(sys.argv[1:])
