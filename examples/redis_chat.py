"""A chat whose members may be connected to any worker of a WSGI server: Redis joins the workers.

    pip install lomond redis gunicorn
    gunicorn --workers 2 --threads 4 redis_chat:application

What one worker's clients say is published in Redis; each worker has subscribed, and broadcasts it
to its own clients. REDIS_URL says where Redis is (redis://127.0.0.1:6379).
"""

from __future__ import absolute_import, division, print_function

import logging
import os
import threading
import time

import redis

from lomond import wsgi
from lomond.pool import Pool

CHANNEL = 'chat'

log = logging.getLogger(__name__)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterable, Text  # noqa: F401


class Worker(object):
    """The connections of one process. Its threads begin with the first, after the server's fork."""

    def __init__(self, url):
        # type: (str) -> None
        self._url = url
        self._lock = threading.Lock()
        self._redis = None  # type: Any
        self._pool = Pool(overflow='drop_oldest', ends_when_empty=False)

    def add(self, websocket):
        # type: (Any) -> None
        """Have a client take part."""
        with self._lock:
            if self._redis is None:
                self._redis = redis.Redis.from_url(self._url)
                subscription = self._redis.pubsub(ignore_subscribe_messages=True)
                subscription.subscribe(CHANNEL)
                subscription.get_message(ignore_subscribe_messages=False, timeout=10)
                for function, arguments in (self._publish, ()), (self._pass_on, (subscription,)):
                    thread = threading.Thread(target=function, args=arguments)
                    thread.daemon = True
                    thread.start()
        self._pool.add(websocket)

    def _publish(self):
        # type: () -> None
        for websocket, event in self._pool:
            if event.name == 'ready':
                # From now on it gets what others say. Not send_text, which raises if it has gone.
                self._pool.broadcast(u'welcome', [websocket])
            elif event.name == 'text':
                try:
                    self._redis.publish(CHANNEL, event.text.encode('utf-8'))
                except redis.RedisError as error:
                    log.warning('not published: %s', error)

    def _pass_on(self, subscription):
        # type: (Any) -> None
        while True:
            try:
                for message in subscription.listen():
                    self._pool.broadcast(message['data'].decode('utf-8'))
            except redis.RedisError as error:       # it connects again, and subscribes
                log.warning('what others say is lost meanwhile: %s', error)
                time.sleep(1)


worker = Worker(os.environ.get('REDIS_URL', 'redis://127.0.0.1:6379'))


def application(environ, start_response):
    # type: (Dict[str, Any], Callable[..., Any]) -> Iterable[bytes]
    """Upgrade any request, of programs and of the pages of this host alone."""
    origin = u'{}://{}'.format(environ['wsgi.url_scheme'], environ.get('HTTP_HOST', ''))
    try:
        websocket = wsgi.upgrade(
            environ, detach=True, origins=lambda given: given in (None, origin),
            headers={'X-Worker': str(os.getpid())})
    except wsgi.NotUpgraded as refused:
        return refused(environ, start_response)
    worker.add(websocket)
    start_response('200 OK', [])
    return []
