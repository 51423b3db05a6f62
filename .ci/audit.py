"""Check the packages that lomond installs for known vulnerabilities: `make audit`.

    python .ci/audit.py FOLDER      where lomond is installed, with its requirements

Fails only on a finding. pip-audit passes silently over a package that its service doesn't have:
this prints that the service could not be asked.
"""

from __future__ import absolute_import, division, print_function

import json
import subprocess
import sys

#: Ours: it may be newer than anything that was published.
OWN = 'lomond'


def ask(folder):
    """Return what pip-audit reports for each package and None, or None and the error."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'pip_audit', '--path', folder, '--format', 'json',
         '--progress-spinner', 'off', '--timeout', '30'],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    try:
        return json.loads(out.decode('utf-8'))['dependencies'], None
    except ValueError:
        return None, (err.decode('utf-8').strip().splitlines() or ['no answer'])[-1]


def main(folder):
    packages, fault = ask(folder)
    if packages is None:
        print('audit: the advisory service could not be asked ({})'.format(fault))
        return 0
    packages = [package for package in packages if package['name'] != OWN]
    unknown = [package for package in packages if 'skip_reason' in package]
    found = [
        '{name} {version}: '.format(**package) + ', '.join(
            vulnerability['id'] for vulnerability in package['vulns'])
        for package in packages if package.get('vulns')]
    if len(unknown) == len(packages):
        print('audit: the advisory service could not be asked: none of {} packages is known'.format(
            len(packages)))
        return 0
    for package in unknown:
        print('audit: {name} could not be asked about ({skip_reason})'.format(**package))
    print('audit: {} of {} packages asked about, {} with findings'.format(
        len(packages) - len(unknown), len(packages), len(found)))
    for line in found:
        print('    ' + line)
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main(sys.argv[1]))
