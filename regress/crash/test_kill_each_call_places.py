"""As test_kill_each_call.py, for the other kinds of places that mail goes to: an mda that runs a script or a
command, the relay with SMTP and LMTP, and what sendmail keeps while there is no server.

KILL_STEP, KILL_POINTS, KILL_CALLS and KILL_SEED are as there; without KILL_STEP at one call each, and at
none of enqueue, which is waited for.
"""

import collections
import hashlib
import itertools
import os
import random
import re
import subprocess
import tempfile

import pytest

from postern import wait_for
from smtp_peer import Peer
from test_kill_each_call import (EFFECTS, SEED, STEP, Run, kill_at_points, strace)  # noqa: F401
from test_sendmail import NAMED, NOBODY, offline, options, program, sendmail
from test_sieve import set_script
from traffic import Message

LIMIT = 3600 if STEP else 120


class PlacesRun(Run):
    """One whose mail goes to places that are looked at here. `most` is how often a message may be there."""

    def prepare(self):
        self.counts = collections.defaultdict(collections.Counter)
        self.rounds = itertools.count(1)
        self.postern.add_user("bounces@example.test")

    def before(self):
        self.postern.smtpctl("pause", "mda")

    def tried_later(self):
        pass

    def took_text(self, place, text, most):
        """Takes it into the books. What is wrong with it."""
        header, _, body = text.replace(b"\r\n", b"\n").partition(b"\n\n")
        token = re.search(rb"^X-Token: (\S+)$", header, re.MULTILINE)[1].decode()
        self.counts[place][token] += 1
        if hashlib.sha256(body).hexdigest() != self.traffic.begun[token][0]:
            return [f"{token} is torn: {place}"]
        if self.counts[place][token] > most:
            return [f"{token} is there {self.counts[place][token]} times: {place}"]
        return []

    def take_from(self, place, folder, most):
        problems = []
        for mail in self.postern.mails(folder):
            problems += self.took_text(place, mail.data, most)
            mail.path.unlink()
        return problems

    def missing(self, place, address):
        return [f"{token} was acknowledged and isn't there: {place}"
            for token, recipients in self.traffic.acknowledged.items()
            if address in recipients and self.counts[place][token] == 0]


class ScriptRun(PlacesRun):
    """A script files, redirects and replies: to another address of the sender's in each round."""

    user = "script@example.test"

    def prepare(self):
        super().prepare()
        for name in ("script", "kept"):
            self.postern.add_user(f"{name}@example.test")
        set_script(self.postern, self.user, 'require ["fileinto", "mailbox", "vacation", "copy"];\n'
            'fileinto :create "Lists";\nredirect :copy "kept@example.test";\n'
            'vacation :addresses "all@example.test" "I am away.";\n')

    def before(self):
        super().before()
        self.close()
        self.traffic.sender = f"bounces+{next(self.rounds)}@example.test"
        self.traffic.fields = "To: all@example.test\r\n"
        self.send(self.user)

    def script(self):
        self.resume()
        self.send(self.user)
        self.send(self.user, is_large=True)
        self.send("kept@example.test", self.user)
        self.close()

    def take_away(self):
        box = self.postern.maildir(self.user)
        problems = self.take_from("the folder", box / ".Lists", 1)
        problems += self.take_from("INBOX", box, 0)
        # What was sent there, and what the script sent on.
        problems += self.take_from("where it goes on", self.postern.maildir("kept@example.test"), 3)
        replies = self.postern.mails("bounces@example.test")
        if not 1 <= len(replies) <= 2:
            problems.append(f"{len(replies)} replies")
        for mail in replies:
            mail.path.unlink()
        return (problems + self.missing("the folder", self.user) +
            self.missing("where it goes on", self.user))


class CommandRun(PlacesRun):
    """All mail is given to a command, which takes it whole or not at all."""

    def prepare(self):
        super().prepare()
        self.out.mkdir()
        self.out.chmod(0o1777)
        script = self.postern.base / "take"
        script.write_text(f"""#!/bin/sh
new=$(mktemp '{self.out}/new.XXXXXX') && cat >"$new" && mv "$new" "$new.whole"
""")
        script.chmod(0o755)

    def before(self):
        super().before()
        self.send("alice@example.test")

    def script(self):
        self.resume()
        self.send("alice@example.test")
        self.send("alice@example.test", is_large=True)
        self.close()

    def take_away(self):
        problems = []
        for path in self.out.glob("*.whole"):
            problems += self.took_text("the command", path.read_bytes(), 2)
            path.unlink()
        return problems + self.missing("the command", "alice@example.test")


class RelayRun(PlacesRun):
    """To another server, which puts one off and refuses one of two recipients for now."""

    users = ("one", "two")
    peer = None  # set by the test

    def script(self):
        one, two = (f"{name}@far.test" for name in self.users)
        self.resume()
        self.send(one)
        self.peer.on("MAIL", "451 4.7.1 come again")
        self.send(two)
        self.peer.on("RCPT", None, "450 4.2.1 come again")
        self.send(one, two)
        self.send(one, is_large=True)
        self.close()

    def take_away(self):
        problems = []
        for message in self.peer.messages:
            for to in message.recipients:
                problems += self.took_text(to.partition("@")[0], message.data, 2)
        self.peer.messages.clear()
        for name in self.users:
            problems += self.missing(name, f"{name}@far.test")
        return problems


