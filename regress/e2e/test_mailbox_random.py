"""Several clients work on one mailbox at random, while mail is delivered to it and another program, as
Dovecot would, renames and removes its files: at the end they all know the same, and so do the disk
and who looks for the first time.

Messages with an odd number may be moved and copied, but are never removed: each must be there.

MAILBOX_SECONDS  how long each run is (3; `make mailboxes` takes an hour)
MAILBOX_SEED     where to begin; printed, and the same for a run that fails
"""

import os
import pathlib
import random
import re
import shutil
import time

import pytest

from imap_model import Client, Ended, message, numbers, token_of
from postern import free_port, is_root, wait_for

SECONDS = int(os.environ.get("MAILBOX_SECONDS", "3"))
SEED = os.environ.get("MAILBOX_SEED") or str(random.SystemRandom().getrandbits(32))
USER = "alice@example.test"
FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Draft", "$Work", "$Later")
LETTERS = {"S": "\\Seen", "F": "\\Flagged", "R": "\\Answered", "D": "\\Draft", "T": "\\Deleted"}


def is_removable(token):
    return int(token.rpartition("-")[2]) % 2 == 0


class World:
    """What all have done together."""

    def __init__(self, postern, port, random_):
        self.postern = postern
        self.port = port
        self.random = random_
        self.count = 0
        self.kept = set()       # acknowledged, never to be removed
        self.seen = {}          # (uidvalidity, uid): token, for ever
        self.folders = {"INBOX"}
        self.gone = set()       # names that sessions may have been ended for
        self.steps = 0
        self.clients = [Client(port, USER, self.saw, qresync=True)]
        self.clients += [Client(port, USER, self.saw) for _ in range(2)]
        self.waits = dict.fromkeys(self.clients)  # what each is to do when its command is answered

    def saw(self, validity, uid, token):
        was = self.seen.setdefault((validity, uid), token)
        assert was == token, f"uid {uid} of {validity} was {was} and is {token}"

    def new_token(self, removable=False):
        self.count += 1
        self.count += removable and self.count % 2
        return f"m-{self.count}"

    def added(self, token):
        if not is_removable(token):
            self.kept.add(token)

    def any_folder(self, scratch=None):
        names = sorted(name for name in self.folders
            if scratch is None or name.startswith("Scratch") == scratch)
        return self.random.choice(names) if names else None

    def root(self):
        return self.postern.maildir(USER)

    def directory(self, name):
        return self.root() if name == "INBOX" else self.root() / f".{name}"


# What a client does: each begins a command and returns what to do with the answer, or None.

def some_uids(world, client, removable=False):
    """Uids of the client's folder whose messages are known, and may go if so asked."""
    known = [uid for uid in client.folder.known()
        if (token := world.seen.get((client.folder.validity, uid))) is not None
        and (not removable or is_removable(token))]
    return sorted(world.random.sample(known, min(len(known), world.random.randrange(1, 5))))


def listed_folders(client):
    """Of its answer to LIST."""
    return {re.search(r'"?([^" ]+)"?$', parts[0]).group(1) for parts in client.lines}


def listed(uids):
    return ",".join(map(str, uids))


def store(world, client):
    deletes = world.random.random() < 0.4
    uids = some_uids(world, client, deletes)
    if not uids:
        return None
    flags = world.random.sample(FLAGS, world.random.randrange(0 if deletes else 1, 3))
    how = world.random.choice(("+FLAGS", "-FLAGS", "FLAGS"))
    if deletes:
        flags.append("\\Deleted")
    client.begin(f"UID STORE {listed(uids)} {how} ({' '.join(flags)})")
    return accepted


def accepted(world, client, status, words):
    assert status in ("OK", "NO"), words


def put_elsewhere(world, client, verb):
    target = world.any_folder()
    removable = verb == "MOVE" and target.startswith("Scratch")
    uids = some_uids(world, client, removable)
    if not uids:
        return None
    source = client.folder.validity
    client.begin(f'UID {verb} {listed(uids)} "{target}"')

    def answered(world, client, status, words):
        if status != "OK":  # the folder may be gone
            assert "TRYCREATE" in words or "NONEXISTENT" in words, words
            return
        copied = client.codes.get("COPYUID")
        if copied is None:  # all are gone
            return
        validity, old, new = copied.split()
        old, new = numbers(old), numbers(new)
        assert len(old) == len(new) and set(old) <= set(uids), (copied, uids)
        for from_uid, to_uid in zip(old, new):
            world.saw(int(validity), to_uid, world.seen[source, from_uid])
        if verb == "MOVE" and client.folder and not (source == int(validity)):
            assert not set(old) & set(client.folder.known()), (copied, client.folder.uids)
    return answered


def copy(world, client):
    return put_elsewhere(world, client, "COPY")


def move(world, client):
    return put_elsewhere(world, client, "MOVE")


