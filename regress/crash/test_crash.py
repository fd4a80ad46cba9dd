"""Processes are killed at random while mail flows; then every acknowledged message is accounted for.

CRASH_KILLS    how many kills (20)
CRASH_SEED     the random numbers to use, as a failure names them; the moments still differ
"""

import os
import random
import signal
import subprocess
import time

import pytest

from postern import wait_for
from traffic import Traffic, mbox_mails

KILLS = int(os.environ.get("CRASH_KILLS", "20"))
SEED = os.environ.get("CRASH_SEED") or str(random.SystemRandom().getrandbits(32))
USERS = [f"user{number}@example.test" for number in range(8)]
BOXES = [f"user{number}@box.test" for number in range(2)]
RULES = """
action "in" maildir
action "box" mbox
match from any for domain "box.test" action "box"
match from any for domain <accounts> action "in"
"""
# What dies: a process of the suite, the supervisor, or everything at once as at a power cut.
TARGETS = (["listener", "queue", "mda"] * 4 + ["directory"] * 2 + ["resolver", "control"] +
    ["supervisor", "everything"])


def kill_one(postern, generator, target):
    """Kills; True when there was something to kill."""
    if target == "everything":
        postern.crash()
        postern.start(ready=False)
        return True
    if target == "supervisor":
        postern.kill("smtpd")
        postern.ended()
        postern.start(ready=False)
        return True
    pids = postern.pids(target)
    if not pids:
        return False
    try:
        postern.kill(target, signal.SIGKILL, generator.randrange(len(pids)))
    except (ProcessLookupError, IndexError):
        # An mda that ended by itself, or a process that isn't back yet.
        return False
    return True


def is_settled(postern):
    """True when the queue is empty; all that is in it is tried at once."""
    if postern.smtpctl("schedule", "all", check=False).returncode != 0:
        return False
    result = postern.smtpctl("show", "queue", check=False)
    return result.returncode == 0 and not result.stdout


def settle(postern):
    """Everything that is queued is tried at once until the queue is empty."""
    try:
        wait_for(lambda: is_settled(postern), 90, "the queue is empty")
    except AssertionError as why:
        left = postern.smtpctl("show", "queue", check=False)
        raise AssertionError(f"{why}\n{left.stdout[:5000]}{left.stderr}{postern.log_tail()}") from why


@pytest.mark.time_limit(120 + 10 * KILLS)
def test_no_acknowledged_message_is_lost_torn_or_doubled(make_postern):
    generator = random.Random(SEED)
    postern = make_postern(rules=RULES)
    postern.add_domain("box.test")
    for address in USERS + BOXES:
        postern.add_user(address)
    # Where bounces would go: nothing here is undeliverable.
    postern.add_user("bounces@example.test")
    postern.allow(r"child-\w+.*program=mda")
    traffic = Traffic(postern, USERS + BOXES, "bounces@example.test", SEED)
    traffic.start()
    done = {}
    starting = False
    began = time.monotonic()
    try:
        assert traffic.wait_acknowledged(20, 20), "mail flows before the first kill"
        while sum(done.values()) < KILLS:
            # Half of the time it all dies again while it is starting and reading its spool. A child
            # that dies then ends a start in good order, which is no crash.
            if starting and generator.random() < 0.5:
                target = "everything"
            else:
                target = generator.choice(TARGETS)
            if starting and target not in ("everything", "supervisor"):
                postern.wait_ready()
            starting = target in ("everything", "supervisor")
            if kill_one(postern, generator, target):
                done[target] = done.get(target, 0) + 1
            # Now and then the next one dies before the last is back.
            if generator.random() < (0.5 if starting else 0.75):
                assert traffic.wait_acknowledged(generator.randrange(1, 40), 60), (
                    f"no mail is taken after {done}\n{traffic.replies} {traffic.failures}\n"
                    f"{postern.log_tail()}")
            # Any moment will do.
            time.sleep(generator.random() * 0.05)
        postern.wait_ready()
        assert traffic.wait_acknowledged(20, 30), "mail flows after the last kill"
    finally:
        traffic.stop()
    flowing = time.monotonic() - began
    settle(postern)
    mails = {address: postern.mails(address) for address in USERS}
    mails |= {address: mbox_mails(postern.maildir(address) / "mbox") for address in BOXES}
    problems = traffic.account(mails)
    report = (f"seed {SEED}: {done}, {len(traffic.acknowledged)} acknowledged of "
        f"{len(traffic.begun)} in {flowing:.0f} s, replies {dict(traffic.replies)}, "
        f"failures {dict(traffic.failures)}")
    print(report)
    assert not traffic.wrong, (report, traffic.wrong[:10])
    assert not problems, "\n".join([report, f"{len(problems)} problems:"] + problems[:20])
    assert not postern.mails("bounces@example.test"), report
    assert "quarantine" not in postern.log_file.read_text(errors="replace").lower(), report
    check_spool(postern)


def check_spool(postern):
    """The spool that all this left behind is sound."""
    postern.stop()
    words = [str(postern.stage / "usr/sbin/smtpctl"), "spool", "check", str(postern.spool)]
    result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=60, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
