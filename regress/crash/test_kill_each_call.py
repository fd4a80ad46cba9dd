"""One process after the other is killed at its first system call, its second, and so on through the
same few messages; after each kill everything acknowledged is accounted for.

The programs are started by way of a script that runs them under strace when it is asked to: strace
counts their calls and sends SIGKILL when the call in question is entered, which then isn't made.
What comes before a program reads its configuration (the loader, mostly) is left out.

KILL_STEP    at every KILL_STEP-th call (1: `make killsweep`, which takes some minutes a program);
             unset: at KILL_POINTS calls
KILL_POINTS  how many (2; of those that keep mail, queue and mda, twice as many)
KILL_CALLS   "all": at those without an effect, too
KILL_SEED    where to begin; printed
"""

import collections
import hashlib
import os
import pathlib
import random
import re
import shutil
import signal
import smtplib
import subprocess
import tempfile
import time

import pytest

from postern import is_root, message_id, wait_for
from test_crash import check_spool, is_settled
from traffic import Message, Traffic, mbox_mails

STEP = int(os.environ.get("KILL_STEP", "0"))
POINTS = int(os.environ.get("KILL_POINTS", "2"))
ALL_CALLS = os.environ.get("KILL_CALLS") == "all"
SEED = os.environ.get("KILL_SEED") or str(random.SystemRandom().getrandbits(32))
# Calls that change what others see (files, names, words to other processes), or take words in.
EFFECTS = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "fsync", "fdatasync", "syncfs",
    "rename", "renameat", "renameat2", "link", "linkat", "unlink", "unlinkat", "open", "openat",
    "ftruncate", "fallocate", "mkdir", "mkdirat", "sendmsg", "sendto", "accept4", "clone",
    "clone3", "vfork", "socketpair", "memfd_create", "recvmsg", "recvfrom", "kill",
    "bind", "listen", "chmod", "fchmod", "chown", "fchown", "wait4")
USERS = [f"{name}@example.test" for name in ("alice", "bob")]
RULES = """
action "in" maildir pipes
match from any for domain <accounts> action "in"
"""
WRAPPER = """#!/bin/sh
# Under strace, with the options in a file of the program's name, where there is one.
if mv '{control}'/${{0##*/}} '{control}/taken' 2>/dev/null; then
	exec strace -DDD -o '{control}/trace' $(cat '{control}/taken') '{real}'/${{0##*/}} "$@"
fi
exec '{real}'/${{0##*/}} "$@"
"""


class Strace:
    """The programs of a stage, with strace before them."""

    def __init__(self, stage, base):
        self.stage = base / "stage"
        self.control = base / "control"
        self.trace = self.control / "trace"
        subprocess.run(["cp", "-a", stage, self.stage], check=True)
        self.control.mkdir()
        self.control.chmod(0o777)  # some are started as a user already
        libexec = self.stage / "usr/libexec/postern"
        real = base / "real"
        libexec.rename(real)
        libexec.mkdir()
        for program in real.iterdir():
            script = libexec / program.name
            script.write_text(WRAPPER.format(control=self.control, real=real))
            script.chmod(0o755)

    def arm(self, program, options):
        """The next `program` that starts has these options of strace."""
        self.trace.unlink(missing_ok=True)
        (self.control / "new").write_text(" ".join(options))
        (self.control / "new").rename(self.control / program)

    def disarm(self, program):
        (self.control / program).unlink(missing_ok=True)

    def calls(self):
        """The names of the calls traced, in order; what ended the program is no call."""
        text = self.trace.read_text(errors="replace") if self.trace.exists() else ""
        return re.findall(r"^(\w+)\(", text, re.MULTILINE)

    def has_killed(self):
        return self.trace.exists() and "+++ killed by SIGKILL +++" in self.trace.read_text(
            errors="replace")[-200:]


@pytest.fixture(scope="module")
def strace(stage):
    if shutil.which("strace") is None:
        pytest.skip("strace isn't installed (make test-deps)")
    with tempfile.TemporaryDirectory(prefix="postern-strace-", dir="/tmp") as base:
        os.chmod(base, 0o755)
        yield Strace(stage, pathlib.Path(base))


