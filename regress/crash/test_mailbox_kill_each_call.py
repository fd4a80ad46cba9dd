"""A mailbox's process is killed at its first system call, its second, and so on through the same few
commands of an IMAP client; after each kill every message is where the client was told, once and whole.

As in test_kill_each_call.py, of which KILL_STEP, KILL_POINTS, KILL_CALLS and KILL_SEED are.
"""

import collections
import os
import signal
import time

import pytest

from imap_model import Client, Ended, message
from postern import free_port, wait_for
from test_kill_each_call import SEED, STEP, points, strace  # noqa: F401
from test_mailbox_kills import USER, Books, check


class Run:
    def __init__(self, postern, port, strace):  # noqa: F811
        self.postern, self.port, self.strace = postern, port, strace
        self.books = Books()
        self.count = 0
        self.client = None

    def end_process(self):
        """There is none of the user's any more."""
        for pid in self.postern.pids("mailbox"):
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: pid not in self.postern.pids(), 10, "it is gone")

    def begin(self, options):
        self.end_process()
        self.strace.arm("mailbox", options)
        try:
            try:
                self.client = Client(self.port, USER, self.books.saw)
            except AssertionError as why:  # NO: there is no mailbox to log in to
                raise Ended(str(why)) from why
            self.script()
        finally:
            if self.client is not None:
                self.client.close()
            self.client = None
            self.strace.disarm("mailbox")

    def append(self, *sizes):
        tokens = []
        for _ in sizes:
            self.count += 1
            tokens.append(f"k-{self.count}")
        self.books.places |= {token: {"INBOX", None} for token in tokens}
        self.client.run('APPEND "INBOX"', *[(message(token), "") for token in tokens])
        self.books.places |= {token: {"INBOX"} for token in tokens}

    def to(self, place, uid):
        """Says that it will be there; what to call when it is."""
        token = self.books.uids[self.client.folder.validity, uid]
        self.books.places[token] = {"INBOX", place}
        if place is not None:
            self.books.moving.add(token)

        def done():
            self.books.moving.discard(token)
            self.books.places[token] = {place}
        return done

    def script(self):
        client = self.client
        client.select("INBOX")
        client.ask_tokens()
        if client.folder.known():  # what an earlier round marked is not what CLOSE is for now
            client.run("UID STORE 1:* -FLAGS.SILENT (\\Deleted)")
        self.append(1)
        self.append(1, 1)
        client.run("NOOP")
        client.ask_tokens()
        moved, removed, closed = client.folder.known()[-3:]
        client.run(f"UID STORE {moved} +FLAGS (\\Flagged $Label)")
        done = self.to("Other", moved)
        client.run(f'UID MOVE {moved} "Other"')
        done()
        done = self.to(None, removed)
        client.run(f"UID STORE {removed} +FLAGS (\\Deleted)")
        client.run(f"UID EXPUNGE {removed}")
        done()
        for command in ('CREATE "A"', 'SUBSCRIBE "A"', 'RENAME "A" "B"', 'DELETE "B"'):
            client.run(command, ok=False)  # an earlier round may have come so far
        client.run("UID FETCH 1:* (ENVELOPE BODYSTRUCTURE)")
        done = self.to(None, closed)
        client.run(f"UID STORE {closed} +FLAGS (\\Deleted)")
        client.run("CLOSE")
        done()
        try:
            client.run("LOGOUT")
        except Ended:  # the BYE that it asked for
            pass

    def logs_in(self):
        try:
            Client(self.port, USER).close()
            return True
        except (OSError, Ended, AssertionError):
            return False

    def check(self):
        self.end_process()
        wait_for(self.logs_in, 10, "logins work")
        check(self.port, self.books, self.postern.maildir(USER))


@pytest.mark.time_limit(3600 if STEP else 120)
def test_no_mail_is_lost_wherever_a_mailbox_process_dies(strace, make_postern):  # noqa: F811
    port = free_port()
    postern = make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext\n")
    postern.stage = strace.stage
    postern.restart()
    postern.allow(r"child-\w+.*program=mailbox")
    run = Run(postern, port, strace)
    Client(port, USER).run('CREATE "Other"')
    run.begin([])
    run.check()
    calls = strace.calls()
    assert "recvmsg" in calls, f"it wasn't traced\n{postern.log_tail()}"
    began = time.monotonic()
    hit, missed = collections.Counter(), 0
    left = points("queue", calls, calls.index("recvmsg"))[::-1]
    while left:
        call, number, least = left.pop()
        at = f"mailbox killed at {call} number {number}, seed {SEED}"
        try:
            try:
                run.begin(["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"])
                is_cut = False
            except (OSError, Ended):
                is_cut = True
            run.check()
        except AssertionError as why:
            raise AssertionError(f"{at}: {why}\n{postern.log_tail()}") from why
        if strace.has_killed():
            hit[call] += 1
        else:
            assert not is_cut, f"{at}: cut off without a kill\n{postern.log_tail()}"
            missed += 1
            if not STEP and number > least:
                left.append((call, (number + least) // 2, least))
    print(f"mailbox: {hit.total()} kills, {missed} runs ended before, in "
        f"{time.monotonic() - began:.0f} s, seed {SEED}: "
        f"{', '.join(f'{call} {count}' for call, count in hit.most_common())}; "
        f"{sum(None not in places for places in run.books.places.values())} messages kept")
    assert hit, "nothing was killed"
