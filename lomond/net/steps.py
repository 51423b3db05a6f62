"""What a step that can't go on tells its driver: what to wait for, and until when."""

from __future__ import absolute_import, division, print_function

from collections import namedtuple

#: ``interest`` as `selectors.wait` takes it; ``deadline`` by the monotonic clock.
Wait = namedtuple('Wait', ['interest', 'deadline'])
