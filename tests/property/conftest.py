"""The same examples in every run: no clock, no database, no chance."""

from __future__ import absolute_import, division, print_function

from hypothesis import HealthCheck, settings

settings.register_profile(
    'lomond', deadline=None, database=None, derandomize=True, max_examples=60,
    suppress_health_check=[HealthCheck.too_slow])
settings.load_profile('lomond')
