"""Redis streams as a sink; `lomond.shards.reader` reads them.

Each feed has a stream. An entry's id is `<number>-0` if the feed numbers its messages: Redis itself
refuses an id that isn't greater than the last one, so two shards may publish the same feed at the
same time, and a write may be tried again. A feed without numbers gets `<epoch>-<count>`: the epoch
is a number that grows with each shard that takes the feed, so what its former holder still
publishes is refused. If nobody publishes with the newer epoch, the former holder takes the next
one: it goes on after a hand-over that failed, or a deploy that was rolled back.

Needs redis-py (`pip install lomond[redis]`), 3.5 or newer.
"""

from __future__ import absolute_import, division, print_function

import logging
import re
from weakref import WeakKeyDictionary

import redis

from lomond._checks import check_count
from lomond._compat import TYPE_CHECKING, monotonic, text_type
from lomond.shards.sink import Sink

if TYPE_CHECKING:
    from typing import Any, Dict, List, MutableMapping, Optional, Set, Tuple  # noqa: F401

    from lomond.shards.sink import Message, Outlet  # noqa: F401

log = logging.getLogger('lomond')  # type: logging.Logger

# What Redis answers to an id that isn't greater than the stream's last.
_NOT_GREATER = 'equal or smaller than the target stream top item'

# What is raised if no answer came.
_NO_ANSWER = (redis.ConnectionError, redis.TimeoutError)

# How answers begin that stay the same; others may change: no memory, a read-only replica, a start.
_PERMANENT = ('WRONGTYPE', 'Invalid stream ID', 'wrong number of arguments',
             'The ID specified in XADD must be greater than 0-0')

# What they contain where a script was answered so.
_PERMANENT_IN_SCRIPT = re.compile(
    'WRONGTYPE|user executing the script|ACL failure in script|bad argument #|unknown command')

# Seconds without an answer in which Redis may have been restarted: then it is asked, as redis-py
# connects again in silence.
_QUIET = 0.005

# For how many seconds a stream that has a newer epoch doesn't change, until its former holder takes
# it back.
_ABANDONED = 5.0

# A key whose slot in a cluster is decided by the part in braces.
_HAS_TAG = re.compile('[^{]*{[^}]+}')

# Makes the next epoch of a stream: greater than all before, and than the stream's last id.
_NEXT_EPOCH = u'''
local last = 0
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
if found[1] then last = tonumber(string.match(found[1][1], '^%d+')) end
local epoch = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), last) + 1
redis.call('SET', KEYS[2], string.format('%.0f', epoch))
return string.format('%.0f', epoch)
'''


def _is_permanent(error):
    # type: (Exception) -> bool
    """Return whether Redis would always answer so."""
    words = text_type(error)
    return isinstance(error, redis.exceptions.NoPermissionError) \
        or words.startswith(_PERMANENT) or bool(_PERMANENT_IN_SCRIPT.search(words))


def stream_key(prefix, name):
    # type: (text_type, text_type) -> text_type
    """Return the key of a feed's stream."""
    return u'{}{}'.format(prefix, name)


def _epoch_key(key):
    # type: (text_type) -> text_type
    """Return the key of a stream's last epoch, in the same hash slot of a cluster."""
    return u'epoch:{}'.format(key if _HAS_TAG.match(key) else u'{{{}}}'.format(key))


