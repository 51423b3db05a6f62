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

#: What a clone has that isn't tracked, Node's packages excepted, which some tests run.
UNTRACKED = shutil.ignore_patterns(
    '.git', '.tox', '.venv', '.*_cache', '.hypothesis', '.fuzz', '__pycache__', 'build', 'dist',
    '*.egg-info', '*.so')


def main(folder, arguments):
    obstacle = compiled.find_obstacle()
    if obstacle:
        print('Nothing is tested compiled: {}.'.format(obstacle))
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(compiled.ROOT, folder, ignore=UNTRACKED, symlinks=True)
    subprocess.check_call(
        [sys.executable, 'setup.py', '--quiet', 'build_ext', '--inplace'], cwd=folder,
        env=dict(os.environ, LOMOND_COMPILED='required'))
    return subprocess.call(
        [sys.executable, '-bb', '-m', 'pytest'] + arguments, cwd=folder,
        env=dict(os.environ, LOMOND_TESTED='compiled'))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1], sys.argv[2:]))
