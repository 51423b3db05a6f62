"""Build the sdist and the wheels twice, compare them, and check their contents: `make dist`.

    python .ci/build_dist.py dist

It builds from the files that git tracks, as they are in the checkout, each time in another folder
and at another time: the bytes must be the same, with the date of the last commit. Both wheels, pure
and compiled, are built from the unpacked sdist. Where the modules can't be compiled, the wheel must
be the pure one.
"""

from __future__ import absolute_import, division, print_function

import gzip
import io
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import zipfile

import compiled

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

#: What git tracks and an sdist doesn't need.
NOT_IN_SDIST = {'.gitattributes', '.gitignore'}

#: What setuptools adds.
ADDED_TO_SDIST = re.compile(r'PKG-INFO|lomond\.egg-info/[^/]+')
DIST_INFO = re.compile(
    r'lomond-[^/]+\.dist-info/(METADATA|RECORD|WHEEL|entry_points\.txt|top_level\.txt|licenses/LICENSE)')

#: Where links and pictures lead, in Markdown and HTML.
LINK = re.compile(
    r'\]\(\s*([^)\s]+)|^\[[^\]]+\]:\s*(\S+)|<[a-z]+\b[^>]*\b(?:href|src)=["\']([^"\']+)',
    re.MULTILINE)
CODE_BLOCK = re.compile(r'^```.*?^```$', re.DOTALL | re.MULTILINE)


#: Registers that not every x86-64 processor has: of AVX and AVX-512.
WIDE_REGISTER = re.compile(r'%[yz]mm\d')

#: In an environment or a source, what makes it impossible to compile all of the modules.
HINDRANCES = {
    'no compiler': ({'CC': 'false'}, None, ''),
    'a module that Cython refuses': ({}, 'lomond/protocol/state.pxd', '\nbroken\n'),
    'a module that the compiler refuses': (
        {}, 'lomond/_sources.pyx', '\ncdef extern from *:\n    int missing\nVALUE = missing\n'),
}


def git(*command):
    return subprocess.check_output(('git',) + command, cwd=ROOT).decode('utf-8')


def tracked_files():
    names = git('ls-files', '-z').split('\0')[:-1]
    return [name for name in names if os.path.exists(os.path.join(ROOT, name))]


def copy_tree(names, target, age):
    """Copy files, made `age` seconds ago, with no more of their modes than if they can be run."""
    for name in names:
        source, copy = os.path.join(ROOT, name), os.path.join(target, name)
        if not os.path.isdir(os.path.dirname(copy)):
            os.makedirs(os.path.dirname(copy))
        shutil.copyfile(source, copy)
        os.chmod(copy, 0o755 if os.stat(source).st_mode & stat.S_IXUSR else 0o644)
        made = time.time() - age
        os.utime(copy, (made, made))


def build(kind, source, target, epoch, **environ):
    subprocess.check_output(
        [sys.executable, '-m', 'build', '--no-isolation', '--' + kind, '--outdir', target, source],
        env=dict(os.environ, SOURCE_DATE_EPOCH=str(epoch), **environ), stderr=subprocess.STDOUT)
    built, = [name for name in os.listdir(target) if name.endswith(('.tar.gz', '.whl'))]
    return os.path.join(target, built)


def normalise(sdist, epoch):
    """Rewrite an sdist: sorted, dated, without owners. setuptools takes these from the folder."""
    with tarfile.open(sdist) as archive:
        members = [
            (member, archive.extractfile(member).read() if member.isfile() else None)
            for member in sorted(archive.getmembers(), key=lambda member: member.name)]
    with open(sdist, 'wb') as raw:
        with gzip.GzipFile('', 'wb', fileobj=raw, mtime=epoch) as zipped:
            with tarfile.open(mode='w', fileobj=zipped, format=tarfile.PAX_FORMAT) as archive:
                for member, content in members:
                    member.uid = member.gid = 0
                    member.uname = member.gname = ''
                    member.mtime = epoch
                    member.mode = 0o755 if member.mode & stat.S_IXUSR else 0o644
                    member.pax_headers = {}
                    archive.addfile(member, content and io.BytesIO(content))


def unpack(sdist, folder):
    """Unpack an sdist; return the folder with setup.py."""
    with tarfile.open(sdist) as archive:
        archive.extractall(folder)
    return os.path.join(folder, os.path.basename(sdist)[:-len('.tar.gz')])


def read(path):
    with open(path, 'rb') as opened:
        return opened.read()


def build_all(names, epoch, age, choices):
    """Build the sdist and, for each LOMOND_COMPILED, a wheel; return {file name: bytes}."""
    folder = tempfile.mkdtemp()
    try:
        tree = os.path.join(folder, 'tree')
        copy_tree(names, tree, age)
        sdist = build('sdist', tree, os.path.join(folder, 'sdist'), epoch)
        normalise(sdist, epoch)
        paths = [sdist]
        for choice in choices:
            unpacked = unpack(sdist, os.path.join(folder, choice))
            paths.append(build('wheel', unpacked, os.path.join(folder, choice, 'wheel'), epoch,
                               LOMOND_COMPILED=choice))
        return {os.path.basename(path): read(path) for path in paths}
    finally:
        shutil.rmtree(folder)


