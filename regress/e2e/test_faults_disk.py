"""Disks that are full, fail or are slow: the client hears 4xx, nothing acknowledged is lost, and service
goes on when the disk does."""

import errno
import mailbox
import os
import pathlib
import subprocess
import threading
import time

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import wait_for

BODY = "Subject: {0}\r\n\r\n" + "body of {0}\r\n" * 200


@pytest.fixture
def small_disk():
    """A function: mounts a tmpfs of so many bytes and returns its path. Unmounted afterwards."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    mounted = []

    def mount(size, **options):
        path = pathlib.Path(f"/tmp/postern-disk-{os.getpid()}-{len(mounted)}")
        path.mkdir()
        words = ",".join([f"size={size}", "mode=755"] + [f"{k}={v}" for k, v in options.items()])
        if subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", path],
                check=False).returncode != 0:
            path.rmdir()
            pytest.skip("mounting isn't allowed here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        # Lazily: a process of a failed test may still be in it.
        subprocess.run(["umount", "-l", path], check=True)
        path.rmdir()


def fill(disk):
    """A file that takes all of the disk's space."""
    filler = disk / "filler"
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(descriptor, bytes(4096))
    except OSError as why:
        assert why.errno == errno.ENOSPC
    finally:
        os.close(descriptor)
    return filler


def try_send(postern, number, to="alice@example.test", text=BODY):
    """The first reply that isn't 250, or 250 with its words after the message."""
    with postern.smtp() as client:
        client.ehlo()
        for step in (lambda: client.mail("sender@client.test"), lambda: client.rcpt(to)):
            code, words = step()
            if code != 250:
                return code, words.decode()
        code, words = client.data(text.format(number))
        return code, words.decode()


def subjects(postern, address="alice@example.test"):
    return sorted(int(mail.message["Subject"]) for mail in postern.mails(address))


def arrives(postern, sent, address="alice@example.test", timeout=30):
    """Waits until exactly these are in the mailbox and the queue is empty."""
    def complete():
        # As long as the disk is full it may say that this isn't on disk yet.
        postern.smtpctl("schedule", "all", check=False)
        return subjects(postern, address) == sorted(sent) and not postern.queue()
    wait_for(complete, timeout, f"{len(sent)} messages, have {subjects(postern, address)}")


def is_up_again(postern, number):
    """Waits until mail is taken again; the number it was taken under."""
    last = None

    def taken():
        nonlocal last
        last = try_send(postern, number)
        return last[0] == 250
    try:
        wait_for(taken, 20)
    except AssertionError:
        raise AssertionError(f"mail isn't taken again: {last}\n{postern.log_tail()}") from None
    return number


def test_a_full_spool_says_try_later_and_goes_on(make_postern, small_disk):
    disk = small_disk("48m")
    postern = make_postern(spool=disk / "spool", extra="queue segment-size 4M")
    postern.smtpctl("pause", "mda")
    sent = []
    refused = None
    for number in range(2000):
        with postern.smtp() as client:
            client.ehlo()
            code, words = client.mail("sender@client.test")
            if code == 250:
                client.rcpt("alice@example.test")
                code, words = client.data(BODY.format(number) + ("x" * 998 + "\r\n") * 250)
        if code != 250:
            refused = (code, words)
            break
        sent.append(number)
    assert refused, "48 MiB took 500 MiB"
    assert refused[0] in (451, 452) and b"4.3.1" in refused[1], refused
    # What was taken stays, and can still be delivered and forgotten.
    assert len(postern.queue()) == len(sent)
    postern.smtpctl("resume", "mda")
    arrives(postern, sent)
    sent.append(is_up_again(postern, 5000))
    arrives(postern, sent)


