"""Processes are killed while mail flows to users of the system who forward to each other: what was
acknowledged is there, once, where the .forward files say."""

import os
import random
import time

import pytest

from postern import wait_for
from system_users import Users
from test_crash import SEED, check_spool, kill_one, settle
from traffic import Traffic

KILLS = max(5, int(os.environ.get("CRASH_KILLS", "20")) // 4)
TARGETS = ("mda", "mda", "queue", "directory", "listener", "everything")
RULES = """
action "local" maildir
match from any for domain "example.test" action "local"
"""


@pytest.fixture
def users(make_postern):
    postern = make_postern(rules=RULES, accounts=False)
    homes = postern.base / "homes"
    homes.mkdir(mode=0o755)
    users = Users(homes)
    users.postern = postern
    try:
        yield users
    finally:
        postern.stop()
        users.clear()


@pytest.mark.root
@pytest.mark.time_limit(120 + 10 * KILLS)
def test_what_is_forwarded_is_neither_lost_nor_doubled(users):
    generator = random.Random(SEED)
    postern = users.postern
    postern.allow(r"child-\w+.*program=mda")
    names = [users.add(short) for short in "abcd"]
    # Theirs goes to the next; the last keeps his own.
    users.write(names[0], names[1])
    users.write(names[1], f"# onwards\n{names[2]}@example.test\n")
    users.write(names[2], f"\\{names[3]}")
    addresses = [f"{name}@example.test" for name in (names[0], names[3])]
    wait_for(lambda: postern.smtpctl("explain", "--to", addresses[0]).stdout.count(names[3]) > 0)
    # Both end in one mailbox: each message is for one of them.
    traffic = [Traffic(postern, [address], "sender@client.test", f"{SEED} {address}", senders=2)
        for address in addresses]
    for index, each in enumerate(traffic):
        for sender in each.senders:
            sender.number = f"{index}.{sender.number}"
        each.start()
    kills = 0
    try:
        assert all(each.wait_acknowledged(5, 30) for each in traffic), postern.log_tail()
        while kills < KILLS:
            kills += kill_one(postern, generator, generator.choice(TARGETS))
            assert all(each.wait_acknowledged(3, 60) for each in traffic), postern.log_tail()
            # Any moment will do.
            time.sleep(generator.random() * 0.05)
        postern.wait_ready()
    finally:
        for each in traffic:
            each.stop()
    settle(postern)
    mails = postern.mails(users.box(names[3]))
    for index, each in enumerate(traffic):
        own = [mail for mail in mails if mail.message["X-Token"].startswith(f"{index}.")]
        assert not each.wrong, each.wrong[:10]
        problems = each.account({addresses[index]: own})
        assert not problems, "\n".join([f"seed {SEED}"] + problems[:20])
        assert len(own) >= len(each.acknowledged)
    assert not any(users.box(name).exists() for name in names[:3])
    check_spool(postern)