class Run:
    """An instance, what is sent through it, and what has arrived."""

    def __init__(self, postern, generator):
        self.postern = postern
        self.generator = generator
        self.count = 0
        self.traffic = Traffic(postern, USERS, "bounces@example.test", SEED, senders=0)
        self.found = collections.Counter()   # in Maildirs, of all rounds
        self.piped = collections.Counter()   # taken by a command
        self.bounced = collections.Counter() # come back
        self.expected = {"piped": set(), "bounced": set()}
        self.client = None
        self.words = ""  # of the last reply to a message
        self.may_cut = False  # sessions end when their listener does
        self.out = postern.base / "out"

    def prepare(self):
        postern = self.postern
        self.out.mkdir()
        if is_root():
            shutil.chown(self.out, "_vmail", "_vmail")
        script = postern.base / "take"
        # Whole or not at all; later@ is told to come again while there is a file that says so.
        script.write_text(f"""#!/bin/sh
if [ "$RECIPIENT" = later@example.test ] && [ -e '{self.out}/later' ]; then
	: >'{self.out}/tried'
	exit 75
fi
new=$(mktemp '{self.out}/new.XXXXXX') && cat >"$new" && mv "$new" "$new.whole"
""")
        script.chmod(0o755)
        for name in ("bounces", "full"):
            postern.add_user(f"{name}@example.test")
        postern.add_alias("pipe@example.test", f"|{script}")
        postern.add_alias("later@example.test", f"|{script}")
        postern.add_alias("gone@example.test", "|exit 67")
        postern.smtpctl("user", "quota", "full@example.test", "1G", "1")
        postern.send("full@example.test")
        wait_for(lambda: self.arrived("full@example.test"), 20)

    def close(self):
        if self.client is not None:
            self.client.close()
        self.client = None

    def attempt(self, message):
        """None when it was cut off, else the code that decided."""
        try:
            if self.client is None:
                self.client = self.postern.smtp(timeout=40)
                self.client.ehlo()
            code, words = self.client.mail(self.traffic.sender)
            for recipient in message.recipients:
                if code == 250:
                    code, words = self.client.rcpt(recipient)
            if code == 250:
                code, words = self.client.data(message.text)
                self.words = words.decode()
            if code != 250:
                self.traffic.note_reply(code, words)
                self.client.rset()
            return code
        except smtplib.SMTPResponseException as why:
            self.traffic.note_failure(why)
            self.close()
            return why.smtp_code
        except (OSError, smtplib.SMTPException) as why:
            self.traffic.note_failure(why)
            self.close()
            return None

    def wait(self, condition, what):
        """As wait_for(); starts the suite again when its supervisor has been killed."""
        def met():
            postern = self.postern
            if postern.process.poll() is not None:
                assert self.may_cut, f"smtpd has ended\n{postern.log_tail()}"
                self.close()
                assert postern.ended() == -signal.SIGKILL, postern.log_tail()
                postern.wrapper = []
                postern.start()
            return condition()
        try:
            return wait_for(met, 60, what)
        except AssertionError as why:
            raise AssertionError(f"{why}\n{self.postern.log_tail()}") from why

    def send(self, *recipients, is_large=False, kind=None):
        """Sends until it is taken, each time another message."""
        def taken():
            self.count += 1
            message = Message(f"k-{self.count}", list(recipients), self.generator, is_large,
                self.traffic.fields)
            self.traffic.note_begun(message)
            code = self.attempt(message)
            assert code is not None or self.may_cut, (
                f"a session was cut off\n{self.postern.log_tail()}")
            if code == 250 and kind is None:
                self.traffic.note(message, recipients)
            elif code == 250:
                self.expected[kind].add(message.token)
            return code == 250
        self.wait(taken, f"mail for {recipients} is taken")

    def before(self):
        """What is in the spool when the program in question starts."""
        self.postern.smtpctl("pause", "mda")
        self.send("alice@example.test")
        self.send("pipe@example.test", kind="piped")

    def script(self):
        (self.out / "tried").unlink(missing_ok=True)
        (self.out / "later").touch()
        self.resume()
        self.send("alice@example.test")
        self.send("later@example.test", kind="piped")
        self.send("alice@example.test", "bob@example.test")
        self.send("gone@example.test", kind="bounced")
        self.send("bob@example.test", is_large=True)
        self.send("pipe@example.test", kind="piped")
        self.refused("full@example.test")
        self.close()

    def resume(self):
        self.wait(lambda: self.postern.smtpctl("resume", "mda", check=False).returncode == 0,
            "control answers")

    def refused(self, address):
        """Over quota. While nobody can say so it may be taken; then it waits, and is removed."""
        message = Message("refused", [address], self.generator, False)
        code = self.attempt(message)
        assert self.may_cut if code is None else code == 250 or 400 <= code <= 499, code
        if code == 250:
            self.wait(lambda: self.postern.smtpctl("remove", message_id(self.words),
                check=False).returncode == 0, "control answers")

    def tried_later(self):
        """The deferred one was tried (or never will be before it is asked for)."""
        def tried():
            self.postern.smtpctl("schedule", "all", check=False)
            return (self.out / "tried").exists()
        self.wait(tried, "later@ was tried")
        (self.out / "later").unlink()

    def arrived(self, address):
        return self.postern.mails(address)

    def take_away(self):
        """Takes what has arrived into the books. What is wrong with it."""
        mails = {address: self.arrived(address) for address in USERS}
        problems = self.traffic.account(mails, self.found)
        bounces = self.arrived("bounces@example.test")
        for mail in bounces:
            token = re.search(rb"^X-Token: (\S+)\r?$", mail.data, re.MULTILINE)
            if token:
                self.bounced[token.group(1).decode()] += 1
            else:
                problems.append(f"a bounce without its message's header: {mail.data}")
        for path in self.out.glob("*.whole"):
            problems += self.took(path)
            path.unlink()
        # The next round makes its mailboxes anew, as the first did.
        for address in USERS + ["bounces@example.test"]:
            shutil.rmtree(self.postern.maildir(address), ignore_errors=True)
        return problems + self.check_books()

    def took(self, path):
        head, _, body = path.read_bytes().partition(b"\n\n")
        token = re.search(rb"^X-Token: (\S+)$", head, re.MULTILINE).group(1).decode()
        self.piped[token] += 1
        whole = hashlib.sha256(body).hexdigest() == self.traffic.begun[token][0]
        return [] if whole else [f"{token} was piped in part"]

    def work_for_the_supervisor(self):
        """A child that died and a new configuration, which changes nothing."""
        def killed():
            pids = self.postern.pids("directory")
            if pids:
                os.kill(pids[0], signal.SIGKILL)
            return pids
        self.wait(killed, "there is a directory")
        self.postern.smtpctl("reload", check=False)

    def check_books(self):
        """A command may get its message twice, and a bounce come twice, after a kill."""
        problems = []
        for kind, got in (("piped", self.piped), ("bounced", self.bounced)):
            problems += [f"{token} was acknowledged and is not {kind}"
                for token in self.expected[kind] if got[token] == 0]
            problems += [f"{token} is {kind} {count} times" for token, count in got.items()
                if count > 2]
        return problems


