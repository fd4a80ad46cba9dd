"""A process that stops answering (SIGSTOP): sessions hear a temporary error in time, others go on, and
after SIGCONT all is as before."""

import contextlib
import os
import signal
import smtplib
import threading
import time

import pytest

from postern import wait_for

# What a session waits at most for another process, and some for a busy machine.
PATIENCE = 45


@contextlib.contextmanager
def stalled(postern, program):
    pids = postern.pids(program)
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield pids
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def send(postern, number):
    """The code that decided."""
    try:
        with postern.smtp(timeout=PATIENCE) as client:
            client.ehlo()
            code, _ = client.mail("sender@client.test")
            if code == 250:
                code, _ = client.rcpt("alice@example.test")
            if code == 250:
                code, _ = client.data(f"Subject: {number}\r\n\r\n{number}\r\n")
            return code
    except smtplib.SMTPServerDisconnected:
        return 421


def subjects(postern):
    return sorted(int(mail.message["Subject"]) for mail in postern.mails("alice@example.test"))


def complete(postern, sent):
    """Exactly these arrive, each once."""
    def check():
        postern.smtpctl("schedule", "all", check=False)
        return subjects(postern) == sorted(sent) and not postern.queue()
    wait_for(check, 30, f"{sent}, have {subjects(postern)}")


@pytest.mark.parametrize("program", ["queue", "directory"])
def test_a_stalled_process_is_a_temporary_error_in_time(postern, program):
    assert send(postern, 0) == 250
    codes = {}
    with stalled(postern, program):
        began = time.monotonic()
        threads = [threading.Thread(target=lambda n=n: codes.update({n: send(postern, n)}))
            for n in range(1, 4)]
        for thread in threads:
            thread.start()
        # Other commands of other sessions aren't held up by it.
        with postern.wire() as wire:
            wire.hello()
            wire.command("NOOP", 250)
            wire.command("QUIT", 221)
        assert time.monotonic() - began < 5
        for thread in threads:
            thread.join(PATIENCE)
        assert all(400 <= code <= 499 for code in codes.values()) and len(codes) == 3, codes
    assert wait_for(lambda: send(postern, 10) == 250, 20, "mail is taken again")
    # A late answer may have made a refused message a queued one: none may be half there or twice.
    def settled():
        postern.smtpctl("schedule", "all", check=False)
        return 10 in subjects(postern) and not postern.queue()
    wait_for(settled, 30)
    found = subjects(postern)
    assert len(found) == len(set(found)) and {0, 10} <= set(found) <= {0, 1, 2, 3, 10}, found


def test_a_stalled_mda_holds_up_no_session_and_loses_nothing(postern):
    assert send(postern, 0) == 250
    wait_for(lambda: subjects(postern) == [0], 15)
    with stalled(postern, "mda"):
        for number in range(1, 6):
            assert send(postern, number) == 250
        assert subjects(postern) == [0]
    complete(postern, range(6))


def test_an_mda_killed_while_it_works_delivers_each_message_once(postern):
    assert send(postern, 0) == 250
    wait_for(lambda: subjects(postern) == [0], 15)
    sent = [0]
    for number in range(1, 40):
        assert send(postern, number) == 250
        sent.append(number)
        if number % 4 == 0:
            with contextlib.suppress(ProcessLookupError, IndexError):
                postern.kill("mda")
    complete(postern, sent)
