"""`persist`, with and without a policy."""

import threading
from typing import Optional, Tuple

from typing_extensions import assert_type

from lomond import WebSocket
from lomond.persist import ReconnectPolicy, persist
from lomond.session import WebsocketSession


class Session(WebsocketSession):
    pass


class Impatient(ReconnectPolicy):
    def delay(self, waits: int, asked: Optional[float] = None) -> float:
        return min(1.0, super().delay(waits, asked))


def before_attempt(websocket: WebSocket, attempt: int) -> None:
    if attempt > 3:
        websocket.proxies = {}


def watch(websocket: WebSocket, exit_event: threading.Event) -> None:
    loop = persist(websocket, poll=1, min_wait=0.5, exit_event=exit_event, close_timeout=5)
    for event in loop:
        if event.name == 'text':
            assert_type(event.text, str)
        elif event.name == 'back_off':
            assert_type(event.delay, float)
            websocket.reconnect_now()
        elif event.name == 'gave_up':
            assert_type(event.reason, str)
    loop.close()


def by_policy(websocket: WebSocket) -> None:
    policy = ReconnectPolicy(
        max_wait=10, max_attempts=5, stop_on_status=range(400, 500),
        stop_on_code=[1008, range(4000, 5000)], urls=['ws://a/', 'ws://b/'],
        before_attempt=before_attempt, max_retry_after=None)
    assert_type(policy.max_wait, float)
    assert_type(policy.max_attempts, Optional[int])
    assert_type(policy.urls, Optional[Tuple[str, ...]])
    for event in persist(
            websocket, policy=policy, session_class=Session, auto_pong=False, ping_rate=None,
            idle_timeout=60, stale_disconnects=True, max_age=23 * 3600, spin=30e-6,
            heartbeat=20):
        print(event)
    for event in persist(websocket, policy=Impatient(spread=1)):
        print(event)


def wrong(websocket: WebSocket) -> None:
    persist('ws://localhost/')  # error: arg-type reportArgumentType
    persist(websocket, max_retries=3)  # error: call-arg reportCallIssue
    persist(websocket, close_timeout='5')  # error: arg-type reportArgumentType
    persist(websocket, max_age='5')  # error: arg-type reportArgumentType
    persist(websocket, heartbeat='5')  # error: arg-type reportArgumentType
    persist(websocket, policy=ReconnectPolicy)  # error: arg-type reportArgumentType
    ReconnectPolicy(max_attempts='3')  # error: arg-type reportArgumentType
    ReconnectPolicy(before_attempt=watch)  # error: arg-type reportArgumentType
    ReconnectPolicy(retries=3)  # error: call-arg reportCallIssue
