"""Behind real servers: the client through proxies in front, and speaking another protocol.

The programs are Debian's, `make programs` installs them; without one its tests are skipped.
"""
