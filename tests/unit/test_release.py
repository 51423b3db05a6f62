"""The files of a release: .ci/check_release.py finds what is missing."""

from __future__ import absolute_import, division, print_function

import re
import sys

import pytest

from tests.sources import CI
from tests.unit.test_versions import read

sys.path.insert(0, CI)
try:
    import check_release
finally:
    sys.path.remove(CI)


def make_names():
    names = ['lomond-1.2.0.tar.gz', 'lomond-1.2.0-py2.py3-none-any.whl']
    for python in ('cp39', 'cp310', 'cp311', 'cp312', 'cp313'):
        for platform in ('manylinux_2_28_x86_64', 'manylinux_2_28_aarch64', 'musllinux_1_2_x86_64',
                         'musllinux_1_2_aarch64'):
            names.append('lomond-1.2.0-{0}-{0}-{1}.whl'.format(python, platform))
    return names


def test_whole_release_passes():
    assert check_release.find_faults(make_names(), '1.2.0') == []


@pytest.mark.parametrize('name', make_names())
def test_missing_file_is_found(name):
    names = make_names()
    names.remove(name)
    fault, = check_release.find_faults(names, '1.2.0')
    assert fault.endswith(': 0 files')


@pytest.mark.parametrize('name', [
    'lomond-1.2.0-cp311-cp311-linux_x86_64.whl', 'lomond-1.1.0.tar.gz',
    'lomond-1.2.0-cp313-cp313t-manylinux_2_28_x86_64.whl'])
def test_other_file_is_found(name):
    assert check_release.find_faults(make_names() + [name], '1.2.0') == [
        name + ' is not a file of the release']


def test_all_wheels_of_the_list_are_built():
    built = re.search(r'^build = "(.*)"$', read('pyproject.toml'), re.MULTILINE).group(1)
    assert built.split() == [python + '-*' for python in check_release.PYTHONS]


def test_folder_is_checked(tmpdir):
    for name in make_names():
        tmpdir.join(name).write('')
    check_release.main(str(tmpdir))
    tmpdir.join('lomond-1.2.0.tar.gz').remove()
    with pytest.raises(SystemExit):
        check_release.main(str(tmpdir))