class BoxRun(Run):
    """The same with mbox files, whose quotas don't count messages."""

    def prepare(self):
        super().prepare()
        self.postern.smtpctl("user", "quota", "full@example.test", "1")

    def arrived(self, address):
        return mbox_mails(self.postern.maildir(address) / "mbox")


def learn(run, strace, program):
    """The calls of a run that nothing disturbs, and how many come before its own work."""
    begin(run, strace, program, [])
    finish(run)
    calls = strace.calls()
    untrace(run.postern)
    # The first word from the supervisor; what comes before smtpd's umask() is reading files, and
    # enqueue is told all that it needs.
    first = {"smtpd": "umask", "enqueue": "prctl"}.get(program, "recvmsg")
    assert first in calls, f"{program} wasn't traced\n{run.postern.log_tail()}"
    return calls, calls.index(first)


def begin(run, strace, program, options):
    """Has the program in question start once more, under strace, and sends mail."""
    postern = run.postern
    run.before()
    if program == "smtpd":
        strace.trace.unlink(missing_ok=True)
        run.close()
        postern.stop()
        postern.wrapper = ["strace", "-DDD", "-o", str(strace.trace), *options]
        postern.start(ready=False)
        run.script()
        run.work_for_the_supervisor()
        return
    strace.arm(program, options)
    if program in ("mda", "enqueue"):
        run.script()
        return
    stopped = []
    if program == "listener":
        stopped = postern.pids(program)[1:]
        # All sessions come to the one that is traced.
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        run.close()
    postern.kill(program)
    wait_for(lambda: not (strace.control / program).exists(), 10, f"{program} starts again")
    try:
        run.script()
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)


