"""The same examples in every run: no clock, no database, no chance.

In `make faults` there are more of them, others each time.
"""

from __future__ import absolute_import, division, print_function

from hypothesis import HealthCheck, settings

from tests.sampling import IS_THOROUGH

settings.register_profile(
    'lomond', deadline=None, database=None, derandomize=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow])
settings.register_profile(
    'thorough', settings.get_profile('lomond'), derandomize=False, max_examples=1000)
settings.load_profile('thorough' if IS_THOROUGH else 'lomond')
