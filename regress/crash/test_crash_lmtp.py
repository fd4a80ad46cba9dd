"""Processes are killed at random while mail flows to another program's mailboxes by LMTP; every
acknowledged message reaches each of its recipients, whole. It may come twice where the reply to its text
was lost, and never more often than there were deaths.

CRASH_KILLS, CRASH_SEED: as in test_crash.py; a third of the kills."""

import collections
import hashlib
import random
import re
import tempfile
import time

import pytest

from smtp_peer import Peer
from test_crash import KILLS, SEED, check_spool, kill_one, settle
from traffic import Traffic

USERS = [f"user{number}@users.test" for number in range(6)]
TARGETS = ["relay"] * 5 + ["queue"] * 3 + ["listener", "directory", "supervisor", "everything"]


@pytest.mark.root
@pytest.mark.time_limit(120 + 5 * KILLS)
def test_no_acknowledged_message_is_lost_on_its_way_by_lmtp(make_postern):
    generator = random.Random(SEED)
    kills = max(3, KILLS // 3)
    with tempfile.TemporaryDirectory(prefix="lmtp-", dir="/tmp") as folder, \
            Peer(path=f"{folder}/lmtp", lmtp=True) as peer:
        owners = ", ".join(f"{user.split('@')[0]} = 2000:2000:/home" for user in USERS)
        postern = make_postern(rules=f"""
action "in" lmtp "{folder}/lmtp" userbase {{ {owners} }}
action "own" maildir virtual <accounts>
match from any for domain "users.test" action "in"
match from any for domain <accounts> action "own"
""", extra="queue retry-first 1s\nqueue retry-max 2s\n")
        postern.add_user("bounces@example.test")
        traffic = Traffic(postern, USERS, "bounces@example.test", SEED, senders=3)
        traffic.start()
        done = collections.Counter()
        try:
            assert traffic.wait_acknowledged(20, 20), "mail flows before the first kill"
            while sum(done.values()) < kills:
                target = generator.choice(TARGETS)
                if kill_one(postern, generator, target):
                    done[target] += 1
                postern.wait_ready()
                assert traffic.wait_acknowledged(generator.randrange(5, 40), 60), (
                    f"no mail is taken after {done}\n{traffic.replies} {traffic.failures}\n"
                    f"{postern.log_tail()}")
                time.sleep(generator.random() * 0.05)
        finally:
            traffic.stop()
        settle(postern)
        report = f"seed {SEED}: {dict(done)}, {len(traffic.acknowledged)} acknowledged"
        problems = check(traffic, peer.messages, kills)
        assert not traffic.wrong, (report, traffic.wrong[:10])
        assert not problems, "\n".join([report, f"{len(problems)} problems:"] + problems[:20])
        assert not postern.mails("bounces@example.test"), report
        check_spool(postern)


def check(traffic, messages, kills):
    """What is wrong with what the other program has got."""
    problems = []
    found = collections.Counter()
    for message in messages:
        header, _, body = message.data.replace(b"\r\n", b"\n").partition(b"\n\n")
        token = re.search(rb"^X-Token: (\S+)$", header, re.MULTILINE).group(1).decode()
        checksum, recipients = traffic.begun[token]
        if hashlib.sha256(body).hexdigest() != checksum:
            problems.append(f"{token} is torn")
        for name in message.recipients:
            found[token, f"{name}@users.test"] += 1
            if f"{name}@users.test" not in recipients:
                problems.append(f"{token} isn't for {name}")
    for (token, address), count in found.items():
        if count > 1 + kills:
            problems.append(f"{token} came {count} times for {address}")
    for token, recipients in traffic.acknowledged.items():
        for address in recipients:
            if found[token, address] == 0:
                problems.append(f"{token} was acknowledged and isn't there for {address}")
    return problems
