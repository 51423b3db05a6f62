"""A plugin of pytest that measures the coverage of lomond, in the workers of xdist too.

    python -m pytest -p tests.coverage_plugin -n 2

`coverage run` measures only the process that it starts. With this, each worker writes a file,
and the process that started the workers combines these into one, the COVERAGE_FILE.
"""

from __future__ import absolute_import, division, print_function

import os

import coverage
import pytest

#: The name of this worker, None in the process that started pytest.
WORKER = os.environ.get('PYTEST_XDIST_WORKER')

_measured = coverage.Coverage(data_suffix=WORKER)
# At the import of this module, which `-p` imports before any module of lomond.
_measured.start()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    _measured.stop()
    _measured.save()
    if WORKER is None and config.getoption('numprocesses', None):
        folder, name = os.path.split(_measured.get_data().data_filename())
        workers = [os.path.join(folder, found) for found in os.listdir(folder or '.')
                   if found.startswith(name + '.gw')]
        _measured.combine(workers)
        _measured.save()
