"""Combine the coverage of the Pythons that measured it, and fail below the marks."""
import glob
import os
import sys

from coverage import Coverage, CoverageException

if not glob.glob(os.environ['COVERAGE_FILE'] + '.*'):
    print('No coverage: 2.7 and 3.13 measure it, and none of them is here.')
    sys.exit()

coverage = Coverage()
if not os.path.exists(os.environ['COVERAGE_FILE'] + '.py27'):
    # Without 2.7, lines that only 2.7 runs can't be covered.
    coverage.exclude(r'^\s*if PY2\b')

try:
    coverage.combine()
    coverage.save()
    for mark, include in (95, None), (100, 'lomond/protocol/*'):
        print('\n{}: at least {} %'.format(include or 'lomond', mark))
        if coverage.report(include=include) < mark:
            sys.exit('too little')
except CoverageException as error:
    sys.exit(str(error))
