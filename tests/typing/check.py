"""Check the types that users of lomond see: by mypy and pyright, on the programs beside this.

    python tests/typing/check.py

Run it by an environment where lomond is installed, as `make typecheck` does. It must be without
types-six, which users don't have.

A program holds what it expects: `assert_type` for types, and at the end of a line that is wrong

    # error: arg-type reportArgumentType

what mypy and pyright call the error. Each checker has to report its own there, and nothing anywhere
else. "Needs Python 3.10." in a program's docstring keeps it from older ones.

Pyright is also asked whether anything in lomond has an unknown type. It runs on Node: without that
mypy is all.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib import metadata

HOME = os.path.dirname(os.path.abspath(__file__))
CACHE = os.path.join(os.path.dirname(os.path.dirname(HOME)), '.mypy_cache', 'typing')

#: Versions of Python to check the programs for. mypy refuses those that it is too new for.
VERSIONS = ['3.8', '3.9', '3.10', '3.11', '3.12', '3.13', '3.14']

_EXPECTED = re.compile(r'# error: (.*)$')
_NEEDS = re.compile(r'Needs Python ([0-9.]+)\.')
_MYPY_LINE = re.compile(r'([^:]+):(\d+): error: (.*?)  \[([a-z-]+)\]$')


def main():
    """Check; return the exit status."""
    try:
        metadata.version('types-six')
    except metadata.PackageNotFoundError:
        pass
    else:
        raise SystemExit('types-six is installed here: users do without')
    # In the checkout mypy would take that for lomond.
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        faults = check_programs() + verify_types()
        os.chdir(HOME)
    for fault in faults:
        say(fault)
    return 1 if faults else 0


def check_programs():
    """Run the checkers on the programs, for each version of Python; return what is wrong."""
    programs = read_programs()
    for name in programs:
        shutil.copy(os.path.join(HOME, name), name)
    with open('pyrightconfig.json', 'w') as config:
        json.dump({'typeCheckingMode': 'strict'}, config)
    faults = defaultdict(list)      # with the versions of each
    for version in VERSIONS:
        # mypy reads a program by the parser of the Python that it runs on.
        for checker, newest in ((run_mypy, sys.version_info), (run_pyright, as_tuple(version))):
            names = sorted(name for name, needed in programs.items()
                           if needed <= min(as_tuple(version), newest))
            reported = checker(names, version)
            if reported is not None:
                found = list(compare(names, reported, checker is run_mypy))
                say('{} for Python {}: {} programs, {}'.format(
                    checker.__name__[4:], version, len(names),
                    '{} faults'.format(len(found)) if found else 'as expected'))
                for fault in found:
                    faults[checker.__name__[4:], fault].append(version)
    return ['{} for Python {}: {}'.format(checker, ', '.join(versions), fault)
            for (checker, fault), versions in faults.items()]


def say(line):
    print(line, flush=True)


def as_tuple(version):
    return tuple(int(part) for part in version.split('.'))


def read_programs():
    """Return the names of the programs, each with the version of Python that it needs."""
    programs = {}
    for name in os.listdir(HOME):
        if name.endswith('.py') and name != os.path.basename(__file__):
            needs = _NEEDS.search(read(name))
            programs[name] = as_tuple(needs.group(1)) if needs else (3,)
    return programs


def read(name):
    with open(os.path.join(HOME, name), encoding='utf-8') as source:
        return source.read()


def compare(names, reported, is_mypy):
    """Yield what differs between the errors that are expected and those reported.

    Parameters: ``reported``, by file and line, pairs of an error's code and its words;
    ``is_mypy``, else they are pyright's.
    """
    for name in names:
        for number, line in enumerate(read(name).splitlines(), 1):
            found = reported.pop((name, number), [])
            expected = _EXPECTED.search(line)
            codes = [code for code in (expected.group(1).split() if expected else [])
                     if code.startswith('report') != is_mypy]
            for code in codes:
                if code not in [found_code for found_code, _words in found]:
                    yield '{}:{}: no {}, but {}'.format(name, number, code, found or 'nothing')
            for code, words in found:
                if not codes:
                    yield '{}:{}: {} [{}]'.format(name, number, words, code)
    for place, found in reported.items():
        yield '{}: {}'.format(place, found)


# -- the checkers --

def run_mypy(names, version):
    """Return what mypy reports of programs; None if it is too new for a version."""
    output = run([
        sys.executable, '-m', 'mypy', '--strict', '--config-file=', '--cache-dir', CACHE,
        '--no-error-summary', '--no-pretty', '--hide-error-context', '--show-error-codes',
        '--python-version', version] + names)
    if 'is not supported (must be' in output:
        return None
    reported = defaultdict(list)
    for line in output.splitlines():
        match = _MYPY_LINE.match(line)
        if match is not None:
            name, number, words, code = match.groups()
            reported[name, int(number)].append((code, words))
        elif ': note: ' not in line:
            raise SystemExit('mypy says:\n' + output)
    return reported


def run_pyright(names, version):
    """Return what pyright reports of programs; None if it can't run."""
    output = ask_pyright(['--pythonversion', version, '--outputjson'] + names)
    if output is None:
        return None
    reported = defaultdict(list)
    for found in output['generalDiagnostics']:
        if found['severity'] in ('error', 'warning'):
            place = os.path.basename(found['file']), found['range']['start']['line'] + 1
            reported[place].append((found.get('rule'), found['message']))
    return reported


def verify_types():
    """Return what has no known type in all of lomond, by pyright's measure."""
    output = ask_pyright(['--verifytypes', 'lomond', '--ignoreexternal', '--outputjson'])
    if output is None:
        say('No Node: pyright was not run.')
        return []
    completeness = output['typeCompleteness']
    say('Completeness of types: {:.1%}'.format(completeness['completenessScore']))
    faults = [
        '{}: {}'.format(symbol['name'], found['message'].splitlines()[0])
        for symbol in completeness['symbols'] for found in symbol['diagnostics']
        if found['severity'] == 'error']
    # The others follow from these.
    causes = [fault for fault in faults if 'partially unknown' not in fault]
    if not faults and completeness['completenessScore'] < 1:
        raise SystemExit('pyright says:\n{}'.format(json.dumps(completeness, indent=1)))
    return causes or faults


def ask_pyright(arguments):
    """Return what pyright answers, None without Node."""
    if shutil.which('node') is None:
        return None
    # With other settings the package would look for newer versions, or fetch one.
    environ = dict(
        os.environ, PYRIGHT_PYTHON_FORCE_VERSION=metadata.version('pyright'),
        PYRIGHT_PYTHON_GLOBAL_NODE='1',
        # --verifytypes looks for lomond where the first python of the path has its packages.
        PATH=os.path.dirname(sys.executable) + os.pathsep + os.environ.get('PATH', ''))
    output = run([sys.executable, '-m', 'pyright'] + arguments, environ)
    try:
        return json.loads(output)
    except ValueError:
        raise SystemExit('pyright says:\n' + output)


def run(command, environ=None):
    """Return the output of a command."""
    return subprocess.run(
        command, check=False, env=environ, universal_newlines=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT).stdout


if __name__ == '__main__':
    sys.exit(main())
