"""Many threads on one live connection, with a judge at its other end: see `racing`.

A moment of each scenario; `make races` takes longer.
"""

from __future__ import absolute_import, division, print_function

import pytest

from tests.network.racing import SCENARIOS, Arena

pytestmark = pytest.mark.usefixtures('clean_environment')


@pytest.mark.parametrize('compress', [False, True], ids=['plain', 'deflate'])
@pytest.mark.parametrize('scheme', ['ws', 'wss'])
@pytest.mark.parametrize('scenario, arguments', [
    scenario[1:] for scenario in SCENARIOS], ids=[scenario[0] for scenario in SCENARIOS])
def test_a_race_harms_nobody(scenario, arguments, scheme, compress, server_tls, authority_file):
    options = {'server_tls': server_tls, 'authority_file': authority_file} \
        if scheme == 'wss' else {}
    scenario(Arena(compress, seed=scheme, **options), *arguments)
