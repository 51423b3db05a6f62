"""The installed Pythons, and two virtual environments for each: one with the clients, one with the
old Lomond. In a folder of the first is this checkout, as `pip install` compiles it.

compliance/autobahn.py makes its own environments.
"""

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VERSIONS = ['2.7', '3.8', '3.11', '3.13']

#: Not compiled here: without a wheel they are skipped.
_ONLY_WHEELS = 'picows,wsaccel,zlib-ng,aiohttp,uvloop'


class Environment:
    """One Python, ready to measure.

    `compiled` is the folder with the compiled lomond, or None; `why_pure` then says why.
    """

    def __init__(self, version, python, old_python, compiled, why_pure):
        self.version = version
        self.python = python
        self.old_python = old_python
        self.compiled = compiled
        self.why_pure = why_pure
        self.full_version = _output([python, '-c', 'import sys; print(sys.version.split()[0])'])
        self.packages = _packages(python)
        self.old_packages = _packages(old_python)


def find_python(version):
    """Return the path of a Python, or None."""
    root = os.environ.get('PYENV_ROOT') or os.path.join(os.path.expanduser('~'), '.pyenv')
    found = glob.glob(os.path.join(root, 'versions', version + '.*', 'bin', 'python'))
    found.sort(key=lambda path: [int(number) for number in re.findall(r'\d+', path)])
    # pyenv's own shims, on the path, fail for the versions that aren't selected.
    candidates = found[::-1] + [shutil.which('python' + version)]
    for candidate in candidates:
        if candidate and _runs(candidate, version):
            return candidate
    return sys.executable if '{}.{}'.format(*sys.version_info) == version else None


def _runs(python, version):
    script = 'import sys; print("%d.%d" % sys.version_info[:2])'
    try:
        return _output([python, '-c', script]) == version
    except (OSError, subprocess.CalledProcessError):
        return False


def _output(command, **options):
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, encoding='utf-8',
        **options).stdout.strip()


def prepare(version, log):
    """Return the Environment of a Python, made if necessary; None if that fails.

    What can't be installed is said to `log`, and left out.
    """
    base = find_python(version)
    if base is None:
        log('No Python {}: left out.'.format(version))
        return None
    pythons = []
    for suffix, requirements in (('', 'bench.txt'), ('-old', 'bench-old.txt')):
        python = make('bench-' + version + suffix, base, requirements, log, may_lack=True)
        if python is None:
            log('Python {}: left out.'.format(version))
            return None
        pythons.append(python)
    return Environment(version, *pythons, *_compile(pythons[0], log))


def _compile(python, log):
    """Return the folder with the compiled lomond, or None; and why it is None."""
    obstacle = _output(
        [python, '-c', 'import compiled; print(compiled.find_obstacle() or "")'],
        cwd=os.path.join(ROOT, '.ci'))
    if obstacle:
        return None, 'not available: ' + obstacle
    folder = os.path.join(os.path.dirname(os.path.dirname(python)), 'compiled')
    sources = _sources()
    if _is_ready(folder, sources):
        return folder, None
    log('Compiling {} ...'.format(folder))
    shutil.rmtree(folder, ignore_errors=True)
    if subprocess.run(
            [python, '-m', 'pip', 'install', '--quiet', '--no-deps', '--target', folder, ROOT],
            check=False, env=dict(_environ(), LOMOND_COMPILED='required')).returncode != 0:
        return None, 'its build failed'
    _mark_ready(folder, sources)
    return folder, None


def _sources():
    """Return the paths of what `pip install` builds lomond from."""
    paths = [os.path.join(ROOT, name) for name in ('pyproject.toml', 'setup.cfg', 'setup.py')]
    for folder, _folders, names in os.walk(os.path.join(ROOT, 'lomond')):
        paths += [
            os.path.join(folder, name) for name in names if name.endswith(('.py', '.pyx', '.pxd'))]
    return sorted(paths)


def make(name, base, requirements, log, may_lack=False):
    """Return the path of a virtual environment's Python, made if necessary; None if that fails.

    With `may_lack`, what would have to be compiled or can't be installed is said to `log`, and
    left out.
    """
    folder = os.path.join(ROOT, '.venv', name)
    python = os.path.join(folder, 'bin', 'python')
    path = os.path.join(ROOT, 'requirements', requirements)
    if _is_ready(folder, [path]):
        return python
    log('Making the environment {} ...'.format(name))
    if not _create(base, folder):
        log('No virtual environment can be made on {}.'.format(base))
        return None
    if may_lack:
        _install(python, path, log)
    elif subprocess.run(
            [python, '-m', 'pip', 'install', '-qq', '-r', path], check=False,
            env=_environ()).returncode != 0:
        log('Not available: all of requirements/{}'.format(requirements))
        return None
    _mark_ready(folder, [path])
    return python


def _mark(folder):
    return os.path.join(folder, 'ready')


def _digest(paths):
    digest = hashlib.sha256()
    for path in paths:
        with open(path, 'rb') as source:
            digest.update(source.read())
    return digest.hexdigest()


def _mark_ready(folder, paths):
    with open(_mark(folder), 'w') as mark:
        mark.write(_digest(paths))


def _is_ready(folder, paths):
    try:
        with open(_mark(folder)) as mark:
            return mark.read() == _digest(paths)
    except OSError:
        return False


def _create(base, folder):
    shutil.rmtree(folder, ignore_errors=True)
    # tox's virtualenv is the last version that supports 2.7.
    virtualenv = os.path.join(ROOT, '.venv', 'tox', 'bin', 'virtualenv')
    if os.path.exists(virtualenv):
        command = [virtualenv, '--quiet', '--python', base, folder]
    else:
        command = [base, '-m', 'venv', folder]
    return subprocess.run(command, check=False, env=_environ()).returncode == 0


def _environ():
    return dict(
        os.environ, PIP_DISABLE_PIP_VERSION_CHECK='1', PYTHONWARNINGS='ignore',
        VIRTUALENV_OVERRIDE_APP_DATA=os.path.join(ROOT, '.venv', 'app-data'),
        VIRTUALENV_NO_PERIODIC_UPDATE='1')      # a pip that is too new for an old Python


def _install(python, path, log):
    command = [python, '-m', 'pip', 'install', '--quiet', '--only-binary', _ONLY_WHEELS]
    if _is_installed(command + ['-r', path]):
        return
    with open(path, encoding='utf-8') as lines:
        for line in lines:
            requirement = line.partition('#')[0].strip()
            if requirement and not _is_installed(command + [requirement]):
                log('Not available: {}'.format(requirement))


def _is_installed(command):
    return subprocess.run(
        command, check=False, env=_environ(), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL).returncode == 0


def _packages(python):
    """Return a dict of the versions of what is installed."""
    listed = subprocess.run(
        [python, '-m', 'pip', 'list', '--format=json'], check=True, env=_environ(),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return {package['name'].lower(): package['version'] for package in json.loads(listed)}
