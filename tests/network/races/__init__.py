"""Races: many threads on one live connection, and a judge at its other end.

What a scenario holds:

- Frames are whole, and each thread's come in the order of its calls, none missing: each call
  carries its number. Between the messages of one send_many there is no other, nor a Close frame,
  and between the fragments of a message nothing but control frames.
- The deflate stream is never mixed up: every message inflates to what was sent.
- A call that returned before a graceful end has arrived; one that raised has not.
- Disconnected comes once, and last. After our Close frame comes nothing.
- A call raises WebSocketUnavailable (or a kind of it), TransportFail, or nothing.
- The state goes forward only; the numbers of ``stats`` only grow, and add up in the end.
- Everything ends: no deadlock. No descriptor and no thread is left.

`scenarios` has what happens; each is a function of an `Arena`, which says how to connect and how
much to send. `match` has the threads on our end, `judge` what is at the other. The suite
(test_races.py) runs each for a moment, `make races` for minutes.
"""
