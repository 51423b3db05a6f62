"""The handshake's constants."""

from __future__ import absolute_import, division, print_function

import lomond
from lomond import constants


def test_user_agent_names_the_package_and_its_version():
    assert constants.USER_AGENT == 'Lomond/' + lomond.__version__


def test_handshake_constants_are_those_of_rfc_6455():
    assert constants.WS_KEY == b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
    assert constants.WS_VERSION == 13