def append(world, client):
    target = world.any_folder()
    tokens = [world.new_token(target.startswith("Scratch"))
        for _ in range(world.random.choice((1, 1, 1, 3)))]
    flags = " ".join(world.random.sample(FLAGS, world.random.randrange(3)))
    literals = [(message(token), f" ({flags})") for token in tokens[1:]]
    # What stands before each literal goes behind the one before it.
    texts = [message(token) for token in tokens]
    parts = [(text, f" ({flags})") for text in texts[:-1]] + [texts[-1]]
    assert len(literals) == len(parts) - 1
    client.begin(f'APPEND "{target}" ({flags})', *parts)

    def answered(world, client, status, words):
        if status != "OK":
            assert "TRYCREATE" in words, words
            return
        validity, uids = client.codes["APPENDUID"].split()
        for token, uid in zip(tokens, numbers(uids), strict=True):
            world.saw(int(validity), uid, token)
            world.added(token)
    return answered


def expunge(world, client):
    uids = some_uids(world, client, True)
    if uids and world.random.random() < 0.5:
        client.begin(f"UID EXPUNGE {listed(uids)}")
    else:
        client.begin("EXPUNGE")
    return accepted


def noop(world, client):
    client.begin("NOOP")
    return accepted


def ask(world, client):
    if client.folder.uids:
        client.begin("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (X-Token)])")
        return accepted
    return None


def idle(world, client):
    client.begin("IDLE")
    while not (parts := client.read_line())[0].startswith("+"):
        if parts[0].startswith("* "):
            client.untagged(parts, "IDLE")
            continue
        assert "NO [NONEXISTENT]" in parts[0] and client.selected in world.gone, parts
        client.pending.clear()
        client.folder = None
        return None
    return idled


def idled(world, client, status, words):
    assert status == "OK", words


def change_folders(world, client, command, removed, added):
    """At once: what the others do next depends on it. A session may end instead, as its own folder
    has gone; then it is looked which folders there are."""
    world.gone |= removed
    try:
        client.run(command)
        world.folders = world.folders - removed | added
    except (Ended, ConnectionError) as why:
        assert client.selected in world.gone, (why, client.selected)
        new = replace(world, client)
        new.run('LIST "" "*"')
        world.folders = listed_folders(new)
    return None


def create(world, client):
    if len(world.folders) > 6:
        return None
    world.count += 1
    name = f"{world.random.choice(('Box', 'Scratch'))}{world.count}"
    return change_folders(world, client, f'CREATE "{name}"', set(), {name})


def rename(world, client):
    world.count += 1
    kind = world.random.choice(("Box", "Scratch"))
    name = world.any_folder(kind == "Scratch")
    if name in (None, "INBOX"):
        return None
    new = f"{kind}{world.count}"
    return change_folders(world, client, f'RENAME "{name}" "{new}"', {name}, {new})


def delete(world, client):
    name = world.any_folder(True)
    if name is None:
        return None
    return change_folders(world, client, f'DELETE "{name}"', {name}, set())


WORK = {store: 6, copy: 3, move: 4, append: 5, expunge: 4, noop: 3, ask: 4, idle: 3, create: 1,
    rename: 0.5, delete: 0.4}


# What others do.

def deliver(world):
    token = world.new_token()
    world.postern.send(USER, message(token))
    world.added(token)


def drop(world):
    """A file in new/, as another delivery agent puts it there."""
    token = world.new_token()
    name = f"{int(time.time())}.M{world.count}P1.other"
    path = world.root() / "tmp" / name
    path.write_bytes(message(token).replace(b"\r\n", b"\n"))
    if is_root():
        shutil.chown(path, "_vmail", "_vmail")
    path.rename(world.root() / "new" / name)
    world.added(token)


def some_file(world):
    files = sorted((world.directory(world.any_folder()) / "cur").glob("*"))
    return world.random.choice(files) if files else None


def change_by_hand(world):
    path = some_file(world)
    if path is None:
        return
    base, mark, flags = path.name.partition(":2,")
    letter = world.random.choice("FRSD")
    flags = "".join(sorted(set(flags) ^ {letter}))
    try:
        path.rename(path.with_name(base + (mark or ":2,") + flags))
    except FileNotFoundError:
        pass


def remove_by_hand(world):
    path = some_file(world)
    try:
        if path is not None and is_removable(token_of(path.read_bytes())):
            path.unlink()
    except FileNotFoundError:
        pass


OTHERS = {deliver: 2, drop: 3, change_by_hand: 6, remove_by_hand: 2}


def choose(world, weights):
    return world.random.choices(list(weights), list(weights.values()))[0]


def finish(world, client, after):
    """Reads the answer; a session whose folder went may have ended, and another begins."""
    if after is None:
        return
    if after is idled and client.pending[0][1] == "IDLE":
        client.socket.sendall(b"DONE\r\n")
    try:
        after(world, client, *client.end())
    except (Ended, ConnectionError) as why:
        assert client.selected in world.gone, (why, client.selected)
        replace(world, client)


