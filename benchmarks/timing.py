"""Timing two things against each other."""

import statistics
import time


def alternate(first, second, repetitions, warm_up=3):
    """Median seconds of two callables that each finish their work before they return, called in turn."""
    times = ([], [])
    for repetition in range(warm_up + repetitions):
        for callable_, taken in zip((first, second), times):
            start = time.perf_counter()
            callable_()
            if repetition >= warm_up:
                taken.append(time.perf_counter() - start)
    return tuple(statistics.median(taken) for taken in times)


def median_seconds(call, repetitions=5):
    """Median seconds of a callable that finishes its work before it returns, called once before."""
    call()
    taken = []
    for _ in range(repetitions):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)
