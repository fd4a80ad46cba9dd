"""A mailbox's process, or the one before the login, killed at a random moment of APPEND, MOVE and EXPUNGE:
what was acknowledged has happened, what wasn't has or hasn't, and nothing is lost, torn or there twice.

MAILBOX_KILLS  how many of each (8, and 3, since mailaccess comes back later each time)
MAILBOX_SEED   where to begin; printed
"""

import os
import random
import signal
import threading

import pytest

from imap_model import Client, Ended, message, token_of
from postern import free_port, wait_for

KILLS = int(os.environ.get("MAILBOX_KILLS", "0"))
SEED = os.environ.get("MAILBOX_SEED") or str(random.SystemRandom().getrandbits(32))
USER = "alice@example.test"


class Books:
    """Where each message must be: {token: set of the places it may be in}; `both` of a MOVE that was
    cut off. A place is a folder's name, or None."""

    def __init__(self):
        self.places = {}
        self.moving = set()
        self.uids = {}  # (validity, uid): token, for ever

    def saw(self, validity, uid, token):
        was = self.uids.setdefault((validity, uid), token)
        assert was == token, f"uid {uid} of {validity} was {was} and is {token}"


def one_round(client, books, generator, numbers):
    """Works until it is cut off."""
    while True:
        client.select("INBOX")
        client.ask_tokens()
        uids = {books.uids[client.folder.validity, uid]: uid for uid in client.folder.known()}
        what = generator.choice(("append", "append", "move", "expunge"))
        if what == "append":
            tokens = [f"k-{next(numbers)}" for _ in range(generator.randrange(1, 4))]
            books.places |= {token: {"INBOX", None} for token in tokens}
            texts = [message(token) for token in tokens]
            client.run('APPEND "INBOX"', *[(text, "") for text in texts])
            books.places |= {token: {"INBOX"} for token in tokens}
        elif uids:
            tokens = generator.sample(sorted(uids), min(len(uids), generator.randrange(1, 4)))
            listed = ",".join(str(uids[token]) for token in tokens)
            to = "Other" if what == "move" else None
            if what == "expunge":
                client.run(f"UID STORE {listed} +FLAGS (\\Deleted)")
            books.places |= {token: {"INBOX", to} for token in tokens}
            books.moving |= set(tokens) if to else set()
            client.run(f'UID MOVE {listed} "Other"' if to else f"UID EXPUNGE {listed}")
            books.moving -= set(tokens)
            books.places |= {token: {to} for token in tokens}


def check(port, books, root):
    """Looks at all, and takes what was undecided for decided."""
    client = Client(port, USER, books.saw)
    found = {}
    for name in ("INBOX", "Other"):
        client.select(name)
        client.ask_tokens()
        for uid in client.folder.known():
            found.setdefault(books.uids[client.folder.validity, uid], []).append(name)
    for directory in (root, root / ".Other"):
        for path in (directory / "cur").iterdir():
            token = token_of(path.read_bytes())
            assert path.read_bytes() == message(token).replace(b"\r\n", b"\n"), f"{path} is torn"
    for token, places in books.places.items():
        at = found.pop(token, [])
        assert len(at) <= 1 or token in books.moving and sorted(at) == ["INBOX", "Other"], (token, at)
        assert set(at or [None]) <= places, f"{token} is in {at}, may be in {places}"
        if len(at) == 2:  # a MOVE that was cut off: as if it hadn't begun
            client.select("INBOX")
            client.ask_tokens()
            uid = max(uid for uid in client.folder.known()
                if books.uids[client.folder.validity, uid] == token)
            client.run(f"UID STORE {uid} +FLAGS (\\Deleted)")
            client.run(f"UID EXPUNGE {uid}")
            at = ["Other"]
        books.places[token] = set(at or [None])
    assert not found, f"nobody put these there: {found}"
    books.moving.clear()
    client.close()


@pytest.mark.time_limit(100 + 15 * KILLS)
@pytest.mark.parametrize("program, kills", [("mailbox", KILLS or 8), ("mailaccess", KILLS or 3)])
def test_nothing_is_lost_wherever_it_is_killed(make_postern, program, kills):
    print(f"MAILBOX_SEED={SEED}", flush=True)
    generator = random.Random(SEED + program)
    port = free_port()
    postern = make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext\n")
    postern.allow(rf"child-\w+.*program={program}")
    books, numbers = Books(), iter(range(1, 1 << 30))
    Client(port, USER).run('CREATE "Other"')
    for _ in range(kills):
        def ready():
            try:
                return Client(port, USER, books.saw)
            except (OSError, Ended, AssertionError):
                return None
        client = wait_for(ready, 10, "logins work")
        (pid,) = postern.pids(program)
        timer = threading.Timer(generator.uniform(0, 0.08), os.kill, (pid, signal.SIGKILL))
        timer.start()
        with pytest.raises((OSError, Ended)):
            one_round(client, books, generator, numbers)
        timer.join()
        client.close()
        wait_for(lambda: pid not in postern.pids(), 10, "it is gone")
        wait_for(ready, 10, "logins work").close()
        check(port, books, postern.maildir(USER))
    assert any(None not in places for places in books.places.values()), "nothing was acknowledged"