def finish(run):
    run.tried_later()
    run.wait(lambda: is_settled(run.postern), "the queue is empty")


def untrace(postern):
    """A supervisor that is traced still would meet its end while it stops."""
    if postern.wrapper:
        postern.crash()
        postern.wrapper = []
        postern.start()


def points(program, calls, first, many=None):
    """What to kill at: (call, how manieth of its name, the least that this can be). Calls that
    tell others nothing are left out unless they are asked for: a kill there is one before."""
    seen = collections.Counter()
    before = collections.Counter(calls[:first])
    found = []
    for place, call in enumerate(calls):
        seen[call] += 1
        if place >= first and (call in EFFECTS or ALL_CALLS):
            found.append((call, seen[call], before[call] + 1))
    many = many or (POINTS * 2 if program in ("queue", "mda") else POINTS)
    pace = STEP or max(len(found) // many, 1)
    return found[random.Random(SEED).randrange(pace)::pace]


@pytest.mark.time_limit(3600 if STEP else 120)
@pytest.mark.parametrize("program", ["queue", "mda", "listener", "directory", "resolver", "control",
    "smtpd"])
def test_nothing_is_lost_wherever_a_program_dies(strace, make_postern, program):
    kill_at_points(strace, make_postern(rules=RULES), program, Run)


@pytest.mark.time_limit(3600 if STEP else 120)
def test_nothing_is_lost_wherever_an_mda_with_mbox_files_dies(strace, make_postern):
    kill_at_points(strace, make_postern(rules=RULES.replace("maildir", "mbox")), "mda", BoxRun)


def kill_at_points(strace, postern, program, kind, many=None):
    postern.stage = strace.stage
    postern.restart()
    # What dies with it, and in smtpd's case what it is given to do.
    postern.allow(rf"child-\w+.*program=({program}|{'directory' if program == 'smtpd' else 'mda'})")
    run = kind(postern, random.Random(SEED))
    run.prepare()
    run.may_cut = program in ("listener", "smtpd")
    postern.restart()
    calls, first = learn(run, strace, program)
    problems = run.take_away()
    assert not problems, problems
    began = time.monotonic()
    hit = collections.Counter()
    missed = 0
    left = points(program, calls, first, many)[::-1]
    while left:
        call, number, least = left.pop()
        postern.restart()
        at = f"{program} killed at {call} number {number}, seed {SEED}"
        try:
            begin(run, strace, program, ["-e", f"trace={call}", "-e",
                f"inject={call}:signal=SIGKILL:when={number}"])
            finish(run)
            problems = run.take_away()
        except AssertionError as why:
            raise AssertionError(f"{at}: {why}\n{postern.log_tail()}") from why
        strace.disarm(program)
        is_killed = strace.has_killed()
        untrace(postern)
        if is_killed:
            hit[call] += 1
            if hit.total() % 50 == 0:
                print(f"{program}: {hit.total()} kills, {len(left)} to go", flush=True)
        else:
            missed += 1
            # This run had fewer calls than the first. A sweep has been at those before.
            if not STEP and number > least:
                left.append((call, (number + least) // 2, least))
        assert not problems, "\n".join([at] + problems[:20])
        assert not run.traffic.wrong, (at, run.traffic.wrong[:5])
    print(f"{program}: {hit.total()} kills, {missed} runs ended before, in "
        f"{time.monotonic() - began:.0f} s, seed {SEED}: "
        f"{', '.join(f'{call} {count}' for call, count in hit.most_common())}; "
        f"{len(run.traffic.acknowledged) + sum(map(len, run.expected.values()))} acknowledged, "
        f"{sum(1 for n in (run.piped + run.bounced).values() if n > 1)} came twice to a command "
        f"or as a bounce, replies {dict(run.traffic.replies)}")
    assert hit, "nothing was killed"
    check_spool(postern)
