"""What is raised, and what such an error has."""

from typing import List, Optional, Tuple

from typing_extensions import assert_type

from lomond import WebSocket, errors, events
from lomond.response import Headers, Response
from lomond.status import Status
from lomond.timings import Timings


def send(websocket: WebSocket) -> bool:
    try:
        websocket.send_text('text')
    except errors.TransportFail as error:
        assert_type(error.sent, int)
        assert_type(error.reason, str)
        return error.size > error.sent
    except errors.WebSocketUnavailable as error:
        print(error.code)  # error: attr-defined reportAttributeAccessIssue
        return False
    except (errors.ProtocolError, errors.PayloadTooLarge) as error:
        assert_type(error.close_code, int)
    return True


def explain(event: events.ConnectFail) -> str:
    assert_type(event.cause, Optional[BaseException])
    assert_type(event.response, Optional[Response])
    assert_type(event.timings, Timings)
    assert_type(event.timings.tls, Optional[float])
    assert_type(event.timings.total, float)
    if event.phase == 'resolve':
        return 'no such name'
    if event.phase == 'dns':  # error: comparison-overlap reportUnnecessaryComparison
        return 'never'
    for address, words in event.tried:
        assert_type(address, str)
        assert_type(words, str)
    return event.phase


def measure(event: events.Disconnected) -> Optional[float]:
    assert_type(event.timings, Optional[Timings])
    return event.timings.total if event.timings is not None else None


def explain_phase(event: events.ConnectFail) -> errors.Phase:
    phase: errors.Phase = event.phase
    phase = 'dns'  # error: assignment reportAssignmentType
    return phase


def read(response: Response) -> None:
    assert_type(response.headers, Headers)
    assert_type(response.headers.items(), List[Tuple[str, str]])
    assert_type(response.headers.get_all('Set-Cookie'), List[str])
    assert_type(response.get_list('Upgrade'), List[str])
    assert_type([name.lower() for name in response.headers], List[str])
    assert_type(response.raw, bytes)
    assert_type(response.http_ver, str)
    assert_type(response.headers.get('Server', None), Optional[str])
    response.headers.get('Server', b'')  # error: call-overload reportCallIssue reportArgumentType


def is_normal(event: events.Closing) -> bool:
    return event.code == Status.NORMAL