class RedisSink(Sink):
    """Adds each message to the stream of its feed, with the field ``text`` or ``data``.

    Parameters:

    - ``url``: where Redis is (redis://127.0.0.1:6379/0), as for `redis.Redis.from_url`; or a
      function that returns a client, for Sentinel, a cluster, or options of your own (without
      ``decode_responses``).
    - ``prefix``: of the streams' keys ('feed:').
    - ``maxlen``: about how many entries a stream keeps (100000); None for all.
    - ``options`` of `lomond.shards.Sink`.

    An entry is kept until Redis has answered, and is sent again with the same id if it hasn't. (If
    the client has a ``retry`` that sends it again, it counts as a duplicate.) Raises TypeError and
    ValueError.
    """

    #: As `_ABANDONED`; a test's subclass may have less patience.
    _abandoned = _ABANDONED

    def __init__(self, url=u'redis://127.0.0.1:6379/0', prefix=u'feed:', maxlen=100000, **options):
        # type: (Any, text_type, Optional[int], **Any) -> None
        super(RedisSink, self).__init__(**options)
        if not callable(url):
            make_client(url).close()        # raises ValueError; it doesn't connect
        if not isinstance(prefix, (text_type, str)):
            raise TypeError('prefix must be text, not {!r}'.format(prefix))
        self._url = url
        self._prefix = prefix
        self._maxlen = check_count('maxlen', maxlen, 1, none_for='all entries')
        self._client = None  # type: Any
        # `begin` makes these, as they can't be sent to another process. By outlet: the epoch and
        # the count of entries, for a feed without numbers;
        self._epochs = {}  # type: MutableMapping[Outlet, List[int]]
        # for one that was refused because of a newer epoch, the stream's last id, and when an entry
        # was first refused that didn't find another one, or None;
        self._fenced = {}  # type: MutableMapping[Outlet, Tuple[Tuple[int, int], Optional[float]]]
        # and the last number that Redis has confirmed, with the breaks until then.
        self._confirmed = {}  # type: MutableMapping[Outlet, Tuple[int, int]]
        # How often Redis has failed, or was another one than before.
        self._breaks = 0
        self._run_ids = None  # type: Any
        self._answered_at = 0.0
        #: How often the stream of a feed with numbers had lost entries that Redis had confirmed, as
        #: after a crash of its machine or a fail-over.
        self.rewound = 0  # type: int

    def begin(self):
        # type: () -> None
        """Make the client, and check how it evicts keys."""
        self._epochs, self._fenced = WeakKeyDictionary(), WeakKeyDictionary()
        self._confirmed = WeakKeyDictionary()
        self._client = make_client(self._url)
        self._client.ping()
        try:
            policy = self._client.config_get('maxmemory-policy').get('maxmemory-policy', '')
        except redis.ResponseError:     # a managed Redis has no CONFIG
            policy = ''
        if policy.startswith('allkeys'):        # those that begin with volatile leave streams alone
            log.warning('Redis evicts keys (maxmemory-policy %s): it may drop whole streams; set '
                        'noeviction, or a volatile policy', policy)

    def end(self):
        # type: () -> None
        """Close the client's connections."""
        self._client.close()

    def _key(self, outlet):
        # type: (Outlet) -> text_type
        return stream_key(self._prefix, outlet.feed.name)

    def last(self, outlet):
        # type: (Outlet) -> Optional[int]
        """Return the number of the stream's last entry, 0 if there is none.

        Counts a loss, if that is less than what Redis had confirmed.
        """
        try:
            last = self._last_id(outlet)[0]
        except redis.ResponseError as error:
            if _is_permanent(error):    # it refuses each entry, too
                return None
            raise
        confirmed, _breaks = self._confirmed.get(outlet, (0, 0))
        if last < confirmed:
            self.rewound += 1
            log.error('Redis has lost entries of feed %r that it had confirmed: from %s to %s',
                      outlet.feed.name, last + 1 if last else 'the first', confirmed)
            del self._confirmed[outlet]
            self.rewind(outlet, confirmed, last)
        return last

    def _last_id(self, outlet):
        # type: (Outlet) -> Tuple[int, int]
        """Return both parts of the id of a stream's last entry; zeros if there is none."""
        found = self._client.xrevrange(self._key(outlet), count=1)
        first, second = found[0][0].split(b'-') if found else (0, 0)
        return int(first), int(second)

    def publish(self, batch):
        # type: (List[Tuple[Outlet, Message]]) -> List[Optional[str]]
        """Add entries in one round trip."""
        if monotonic() - self._answered_at > _QUIET:
            self._look_for_restart()
        self._look_for_loss({outlet for outlet, _message in batch})
        errors = self._begin_epochs({outlet for outlet, _message in batch})
        entries = [(outlet, message, self._id(outlet, message))
                   for outlet, message in batch if outlet not in errors]
        pipeline = self._client.pipeline(transaction=False)
        for outlet, message, entry_id in entries:
            field = 'text' if isinstance(message.data, text_type) else 'data'
            pipeline.xadd(
                self._key(outlet), {field: message.data, 'time': '{:.6f}'.format(message.time)},
                id=entry_id, maxlen=self._maxlen, approximate=True)
        try:
            answers = iter(pipeline.execute(raise_on_error=False))
            self._answered_at = monotonic()
            return self._classify(batch, [
                errors.get(outlet) or next(answers) for outlet, _message in batch])
        except Exception:
            for _outlet, message in batch:
                message.is_unanswered = True
            self._breaks += 1
            raise

    def _begin_epochs(self, outlets):
        # type: (Set[Outlet]) -> Dict[Outlet, Exception]
        """Begin an epoch for each feed without numbers that has none; return what failed."""
        errors = {}  # type: Dict[Outlet, Exception]
        for outlet in outlets:
            if outlet.feed.sequence is None and outlet not in self._epochs:
                key = self._key(outlet)
                try:
                    epoch = self._client.eval(_NEXT_EPOCH, 2, key, _epoch_key(key))
                except redis.ResponseError as error:    # it is this feed's: others go on
                    errors[outlet] = error
                else:
                    self._epochs[outlet] = [int(epoch), 0]
        return errors

    def _id(self, outlet, message):
        # type: (Outlet, Message) -> text_type
        if outlet.feed.sequence is not None:
            return u'{}-0'.format(message.number)
        if message.number is None:      # an entry that is tried again keeps its id
            self._epochs[outlet][1] += 1
            message.number = self._epochs[outlet][1]
        return u'{}-{}'.format(self._epochs[outlet][0], message.number)

    def _classify(self, batch, answers):
        # type: (Any, List[Any]) -> List[Optional[str]]
        """Return what to count for each entry, or None for those to be tried again."""
        results = []  # type: List[Optional[str]]
        refused, decisions = set(), {}  # type: Set[Outlet], Dict[Outlet, Optional[str]]
        for (outlet, message), answer in zip(batch, answers):
            if not isinstance(answer, Exception):
                results.append('published')
            elif _NOT_GREATER in text_type(answer):
                if outlet.feed.sequence is None and outlet not in decisions:
                    decisions[outlet] = self._decide(outlet)
                decision = decisions.get(outlet, 'duplicates')
                is_there = message.is_unanswered and (
                    decision == 'duplicates' or self._has(outlet, message))
                results.append('published' if is_there else decision)
            elif _is_permanent(answer):
                if not outlet.counts['refused'] and outlet not in refused:
                    log.error('Redis refused an entry of feed %r: %s; this is logged once',
                              outlet.feed.name, answer)
                refused.add(outlet)
                results.append('refused')
            else:
                self._breaks += 1
                self.stuck_at(text_type(answer))
                # A cluster answers so for the entries of a node that is away.
                message.is_unanswered |= isinstance(answer, _NO_ANSWER)
                results.append(None)
        last = {}  # type: Dict[Outlet, int]
        for index in range(len(batch) - 1, -1, -1):
            outlet, message = batch[index]
            if results[index] is None and outlet in last:
                # A later one is in the stream: Redis would always refuse this one.
                if message.is_unanswered and self._has(outlet, message):
                    results[index] = 'published'
                    continue
                log.error('Redis took an entry of feed %r, and not the one before: %s',
                          outlet.feed.name, answers[index])
                results[index] = 'refused'
            elif results[index] in ('published', 'duplicates'):
                last.setdefault(outlet, index)
        for outlet, index in last.items():
            if outlet.feed.sequence is not None:
                self._confirmed[outlet] = batch[index][1].number, self._breaks
        for outlet in decisions:
            self._take_back(outlet)
        return results

    def _decide(self, outlet):
        # type: (Outlet) -> Optional[str]
        """Return what to count for refused entries of a feed without numbers, or None to wait.

        The holder that has a newer epoch gets these messages, too. They wait if it hasn't published
        since the last refusal.
        """
        try:
            last_id = self._last_id(outlet)
        except redis.ResponseError as error:
            if _is_permanent(error):    # it can't be known
                return 'disordered'
            raise
        epoch, count = self._epochs[outlet]
        if (epoch, 0) < last_id <= (epoch, count):
            return 'duplicates'     # no newer epoch: it has the entries already
        before, since = self._fenced.get(outlet, (None, None))
        if last_id != before:
            self._fenced[outlet] = last_id, None
            return 'disordered'
        if since is None:
            self._fenced[outlet] = last_id, monotonic()
        return None

    def _take_back(self, outlet):
        # type: (Outlet) -> None
        """Have an outlet take the next epoch, if the stream has been abandoned."""
        last_id, since = self._fenced.get(outlet, ((0, 0), None))
        if since is None or monotonic() - since < self._abandoned:
            return
        log.warning('feed %r: nobody publishes with the newer epoch %s any more: its former holder '
                    'takes it back', outlet.feed.name, last_id[0])
        del self._fenced[outlet], self._epochs[outlet]
        with self._lock:
            for message in outlet.queue:    # they get ids of that epoch
                message.number, message.is_unanswered = None, False

    def _has(self, outlet, message):
        # type: (Outlet, Message) -> bool
        """Return whether Redis has an entry; False if it may not be asked."""
        entry_id = self._id(outlet, message)
        try:
            return bool(self._client.xrange(self._key(outlet), entry_id, entry_id))
        except redis.ResponseError as error:
            if _is_permanent(error):
                return False
            raise

    def _look_for_restart(self):
        # type: () -> None
        """Count a break if Redis was started since the last question, or another one is there."""
        options = {'target_nodes': 'primaries'} if is_cluster(self._client) else {}
        try:
            info = self._client.info('server', **options)
        except redis.ResponseError:     # it may not be asked
            return
        except redis.RedisError:
            self._breaks += 1
            return
        # A cluster of one primary answers as that does.
        infos = info.values() if options and 'run_id' not in info else [info]
        run_ids = sorted(info.get('run_id', '') for info in infos)
        if run_ids != self._run_ids:
            self._run_ids = run_ids
            self._breaks += 1

    def _look_for_loss(self, outlets):
        # type: (Set[Outlet]) -> None
        """Count the streams that have lost what Redis had confirmed before a break."""
        for outlet in outlets:
            confirmed, breaks = self._confirmed.get(outlet, (None, 0))
            if confirmed is None or breaks == self._breaks:
                continue
            self.last(outlet)
            if outlet in self._confirmed:
                self._confirmed[outlet] = confirmed, self._breaks


def make_client(source):
    # type: (Any) -> Any
    """Return a client of redis-py for a URL, or what a function returns.

    Raises ValueError for one that decodes what Redis answers: payloads may be any bytes.
    """
    if not callable(source):
        options = {'socket_timeout': 10.0, 'socket_connect_timeout': 5.0}  # type: Dict[str, Any]
        try:
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError:     # an older one never tries again
            pass
        else:
            options['retry'] = Retry(NoBackoff(), 0)
        client = redis.Redis.from_url(source, **options)
    else:
        client = source()
    if connection_options(client).get('decode_responses'):
        raise ValueError('the client must not have decode_responses: messages may be any bytes')
    return client


def is_cluster(client):
    # type: (Any) -> bool
    """Return whether a client is for a cluster."""
    return hasattr(client, 'keyslot')


def connection_options(client):
    # type: (Any) -> Dict[str, Any]
    """Return the options of a client's connections, such as ``socket_timeout``."""
    if is_cluster(client):
        return client.get_connection_kwargs()       # type: ignore[no-any-return]
    return client.connection_pool.connection_kwargs     # type: ignore[no-any-return]