def test_a_spool_filled_by_others_says_try_later_and_goes_on(make_postern, small_disk):
    disk = small_disk("48m")
    postern = make_postern(spool=disk / "spool", extra="queue segment-size 4M")
    sent = [number for number in range(5) if try_send(postern, number)[0] == 250]
    assert len(sent) == 5
    filler = fill(disk)
    for number in range(10, 30):
        code, words = try_send(postern, number)
        assert code in (250, 451, 452), words
        if code == 250:
            sent.append(number)
    filler.unlink()
    sent.append(is_up_again(postern, 100))
    arrives(postern, sent)


def test_a_full_mailbox_disk_keeps_mail_queued(make_postern, small_disk):
    disk = small_disk("1m")
    postern = make_postern(mail=disk / "mail")
    assert try_send(postern, 0)[0] == 250
    arrives(postern, [0])
    filler = fill(disk)
    assert try_send(postern, 1)[0] == 250
    wait_for(lambda: [e for e in postern.queue() if "No space left" in e["error"]], 20,
        "the delivery is deferred for want of space")
    assert subjects(postern) == [0]
    assert not list((postern.maildir("alice@example.test") / "tmp").iterdir())
    filler.unlink()
    arrives(postern, [0, 1])


BOX_RULES = 'action "in" mbox\nmatch from any for domain <accounts> action "in"\n'


def box_subjects(postern):
    path = postern.maildir("alice@example.test") / "mbox"
    return sorted(int(mail["Subject"]) for mail in mailbox.mbox(path))


def test_a_full_disk_leaves_an_mbox_file_as_it_was(make_postern, small_disk):
    disk = small_disk("1m")
    postern = make_postern(mail=disk / "mail", rules=BOX_RULES)
    assert try_send(postern, 0)[0] == 250
    postern.wait_queue_empty()
    box = postern.maildir("alice@example.test") / "mbox"
    before = box.read_bytes()
    filler = fill(disk)
    large = BODY + "x" * 900 + "\r\n"
    for number in range(1, 4):
        assert try_send(postern, number, text=large * 20)[0] == 250
    wait_for(lambda: len([e for e in postern.queue() if "No space left" in e["error"]]) == 3, 20,
        "the deliveries are deferred for want of space")
    assert box.read_bytes() == before and not list(box.parent.glob("*.lock*"))
    filler.unlink()
    postern.smtpctl("schedule", "all")
    postern.wait_queue_empty()
    assert box_subjects(postern) == [0, 1, 2, 3]


def test_failing_syncs_of_an_mbox_file_keep_mail_queued(make_postern, faults):
    postern = make_postern(environment=faults.environment, rules=BOX_RULES)
    assert try_send(postern, 0)[0] == 250
    postern.wait_queue_empty()
    with faults.set("mda", sync_error=errno.EIO):
        assert try_send(postern, 1)[0] == 250
        wait_for(lambda: [e for e in postern.queue() if "check the disk" in e["error"]], 20)
        assert box_subjects(postern) == [0]
    postern.smtpctl("schedule", "all")
    postern.wait_queue_empty()
    assert box_subjects(postern) == [0, 1]


