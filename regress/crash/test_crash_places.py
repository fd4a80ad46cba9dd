"""Processes are killed at random while mail flows to each kind of place there is; afterwards every
acknowledged message is at each place that its recipients lead to, whole: once in Maildirs and mbox files, at
least once where its taking can't be one with our recording it (commands, other servers, what a script
sends on), and no more often than there were deaths.

	script@example.test   a Sieve script: into a folder, on to kept@example.test, a reply to the sender
	pipe@example.test     an alias that is a command
	list@local.test       an alias that is a list in a file: a user with a Maildir, and one whose .forward
	                      leads to another, whose .forward leads to another host, with SRS
	NAME@box.test         a user of the system with an mbox file in /var/mail
	NAME@run.test         an action with a command
	NAME@local.test       a user whose .forward names a file in his home
	NAME@wrap.test        a wrapper around an action that stores into a Maildir
	near@near.test        an LMTP server

CRASH_KILLS, CRASH_SEED: as in test_crash.py; half of the kills."""

import collections
import hashlib
import pathlib
import random
import re
import tempfile
import time

import pytest

from postern import wait_for
from smtp_peer import Peer
from system_users import Users
from test_crash import KILLS, SEED, check_spool, kill_one, settle
from test_sieve import set_script
from traffic import Traffic, mbox_mails

TARGETS = (["mda"] * 5 + ["relay"] * 4 + ["queue"] * 4 +
    ["listener", "directory", "supervisor", "everything", "everything"])
RULES = """
table aliases file:@BASE@/aliases
action "in" maildir pipes
action "local" maildir alias <aliases>
action "box" mbox
action "run" mda "@BASE@/take run"
mda wrapper "filter" "sed '1iX-Filtered: yes' | %{{mda}}"
action "wrap" maildir "~/filtered" wrapper "filter"
action "near" lmtp "{lmtp}" userbase {{ near = 2000:2000:/home }}
action "out" relay host "smtp+notls://{far.address}:{far.port}" srs
match from any for domain "local.test" action "local"
match from any for domain "box.test" action "box"
match from any for domain "run.test" action "run"
match from any for domain "wrap.test" action "wrap"
match from any for domain "near.test" action "near"
match from any for domain <accounts> action "in"
match for any action "out"
"""
# Whole or not at all.
TAKE = """#!/bin/sh
new=$(mktemp '{out}/new.XXXXXX') && cat >"$new" && mv "$new" "$new.$1"
"""
SCRIPT = """require ["fileinto", "mailbox", "vacation", "copy"];
fileinto :create "Lists";
redirect :copy "kept@example.test";
vacation :subject "Away" "I am away.";
"""


