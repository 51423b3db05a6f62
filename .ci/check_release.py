"""Compare the files of a release with those that it must have: no gap, and nothing else.

    python .ci/check_release.py dist

Without a wheel for its platform pip would compile the modules, or install pure Python unnoticed.
"""
import fnmatch
import os
import sys

#: The tags of the wheels with compiled modules; pyproject.toml has cibuildwheel build them.
PYTHONS = ['cp39', 'cp310', 'cp311', 'cp312', 'cp313']
PLATFORMS = ['manylinux*_x86_64', 'manylinux*_aarch64', 'musllinux*_x86_64', 'musllinux*_aarch64']

WANTED = ['.tar.gz', '-py2.py3-none-any.whl'] + [
    '-{0}-{0}-{1}.whl'.format(python, platform) for python in PYTHONS for platform in PLATFORMS]


def find_faults(names, version):
    """Return a message for each file that is missing, there twice, or not one of the release."""
    faults = []
    unknown = set(names)
    for pattern in WANTED:
        found = fnmatch.filter(names, 'lomond-{}{}'.format(version, pattern))
        unknown.difference_update(found)
        if len(found) != 1:
            faults.append('lomond-{}{}: {} files'.format(version, pattern, len(found)))
    return faults + ['{} is not a file of the release'.format(name) for name in sorted(unknown)]


def main(folder):
    names = os.listdir(folder)
    # The sdist has the version that setup.py reads.
    versions = [name[len('lomond-'):-len('.tar.gz')] for name in names if name.endswith('.tar.gz')]
    faults = find_faults(names, versions[0]) if versions else ['there is no sdist']
    if faults:
        sys.exit('\n'.join(faults))


if __name__ == '__main__':
    main(sys.argv[1])