def test_failing_syncs_of_the_spool_are_answered_4xx(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    sent = [1] if try_send(postern, 1)[0] == 250 else []
    assert sent
    arrives(postern, sent)
    with faults.set("queue", sync_error=errno.EIO):
        for number in range(10, 15):
            code, words = try_send(postern, number)
            assert 400 <= code <= 499, (code, words)
        assert faults["sync_failed"] > 0
    sent.append(is_up_again(postern, 20))
    # None of the refused ones comes after all, not even after a restart.
    arrives(postern, sent)
    postern.restart()
    sent.append(is_up_again(postern, 21))
    arrives(postern, sent)


def test_failing_syncs_survive_a_crash_right_after(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    postern.smtpctl("pause", "mda")
    sent = [number for number in range(5) if try_send(postern, number)[0] == 250]
    with faults.set("queue", sync_error=errno.EIO):
        for number in range(10, 15):
            assert 400 <= try_send(postern, number)[0] <= 499
        assert faults["sync_failed"] > 0
        postern.crash()
    postern.start()
    arrives(postern, sent)


def test_failing_writes_of_the_spool_are_answered_4xx(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    with faults.set("queue", write_error=errno.ENOSPC):
        code, words = try_send(postern, 1)
        assert code in (451, 452), words
        assert faults["write_failed"] > 0
    sent = [is_up_again(postern, 2)]
    arrives(postern, sent)


def test_failing_syncs_of_a_mailbox_keep_mail_queued(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    assert try_send(postern, 0)[0] == 250
    arrives(postern, [0])
    with faults.set("mda", sync_error=errno.EIO):
        assert try_send(postern, 1)[0] == 250
        wait_for(lambda: [e for e in postern.queue() if "check the disk" in e["error"]], 20,
            "the delivery is deferred for the failed sync")
        assert subjects(postern) == [0]
        box = postern.maildir("alice@example.test")
        assert not list((box / "tmp").iterdir()), "nothing half done is left"
    arrives(postern, [0, 1])


@pytest.mark.parametrize("program", ["queue", "mda"])
def test_slow_syncs_delay_but_lose_nothing(make_postern, faults, program):
    postern = make_postern(environment=faults.environment)
    replies = []

    def send(number):
        replies.append((number, try_send(postern, number)[0]))

    with faults.set(program, sync_delay=100_000):
        threads = [threading.Thread(target=send, args=(number,)) for number in range(20)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        # One after another it would be at least 2 s in the queue.
        elapsed = time.monotonic() - began
        assert {code for _, code in replies} == {250}, replies
        if program == "queue":
            assert 0.1 <= elapsed < 2.0, "syncs are shared by those who wait"
    arrives(postern, range(20))


def limit_descriptors(pid, count):
    """As the process's own user: not every root may change another's limits."""
    status = dict(line.split(":\t", 1) for line in
        pathlib.Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    uid, gid = (status[name].split()[0] for name in ("Uid", "Gid"))
    subprocess.run(["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "prlimit",
        f"--pid={pid}", f"--nofile={count}:"], check=True)


def soft_limit(pid):
    for line in pathlib.Path(f"/proc/{pid}/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            return int(line.split()[3])
    raise AssertionError("no limit of open files")


def highest_descriptor(pid):
    return max(int(name) for name in os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.root
@pytest.mark.parametrize("program", ["listener", "queue", "mda"])
def test_no_descriptors_left_is_temporary(postern, program):
    """As when others use up the system's: calls fail with EMFILE, then work again."""
    assert try_send(postern, 0)[0] == 250
    arrives(postern, [0])
    pids = postern.pids(program)
    assert pids
    before = {pid: soft_limit(pid) for pid in pids}
    sent = [0]
    for pid in pids:
        limit_descriptors(pid, highest_descriptor(pid) + 1)
    try:
        for number in range(1, 6):
            try:
                code, words = try_send_briefly(postern, number)
            except OSError:
                continue
            assert code == 250 or 400 <= code <= 499, words
            if code == 250:
                sent.append(number)
    finally:
        for pid, limit in before.items():
            limit_descriptors(pid, limit)
    sent.append(is_up_again(postern, 100))
    assert set(postern.pids(program)) >= set(pids) or program == "mda", "none died of it"
    arrives(postern, sent)


def try_send_briefly(postern, number):
    """As try_send(), but doesn't wait long for a listener that can't accept."""
    with postern.smtp(timeout=3) as client:
        client.ehlo()
        code, words = client.mail("sender@client.test")
        if code == 250:
            code, words = client.rcpt("alice@example.test")
        if code == 250:
            code, words = client.data(BODY.format(number))
        return code, words


@pytest.mark.root
def test_a_read_only_mailbox_disk_keeps_mail_queued(make_postern, small_disk):
    disk = small_disk("4m")
    postern = make_postern(mail=disk / "mail")
    assert try_send(postern, 0)[0] == 250
    arrives(postern, [0])
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        assert try_send(postern, 1)[0] == 250
        wait_for(lambda: [e for e in postern.queue() if "Read-only" in e["error"]], 20)
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    arrives(postern, [0, 1])