def replace(world, client):
    client.close()
    new = Client(world.port, USER, world.saw, client.qresync)
    new.kept = client.kept
    world.clients[world.clients.index(client)] = new
    return new


def step(world):
    world.steps += 1
    waiting = []
    for client in world.clients[:]:
        if world.random.random() < 0.3:
            continue
        if client.folder is None or world.random.random() < 0.1:
            try:
                client.select(world.any_folder(), known=world.random.random() < 0.5)
            except (Ended, ConnectionError) as why:
                assert client.selected in world.gone, (why, client.selected)
                replace(world, client)
            continue
        try:
            waiting.append((client, choose(world, WORK)(world, client)))
        except (Ended, ConnectionError) as why:
            assert client.selected in world.gone, (why, client.selected)
            replace(world, client)
        if world.random.random() < 0.2:
            choose(world, OTHERS)(world)
    for client, after in waiting:
        finish(world, client, after)


# What must be true at the end.

def on_disk(directory):
    """{uid: (token, flags)} of a folder, by its list and its files; UIDVALIDITY."""
    lines = (directory / "dovecot-uidlist").read_text().splitlines()
    validity = int(re.search(r" V(\d+)", lines[0]).group(1))
    uids = {}
    for line in lines[1:]:
        left, _, name = line.partition(" :")
        uid = int(left.split()[0])
        assert uid > max(uids.values(), default=0), f"{directory}: {line}: not ascending"
        assert name not in uids, f"{directory}: {name} has two uids"
        uids[name] = uid
    keywords = {}
    if (directory / "dovecot-keywords").exists():
        for line in (directory / "dovecot-keywords").read_text().splitlines():
            number, name = line.split(" ", 1)
            keywords[chr(ord("a") + int(number))] = name
    found = {}
    for path in (directory / "cur").iterdir():
        base, _, flags = path.name.partition(":2,")
        assert base in uids, f"{path} isn't in the list"
        assert uids[base] not in found, f"{path} is there twice"
        found[uids[base]] = (token_of(path.read_bytes()),
            frozenset((LETTERS | keywords)[letter] for letter in flags))
    assert not list((directory / "new").iterdir()), f"{directory}/new isn't empty"
    return validity, found


def check(world):
    world.postern.wait_queue_empty()
    fresh = Client(world.port, USER, world.saw)
    fresh.run('LIST "" "*"')
    assert listed_folders(fresh) == world.folders
    # Each client's own folder first, by what it is told there.
    for client in world.clients[:]:
        if client.folder is None:
            continue
        try:
            name = client.folder.name
            agree(world, fresh, client, name, lambda: (client.run("NOOP"), client.learn()))
        except (Ended, ConnectionError):
            assert name in world.gone
            replace(world, client)
    tokens = set()
    for name in sorted(world.folders):
        client = world.clients[0]
        agree(world, fresh, client, name, lambda: client.select(name))
        fresh.ask_tokens()
        validity, found = on_disk(world.directory(name))
        assert validity == fresh.folder.validity, name
        assert {uid: flags for uid, (_, flags) in found.items()} == fresh.folder.flags, name
        for uid, (token, _) in found.items():
            world.saw(validity, uid, token)
            tokens.add(token)
        highest = max([uid for at, uid in world.seen if at == validity], default=0)
        assert int(fresh.codes.get("UIDNEXT") or 2**32) > highest
    assert not world.kept - tokens, f"lost: {sorted(world.kept - tokens)}"
    fresh.close()
    return tokens


def agree(world, fresh, client, name, look):
    if name not in world.folders:
        return  # renamed under it

    def same():
        look()
        fresh.select(name)
        return (client.folder.uids, client.folder.flags) == (fresh.folder.uids, fresh.folder.flags)
    try:
        # What another program did on disk is noticed a moment later.
        wait_for(same, 5)
    except AssertionError as why:
        raise AssertionError(f"{name}, client {world.clients.index(client)}: {why}\n"
            f"{client.folder.uids} {client.folder.flags}\n"
            f"{fresh.folder.uids} {fresh.folder.flags}") from why


@pytest.mark.time_limit(SECONDS + 120)
def test_clients_deliveries_and_another_program_end_in_the_same_state(make_postern):
    port = free_port()
    postern = make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext\n"
        "smtp limit max-errors 1000000\n")
    print(f"MAILBOX_SEED={SEED}", flush=True)
    world = World(postern, port, random.Random(SEED))
    ends = time.monotonic() + SECONDS
    try:
        while time.monotonic() < ends:
            for _ in range(200):
                step(world)
                if time.monotonic() > ends:
                    break
            tokens = check(world)
    except Exception as why:
        said = "\n\n".join("\n".join(client.history) for client in world.clients)
        raise AssertionError(f"seed {SEED}, step {world.steps}: {why!r}\n"
            f"{postern.log_tail(15)}\n{said}") from why
    print(f"{world.steps} steps, {len(world.seen)} uids, {len(tokens)} messages at the end")
    assert world.steps > 10 and world.kept
    for client in world.clients:
        client.close()
