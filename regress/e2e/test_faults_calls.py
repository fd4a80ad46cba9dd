"""Calls that fail in the queue and in an mda, one kind after the other: the client hears 4xx or the mail
waits, nothing acknowledged is lost, nothing comes twice, and service goes on when the calls do."""

import errno
import os

import pytest

from faults import faults, faults_library  # noqa: F401
from postern import wait_for
from test_faults_disk import arrives, is_up_again, try_send

SMALL = "Subject: {0}\r\n\r\nbody of {0}\r\n"
# More than goes to the queue in memory.
LARGE = "Subject: {0}\r\n\r\n" + ("x" * 998 + "\r\n") * 1100
# Goes there in memory; the queue makes new segments for many.
MEDIUM = "Subject: {0}\r\n\r\n" + ("x" * 998 + "\r\n") * 200

# The kinds of calls, which each must have made while they failed.
IN_THE_QUEUE = [("write", errno.ENOSPC), ("write", errno.EIO), ("allocate", errno.ENOSPC),
    ("allocate", errno.EIO), ("open", errno.ENFILE), ("unlink", errno.EIO)]
IN_AN_MDA = [("write", errno.ENOSPC), ("write", errno.EIO), ("rename", errno.ENOSPC),
    ("rename", errno.EIO), ("open", errno.ENFILE), ("open", errno.ENOMEM)]


class Sender:
    def __init__(self, postern):
        self.postern = postern
        self.number = 0
        self.sent = []

    def send(self, *texts):
        """Each is taken or refused for now."""
        for text in texts:
            self.number += 1
            code, words = try_send(self.postern, self.number, text=text)
            assert code == 250 or 400 <= code <= 499, (code, words)
            if code == 250:
                self.sent.append(self.number)

    def goes_on(self):
        """All that was taken is there, and none that was refused; mail is taken again."""
        self.number += 1
        self.sent.append(is_up_again(self.postern, self.number))
        arrives(self.postern, self.sent)


@pytest.mark.parametrize("kind, error", IN_THE_QUEUE)
def test_a_call_that_fails_in_the_queue_is_answered_4xx(make_postern, faults, kind, error):
    postern = make_postern(environment=faults.environment)
    sender = Sender(postern)
    sender.send(SMALL)
    assert sender.sent
    with faults.set("queue", **{f"{kind}_error": error}):
        sender.send(SMALL, LARGE, *[MEDIUM] * (21 if kind == "allocate" else 1), SMALL)
        # A file is unlinked only when its mail is delivered.
        wait_for(lambda: faults[f"{kind}_failed"] > 0, 15, f"no {kind} has failed")
    sender.goes_on()
    postern.restart()
    sender.goes_on()


def test_a_text_that_cannot_be_handed_to_an_mda_waits(make_postern, faults):
    postern = make_postern(environment=faults.environment)
    postern.smtpctl("pause", "mda")
    sender = Sender(postern)
    sender.send(SMALL, MEDIUM)
    with faults.set("queue", memfd_error=errno.ENFILE):
        postern.restart()  # which ends the pause
        wait_for(lambda: faults["memfd_failed"] > 0, 15, "the text isn't in memory any more")
        assert len(postern.queue()) == 2
    sender.goes_on()


@pytest.mark.parametrize("kind, error", IN_AN_MDA)
def test_a_call_that_fails_in_an_mda_keeps_mail_queued(make_postern, faults, kind, error):
    postern = make_postern(environment=faults.environment)
    sender = Sender(postern)
    sender.send(SMALL)
    arrives(postern, [1])
    with faults.set("mda", **{f"{kind}_error": error}):
        sender.send(SMALL, LARGE)
        assert len(sender.sent) == 3, "the queue is well"
        envelopes = wait_for(lambda: [e for e in postern.queue() if e["error"]], 20,
            "the deliveries are deferred")
        # What happened, and what can be done.
        assert all("cannot" in e["error"] and ";" in e["error"] for e in envelopes), envelopes
        assert faults[f"{kind}_failed"] > 0
    sender.goes_on()
    assert not list((postern.maildir("alice@example.test") / "tmp").iterdir())


@pytest.mark.parametrize("kind, error", [("write", errno.ENOSPC), ("write", errno.EIO)])
def test_a_message_that_cannot_be_kept_for_a_command_waits(make_postern, faults, kind, error):
    """It is written to a file whole, before the command begins."""
    postern = make_postern(environment=faults.environment,
        rules='action "in" maildir pipes\nmatch from any for domain <accounts> action "in"\n')
    out = postern.base / "out"
    out.mkdir(0o777)
    out.chmod(0o777)
    postern.add_alias("pipe@example.test", f"|cat >{out}/$$; echo >>{out}/runs")
    with faults.set("mda", **{f"{kind}_error": error}):
        assert try_send(postern, 1, "pipe@example.test", LARGE)[0] == 250
        (envelope,) = wait_for(lambda: [e for e in postern.queue() if e["error"]], 20)
        assert "was not run" in envelope["error"] and os.strerror(error) in envelope["error"]
        assert not list(out.iterdir())
    postern.smtpctl("schedule", "all")
    postern.wait_queue_empty()
    (taken,) = [path for path in out.iterdir() if path.name != "runs"]
    assert taken.read_text().endswith(LARGE.partition("\r\n\r\n")[2].replace("\r", ""))
    assert (out / "runs").read_text() == "\n"


@pytest.mark.parametrize("program", ["queue", "mda"])
def test_half_written_is_written_on(make_postern, faults, program):
    postern = make_postern(environment=faults.environment)
    sender = Sender(postern)
    sender.send(SMALL)
    with faults.set(program, short_writes=1):
        sender.send(SMALL, LARGE, MEDIUM)
        assert len(sender.sent) == 4
        arrives(postern, sender.sent)
        assert faults["shortened"] > 0
    bodies = {mail.data.partition(b"\n\n")[2] for mail in postern.mails("alice@example.test")}
    for number, text in ((2, SMALL), (3, LARGE), (4, MEDIUM)):
        body = text.format(number).partition("\r\n\r\n")[2].replace("\r\n", "\n").encode()
        assert body in bodies, f"{number} isn't whole"
    postern.restart()
    sender.goes_on()
