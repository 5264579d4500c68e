"""What a signal does: at once, after a step, the second time, and where it is ignored."""

import signal
import threading
import time

import pytest

from minigraph.training import interruption
from minigraph.training.interruption import SIGNALS, Interrupted, Interruption

NUMBERS = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_raises_at_once(number):
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught, Interruption():
        signal.raise_signal(number)
    assert caught.value.number == number
    assert isinstance(caught.value, KeyboardInterrupt)
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_that_has_to_wait_is_raised_by_check(number):
    with Interruption() as signals:
        signals.check()
        signals.waiting = True
        signal.raise_signal(number)
        with pytest.raises(Interrupted):
            signals.check()


def test_a_signal_is_raised_once():
    with Interruption() as signals:
        signals.waiting = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Interrupted):
            signals.check()
        signals.check()


def test_the_second_ctrl_c_does_not_wait():
    with Interruption() as signals:
        signals.waiting = True
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
        assert type(caught.value) is KeyboardInterrupt


def test_under_mpiexec_an_echo_of_a_signal_is_none(monkeypatch):
    monkeypatch.setenv("PMI_RANK", "0")
    monkeypatch.setattr(interruption, "ECHO", 0.2)
    with Interruption() as noted:
        noted.waiting = True
        for _ in range(3):
            signal.raise_signal(signal.SIGINT)
        assert noted.number == signal.SIGINT
        time.sleep(0.25)
        with pytest.raises(KeyboardInterrupt) as caught:
            signal.raise_signal(signal.SIGINT)
        assert type(caught.value) is KeyboardInterrupt
    before = signal.getsignal(signal.SIGINT)
    begin = time.monotonic()
    with pytest.raises(Interrupted), Interruption():
        signal.raise_signal(signal.SIGINT)
    assert time.monotonic() - begin >= 0.2 and signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="SIGHUP")
def test_an_ignored_signal_stays_ignored():
    """As under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Interruption() as signals:
            signal.raise_signal(signal.SIGHUP)
            signals.check()
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_changes():
    seen = []

    def enter():
        with Interruption():
            seen.append(signal.getsignal(signal.SIGINT))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [before]
