"""A process that stops answering (SIGSTOP): sessions hear a temporary error in time, others go on, and
after SIGCONT all is as before."""

import contextlib
import os
import signal
import smtplib
import threading
import time

from postern import wait_for

# What a client waits for a reply on a busy machine.
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


def start_senders(postern, numbers, codes):
    threads = [threading.Thread(target=lambda n=n: codes.update({n: send(postern, n)}))
        for n in numbers]
    for thread in threads:
        thread.start()
    return threads


def others_are_served(postern):
    began = time.monotonic()
    with postern.wire() as wire:
        wire.hello()
        wire.command("NOOP", 250)
        wire.command("MAIL FROM:<sender@client.test>", 250)
        wire.command("QUIT", 221)
    assert time.monotonic() - began < 5


def test_a_stalled_directory_is_a_temporary_error_in_time(make_postern):
    postern = make_postern(extra="smtp limit lookup-time 2s")
    assert send(postern, 0) == 250
    codes = {}
    with stalled(postern, "directory"):
        begin = time.monotonic()
        threads = start_senders(postern, range(1, 4), codes)
        others_are_served(postern)
        for thread in threads:
            thread.join(PATIENCE)
        assert time.monotonic() - begin < 20
        assert all(400 <= code <= 499 for code in codes.values()) and len(codes) == 3, codes
    assert wait_for(lambda: send(postern, 10) == 250, 20, "mail is taken again")
    complete(postern, [0, 10])


def test_a_stalled_queue_answers_nothing_it_has_not_stored(postern):
    """RFC 5321 4.5.3.2.6: the client waits ten minutes for the 250; the listener gives up after five."""
    assert send(postern, 0) == 250
    codes = {}
    with stalled(postern, "queue"):
        threads = start_senders(postern, range(1, 4), codes)
        others_are_served(postern)
        # One client goes away before it was told anything.
        with postern.wire() as wire:
            wire.hello()
            wire.command("MAIL FROM:<sender@client.test>", 250)
            wire.command("RCPT TO:<alice@example.test>", 250)
            wire.command("DATA", 354)
            wire.send("Subject: 4\r\n\r\n4\r\n.\r\n")
        for thread in threads:
            thread.join(0.5)
        assert not codes, "answered though nothing can be on the disk"
    for thread in threads:
        thread.join(PATIENCE)
    assert codes == {1: 250, 2: 250, 3: 250}
    # Whether the fourth was taken nobody was told; it is there once or not at all.

    def settled():
        postern.smtpctl("schedule", "all", check=False)
        return set(subjects(postern)) >= {0, 1, 2, 3} and not postern.queue()
    wait_for(settled, 30)
    assert subjects(postern) in ([0, 1, 2, 3], [0, 1, 2, 3, 4])


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