def check_hindrances(made, epoch):
    """Return a message for each hindrance with which the wheel isn't the pure one."""
    sdist, = [name for name in made if name.endswith('.tar.gz')]
    pure, = [name for name in made if name.endswith('-none-any.whl')]
    faults = []
    for what, (environ, spoiled, text) in sorted(HINDRANCES.items()):
        folder = tempfile.mkdtemp()
        try:
            path = os.path.join(folder, sdist)
            with open(path, 'wb') as opened:
                opened.write(made[sdist])
            unpacked = unpack(path, folder)
            if spoiled:
                with open(os.path.join(unpacked, spoiled), 'a') as opened:
                    opened.write(text)
            wheel = build('wheel', unpacked, os.path.join(folder, 'wheel'), epoch,
                          LOMOND_COMPILED='', **environ)
            if (os.path.basename(wheel), read(wheel)) != (pure, made[pure]):
                faults.append('with {}, {} is built, which is not {} byte for byte'.format(
                    what, os.path.basename(wheel), pure))
        finally:
            shutil.rmtree(folder)
    return faults


def check_instructions(made):
    """Return a message for each compiled module that not every processor can run."""
    if not shutil.which('objdump'):
        print('No objdump: the instructions in compiled modules are not checked.')
        return []
    faults = []
    for name, data in sorted(made.items()):
        for path, (_when, _mode, content) in sorted(contents(name, data).items()):
            if path.endswith('.so'):
                with tempfile.NamedTemporaryFile() as module:
                    module.write(content)
                    module.flush()
                    code = subprocess.check_output(['objdump', '-d', module.name])
                if WIDE_REGISTER.search(code.decode('ascii', 'replace')):
                    faults.append('{} in {} needs AVX'.format(path, name))
    return faults


def contents(name, data):
    """Return {name: (time, mode, content)} for the files in an sdist or a wheel."""
    if name.endswith('.whl'):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {
                info.filename: (info.date_time, info.external_attr, archive.read(info))
                for info in archive.infolist()}
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        return {
            # Without the folder that all are in.
            member.name.partition('/')[2]: (
                member.mtime, member.mode, archive.extractfile(member).read())
            for member in archive.getmembers() if member.isfile()}


def compare(first, second):
    """Return a message for each difference between two builds."""
    faults = []
    for name in sorted(set(first) | set(second)):
        if first.get(name) == second.get(name):
            continue
        one, other = (
            contents(name, made[name]) if name in made else {} for made in (first, second))
        differing = sorted(
            member for member in set(one) | set(other) if one.get(member) != other.get(member))
        faults.append('{} differs from one build to the next: {}'.format(
            name, ', '.join(differing[:20]) or 'the order, or the archive itself'))
    return faults


def check_contents(made, names):
    """Return a message for each file that is missing, or should not be there."""
    faults = []
    for name, data in sorted(made.items()):
        if name.endswith('.whl'):
            wanted = {
                path for path in names
                if re.match(r'lomond/.*\.py$', path) or path == 'lomond/py.typed'}
            if not name.endswith('-none-any.whl'):
                suffix = sysconfig.get_config_var('EXT_SUFFIX')
                wanted.update(
                    module.replace('.', '/') + suffix for module in compiled.modules())
            added = DIST_INFO
        else:
            wanted = set(names) - NOT_IN_SDIST
            added = ADDED_TO_SDIST
        there = {path for path in contents(name, data) if not re.match(added.pattern + '$', path)}
        faults.extend('{} is missing from {}'.format(path, name) for path in sorted(wanted - there))
        faults.extend('{} should not have {}'.format(name, path) for path in sorted(there - wanted))
    return faults


def relative_links(text):
    """Return where links and pictures in a Markdown text lead, if it's not an absolute URL."""
    found = [''.join(groups) for groups in LINK.findall(CODE_BLOCK.sub('', text))]
    return [target for target in found if not re.match('[a-z][a-z0-9+.-]*:', target)]


def check_descriptions(made):
    """Return a message for each link that wouldn't work in the description on a package index."""
    faults = []
    for name, data in sorted(made.items()):
        for path, (_when, _mode, content) in sorted(contents(name, data).items()):
            if re.search(r'(^PKG-INFO|\.dist-info/METADATA)$', path):
                description = content.decode('utf-8').partition('\n\n')[2]
                if not description:
                    faults.append('{} has no description in {}'.format(name, path))
                faults.extend('{}: a link into the tree, in {}: {}'.format(name, path, target)
                              for target in relative_links(description))
    return faults


def main(target):
    # What setuptools writes itself has its mode from here.
    os.umask(0o022)
    epoch = int(git('log', '-1', '--format=%ct'))
    names = tracked_files()
    obstacle = compiled.find_obstacle()
    if obstacle:
        print('No compiled wheel: {}.'.format(obstacle))
    choices = ['no'] if obstacle else ['no', 'required']
    begin = time.time()
    first = build_all(names, epoch, 0, choices)
    # A wheel has times in steps of two seconds.
    time.sleep(max(0, begin + 3 - time.time()))
    second = build_all(names, epoch, 100 * 24 * 3600, choices)
    faults = compare(first, second) + check_contents(first, names) + check_descriptions(first)
    faults += check_instructions(first)
    if not obstacle:
        faults += check_hindrances(first, epoch)
    if faults:
        sys.exit('\n'.join(faults))
    shutil.rmtree(target, ignore_errors=True)
    os.makedirs(target)
    paths = []
    for name, data in sorted(first.items()):
        paths.append(os.path.join(target, name))
        with open(paths[-1], 'wb') as opened:
            opened.write(data)
    if subprocess.call([sys.executable, '-m', 'twine', 'check', '--strict'] + paths):
        sys.exit(1)
    for path in paths:
        print('{}: {} files, the same bytes twice'.format(
            path, len(contents(path, first[os.path.basename(path)]))))


if __name__ == '__main__':
    main(sys.argv[1])