@pytest.mark.time_limit(LIMIT)
@pytest.mark.parametrize("dies", ["mda", "queue"])
def test_nothing_is_lost_wherever_a_script_is_interrupted(strace, make_postern, dies):  # noqa: F811
    kill_at_points(strace, make_postern(), dies, ScriptRun, many=1)


@pytest.mark.time_limit(LIMIT)
def test_nothing_is_lost_wherever_an_mda_with_a_command_dies(strace, make_postern):  # noqa: F811
    postern = make_postern(rules='action "box" maildir\naction "in" mda "@BASE@/take"\n'
        'match from any for rcpt-to "bounces@example.test" action "box"\n'
        'match from any for domain <accounts> action "in"\n')
    kill_at_points(strace, postern, "mda", CommandRun, many=1)


@pytest.mark.root
@pytest.mark.time_limit(LIMIT)
@pytest.mark.parametrize("protocol", ["smtp", "lmtp"])
def test_nothing_is_lost_wherever_a_relay_dies(strace, make_postern, protocol):  # noqa: F811
    with tempfile.TemporaryDirectory(prefix="lmtp-", dir="/tmp") as folder, Peer(port=None,
            **({"path": f"{folder}/lmtp", "lmtp": True} if protocol == "lmtp" else {})) as peer:
        action = (f'lmtp "{peer.path}" userbase {{ one = 2000:2000:/home, two = 2000:2000:/home }}'
            if protocol == "lmtp" else f'relay host "smtp+notls://{peer.address}:{peer.port}"')
        postern = make_postern(rules=f"""
action "out" {action}
action "in" maildir
match from any for domain <accounts> action "in"
match from any for domain "far.test" action "out"
""", extra="queue retry-first 1s\nqueue retry-max 2s\n")
        kill_at_points(strace, postern, "relay", type("ItsRun", (RelayRun,), {"peer": peer}), many=1)


class OfflineRun(PlacesRun):
    """What is kept by sendmail is sent when there is a server again."""

    def script(self):
        postern = self.postern
        postern.stop()
        for is_large in (False, True):
            self.count += 1
            message = Message(f"k-{self.count}", ["alice@example.test", "bob@example.test"],
                self.generator, is_large)
            self.traffic.note_begun(message)
            sendmail(postern, "-i", "-f", "bounces@example.test", "alice", "bob", user=NOBODY,
                text=message.text.replace(b"\r\n", b"\n"))
            self.traffic.note(message, message.recipients)
        postern.start()
        self.wait(lambda: not list(offline(postern).iterdir()), "all that was kept is sent")

    def take_away(self):
        problems = []
        for name in ("alice", "bob"):
            address = f"{name}@example.test"
            problems += self.take_from(name, self.postern.maildir(address), 2)
            problems += self.missing(name, address)
        return problems


@pytest.mark.root
@pytest.mark.skipif(not STEP, reason="takes minutes: make killsweep")
@pytest.mark.time_limit(LIMIT)
def test_nothing_is_lost_wherever_enqueue_dies(strace, make_postern):  # noqa: F811
    kill_at_points(strace, make_postern(extra=NAMED), "enqueue", OfflineRun)


def test_sendmail_tells_no_lie_wherever_it_dies(make_postern, tool):
    """At each tenth call, or at each: what it said is kept is there, whole, and nothing in part."""
    server = make_postern(extra=NAMED)
    server.stop()
    given = b"Subject: x\n\n" + b"hello\n" * 30000
    trace = server.base / "trace"

    def run(*inject):
        words = [tool("strace"), "-qq", "-o", trace, *inject, program(server), *options(server), "-i",
            "-f", "bob", "alice"]
        return subprocess.run(words, input=given, stderr=subprocess.DEVNULL, timeout=20).returncode
    assert run("-e", "trace=" + ",".join(f"?{call}" for call in EFFECTS)) == 0
    calls = re.findall(r"^(\w+)\(", trace.read_text(), re.MULTILINE)
    (whole,) = offline(server).iterdir()
    seen, sweep = collections.Counter(), []
    for call in calls:
        seen[call] += 1
        sweep.append((call, seen[call]))
    pace = STEP or 10
    killed = 0
    for call, number in sweep[random.Random(SEED).randrange(pace)::pace]:
        before = set(offline(server).iterdir())
        status = run("-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}")
        killed += status != 0
        new = [path for path in set(offline(server).iterdir()) - before if path.name[0] != "."]
        assert len(new) <= 1 and (new or status != 0), (call, number, status)
        for path in new:
            assert path.read_bytes() == whole.read_bytes(), (call, number)
    print(f"sendmail: {killed} kills of {len(sweep)} calls, seed {SEED}")
    assert killed
    left = [path for path in offline(server).iterdir() if path.name[0] != "."]
    server.start()
    wait_for(lambda: not [path for path in offline(server).iterdir() if path.name[0] != "."], 20)
    assert len(server.wait_mail("alice@example.test", len(left))) == len(left)
