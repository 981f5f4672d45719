"""The interval timer, by a clock that is set."""

import time

from igan_tf.training.timer import Timer


def test_it_says_so_once_an_interval(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    timer, never = Timer(0.5), Timer(0)
    due = []
    for seconds in (129, 130, 131, 159, 161):
        clock[0] = seconds
        due.append(timer.due())
        assert not never.due()
    assert due == [False, True, False, False, True]
