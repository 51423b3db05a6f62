"""Run the tests on compiled modules: `make test PY=3.11-compiled`.

    python .ci/test_compiled.py FOLDER [pytest's arguments]

It builds them in a copy of the checkout, in this folder, so that the tests of pure Python find
none. Without a C compiler it says so, and succeeds.
"""
import os
import shutil
import subprocess
import sys

import compiled

#: What a clone has that isn't tracked, in any folder, and beside these in the first one. Some tests
#: run Node's packages, which have folders of such names.
UNTRACKED = shutil.ignore_patterns('__pycache__', '*.so')
UNTRACKED_AT_TOP = shutil.ignore_patterns(
    '.git', '.tox', '.venv', '.*_cache', '.hypothesis', '.fuzz', 'build', 'dist', '*.egg-info')


def find_untracked(folder, names):
    """Return what isn't to be copied from a folder."""
    found = UNTRACKED(folder, names)
    return found | UNTRACKED_AT_TOP(folder, names) if folder == compiled.ROOT else found


def main(folder, arguments):
    obstacle = compiled.find_obstacle()
    if obstacle:
        print('Nothing is tested compiled: {}.'.format(obstacle))
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(compiled.ROOT, folder, ignore=find_untracked, symlinks=True)
    subprocess.check_call(
        [sys.executable, 'setup.py', '--quiet', 'build_ext', '--inplace'], cwd=folder,
        env=dict(os.environ, LOMOND_COMPILED='required'))
    return subprocess.call(
        [sys.executable, '-bb', '-m', 'pytest'] + arguments, cwd=folder,
        env=dict(os.environ, LOMOND_TESTED='compiled'))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