class Site:
    """An instance with all of those places, and what has come there."""

    def __init__(self, make_postern, far, lmtp):
        self.far = far
        self.near = lmtp
        self.postern = postern = make_postern(start=False, rules=RULES.format(far=far, lmtp=lmtp.path),
            extra='srs key "secret"\nqueue retry-first 1s\nqueue retry-max 2s\n')
        self.out = postern.base / "out"
        self.out.mkdir()
        self.out.chmod(0o1777)
        homes = postern.base / "homes"
        homes.mkdir(mode=0o755)
        self.users = Users(homes)

    def prepare(self):
        postern, users = self.postern, self.users
        names = [users.add(short) for short in "abcdefg"]
        self.keeper, via, leads_on, self.box, self.runner, self.wrapped, saver = names
        saved = users.home(saver) / "saved"
        users.write(saver, str(saved))
        users.write(via, f"# onwards\n{leads_on}@local.test\n")
        users.write(leads_on, "away@far.test")
        for name, text in (("list", f"{self.keeper}\n{via}\n"),
                ("aliases", f"list: :include:{postern.base}/list\n"),
                ("take", TAKE.format(out=self.out))):
            (postern.base / name).write_text(text)
            (postern.base / name).chmod(0o755 if name == "take" else 0o644)
        postern.start()
        postern.add_domain("example.test")
        for name in ("script", "kept", "sender"):
            postern.add_user(f"{name}@example.test")
        postern.add_alias("pipe@example.test", f"|{postern.base}/take pipe")
        set_script(postern, "script@example.test", SCRIPT)
        list_to = "list@local.test"
        # Who is written to: [(the place, what it has, the most that one message may be there)].
        self.places = {
            "script@example.test": [
                ("script's folder", self.maildir("script@example.test", ".Lists"), 1),
                ("where script sends it on", self.maildir("kept@example.test"), 99)],
            "pipe@example.test": [("the alias's command", self.files("pipe"), 99)],
            list_to: [
                ("a user's Maildir", lambda: self.read(users.box(self.keeper)), 1),
                ("the other host", lambda: [m.data for m in self.far.messages], 99)],
            f"{self.box}@box.test": [("the mbox file",
                lambda: self.mbox(pathlib.Path("/var/mail") / self.box), 1)],
            f"{saver}@local.test": [("the .forward's file", lambda: self.mbox(saved), 1)],
            f"{self.runner}@run.test": [("the action's command", self.files("run"), 99)],
            f"{self.wrapped}@wrap.test": [("the Maildir behind a wrapper",
                lambda: self.read(users.home(self.wrapped) / "filtered"), 1)],
            "near@near.test": [("the LMTP server", lambda: [m.data for m in self.near.messages], 99)],
        }

    def read(self, path):
        return [mail.data for mail in self.postern.mails(path)]

    def maildir(self, address, folder=""):
        return lambda: self.read(self.postern.maildir(address) / folder)

    def files(self, kind):
        return lambda: [path.read_bytes() for path in self.out.glob(f"new.*.{kind}")]

    @staticmethod
    def mbox(path):
        return [mail.data for mail in mbox_mails(path)]

    def clear(self):
        self.postern.stop()
        for name in self.users.made.values():
            pathlib.Path("/var/mail", name).unlink(missing_ok=True)
        self.users.clear()

    def problems(self, traffic, deaths):
        found = []
        for address, places in self.places.items():
            for place, read, most in places:
                found += self.look(traffic, address, place, read(), min(most, 1 + deaths))
        return found

    @staticmethod
    def look(traffic, address, place, texts, most):
        count = collections.Counter()
        for text in texts:
            header, _, body = text.replace(b"\r\n", b"\n").partition(b"\n\n")
            token = re.search(rb"^X-Token: (\S+)$", header, re.MULTILINE)[1].decode()
            checksum, recipients = traffic.begun[token]
            count[token] += 1
            if hashlib.sha256(body).hexdigest() != checksum:
                yield f"{token} is torn: {place}"
            if address not in recipients:
                yield f"{token} isn't for {place}"
        for token, number in count.items():
            if number > most:
                yield f"{token} came {number} times: {place}"
        for token, recipients in traffic.acknowledged.items():
            if address in recipients and count[token] == 0:
                yield f"{token} was acknowledged and isn't there: {place}"


@pytest.fixture
def site(make_postern):
    with tempfile.TemporaryDirectory(prefix="lmtp-", dir="/tmp") as folder, Peer(port=None) as far, \
            Peer(path=f"{folder}/lmtp", lmtp=True) as lmtp:
        made = Site(make_postern, far, lmtp)
        try:
            made.prepare()
            yield made
        finally:
            made.clear()


@pytest.mark.root
@pytest.mark.time_limit(120 + 5 * KILLS)
def test_each_place_gets_what_was_acknowledged(site):
    generator = random.Random(SEED)
    postern = site.postern
    postern.allow(r"child-\w+.*program=mda")
    traffic = Traffic(postern, list(site.places), "sender@example.test", SEED, senders=4,
        fields="To: script@example.test\r\n")
    kills = max(5, KILLS // 2)
    done = collections.Counter()
    traffic.start()
    try:
        assert traffic.wait_acknowledged(20, 20), "mail flows before the first kill"
        while sum(done.values()) < kills:
            target = generator.choice(TARGETS)
            if kill_one(postern, generator, target):
                done[target] += 1
            assert traffic.wait_acknowledged(generator.randrange(5, 40), 60), (
                f"no mail is taken after {done}\n{traffic.replies} {traffic.failures}\n"
                f"{postern.log_tail()}")
            # Any moment will do.
            time.sleep(generator.random() * 0.05)
        postern.wait_ready()
    finally:
        traffic.stop()
    settle(postern)
    wait_for(lambda: not postern.queue(), what="what came of the last is gone, too")
    report = f"seed {SEED}: {dict(done)}, {len(traffic.acknowledged)} acknowledged"
    print(report)
    assert not traffic.wrong, (report, traffic.wrong[:10])
    problems = site.problems(traffic, kills)
    assert not problems, "\n".join([report, f"{len(problems)} problems:"] + problems[:20])
    assert all(message.sender.startswith("SRS0=") for message in site.far.messages), report
    replies = postern.mails("sender@example.test")
    assert {str(mail.message["Subject"]) for mail in replies} == {"Away"}, "nothing has come back"
    assert 1 <= len(replies) <= 1 + kills, report
    check_spool(postern)
