"""The spool of a running suite: large messages, reuse, damage, the offline tools, many envelopes."""

import hashlib
import os
import subprocess

import pytest

from postern import wait_for

LINE = b"x" * 76 + b"\r\n"


def large(size, mark):
    return b"Subject: " + mark + b"\r\n\r\n" + LINE * (size // len(LINE))


def digest(mail):
    return hashlib.sha256(mail.body).hexdigest()


def queue_tool(postern, what, directory=None):
    program = postern.stage / "usr/libexec/postern/queue"
    return subprocess.run([program, what, directory or postern.spool], capture_output=True,
        text=True, timeout=60)


def segments(postern):
    return sorted((postern.spool / "segments").iterdir())


def large_files(postern):
    return sorted((postern.spool / "large").iterdir())


def test_a_large_message_survives_a_crash_to_the_byte(postern):
    postern.smtpctl("pause", "mda")
    text = large(3 << 20, b"large")
    postern.send(["alice@example.test", "bob@example.test"], text)
    assert len(large_files(postern)) == 1
    postern.crash()
    postern.start()
    for user in ("alice@example.test", "bob@example.test"):
        (mail,) = postern.wait_mail(user)
        assert digest(mail) == hashlib.sha256(
            text.replace(b"\r\n", b"\n").partition(b"\n\n")[2]).hexdigest()
    postern.wait_queue_empty()
    wait_for(lambda: large_files(postern) == [], what="the file is removed")


def test_a_large_message_cut_off_leaves_no_file(postern):
    with postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<a@client.test>", 250)
        wire.command("RCPT TO:<alice@example.test>", 250)
        wire.command("DATA", 354)
        wire.send(large(3 << 20, b"cut"))
        wait_for(lambda: len(large_files(postern)) == 1, what="a file is begun")
    wait_for(lambda: large_files(postern) == [], what="the file is removed")
    assert postern.mails("alice@example.test") == []


def test_check_and_dump_read_a_stopped_spool(postern):
    postern.smtpctl("pause", "mda")
    message = postern.send("alice@example.test")
    # Not while it runs.
    assert queue_tool(postern, "check").returncode == os.EX_TEMPFAIL
    postern.stop()
    checked = queue_tool(postern, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    dumped = queue_tool(postern, "dump")
    assert dumped.returncode == 0
    lines = [line for line in dumped.stdout.splitlines() if f"message={message}" in line]
    assert len(lines) == 1 and "to=<alice@example.test>" in lines[0]
    postern.start()
    postern.wait_mail("alice@example.test")


def test_damage_is_named_quarantined_and_costs_nothing_else(postern):
    postern.smtpctl("pause", "mda")
    ids = [postern.send("alice@example.test", f"Subject: {n}\r\n\r\nmarker-{n}\r\n")
        for n in range(3)]
    postern.stop()
    for path in segments(postern):
        data = path.read_bytes()
        at = data.find(b"marker-1")
        if at != -1:
            with open(path, "r+b") as file:
                file.seek(at)
                file.write(b"M")
            break
    else:
        raise AssertionError("the message is in no segment")
    checked = queue_tool(postern, "check")
    assert checked.returncode == os.EX_DATAERR
    assert f"segments/{path.name}: " in checked.stdout
    postern.allow("kept as quarantine/")
    postern.start()
    postern.wait_mail("alice@example.test", 2)
    subjects = sorted(mail.message["Subject"] for mail in postern.mails("alice@example.test"))
    assert subjects == ["0", "2"]
    assert any(b"marker-1".replace(b"m", b"M") in kept.read_bytes()
        for kept in (postern.spool / "quarantine").iterdir())
    assert ids
    postern.wait_queue_empty()


def test_a_second_instance_on_one_spool_is_refused(postern, make_postern):
    second = make_postern(spool=postern.spool, start=False)
    second.allow("another queue runs on the spool")
    second.allow("child-")
    second.start(ready=False)
    wait_for(lambda: "another queue runs on the spool" in second.log_text())
    second.crash()
    postern.send("alice@example.test")
    postern.wait_mail("alice@example.test")


def test_segments_are_used_again(make_postern):
    postern = make_postern(extra="queue segment-size 4M")
    for number in range(240):
        postern.send("alice@example.test", large(225_000, b"%d" % number))
    postern.wait_mail("alice@example.test", 240, timeout=60)
    postern.wait_queue_empty()
    # 54 MB went through.
    wait_for(lambda: len(segments(postern)) <= 6, 30, "segments are given back")


@pytest.mark.time_limit(300)
def test_acts_on_thousands_are_one_request(postern):
    postern.smtpctl("pause", "mda")
    for hundred in range(0, 2000, 500):
        with postern.smtp() as client:
            for number in range(hundred, hundred + 500):
                client.sendmail("list@bulk.test" if number % 2 else f"one{number}@client.test",
                    ["alice@example.test"], f"Subject: {number}\r\n\r\n")
    assert len(postern.queue()) == 2000
    assert len(postern.queue("from", "list@bulk.test")) == 1000
    assert len(postern.queue("from", "@client.test")) == 1000
    assert len(postern.queue("to", "bob@example.test")) == 0
    assert len(postern.queue("to", "@example.test")) == 2000
    done = postern.smtpctl("remove", "all", "from", "list@bulk.test")
    assert "1000 envelopes removed" in str(getattr(done, "stdout", done))
    postern.kill_and_wait_back("queue")
    wait_for(lambda: len(postern.queue()) == 1000 or postern.mails("alice@example.test"))
    postern.wait_mail("alice@example.test", 1000, timeout=60)
    postern.wait_queue_empty()
    subjects = {int(mail.message["Subject"]) for mail in postern.mails("alice@example.test")}
    assert subjects == set(range(0, 2000, 2))
