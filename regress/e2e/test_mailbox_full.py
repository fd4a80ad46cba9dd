"""What IMAP and POP3 say when nothing more can be stored: a full disk, a used up quota, a file system that
is read-only; and when the folder that is selected goes away."""

import os
import poplib
import shutil
import subprocess

import pytest

from imap_model import PASSWORD, Client, Ended, message, token_of
from postern import free_port, wait_for
from test_faults_disk import fill, small_disk  # noqa: F401

USER = "alice@example.test"


@pytest.fixture
def imap(make_postern):
    """A function that makes clients of a server with IMAP and POP3."""
    return server(make_postern)


def server(make_postern, **options):
    ports = [free_port(), free_port()]
    postern = make_postern(extra="".join(f"listen on 127.0.0.1 port {port} {name} auth-cleartext\n"
        for port, name in zip(ports, ("imap", "pop3"))), **options)

    def connect():
        return Client(ports[0], USER)

    def pop3():
        client = poplib.POP3("127.0.0.1", ports[1], timeout=20)
        client.user(USER)
        client.pass_(PASSWORD)
        return client
    connect.postern, connect.pop3 = postern, pop3
    return connect


def append(client, folder, *tokens, ok=True):
    return client.run(f'APPEND "{folder}"', *[(message(token), "") for token in tokens], ok=ok)


def told(client, kind):
    return [parts[0] for parts in client.lines if f" {kind}" in parts[0]]


def is_no(answer, code):
    assert answer[0] == "NO" and answer[1].startswith(f"[{code}]"), answer
    return True


# The selected folder goes.

def delete(imap, _):
    imap().run("DELETE Work")


def rename_outside(_, folder):
    folder.rename(folder.with_name(".Other"))


def remove_outside(_, folder):
    shutil.rmtree(folder)


@pytest.fixture(params=[delete, rename_outside, remove_outside])
def gone(imap, request):
    """A function: a client whose folder Work, with two messages, has just gone."""
    append(imap(), "INBOX", "kept")

    def make():
        client = imap()
        client.run("CREATE Work")
        append(client, "Work", "a", "b")
        client.select("Work")
        folder = imap.postern.maildir(USER) / ".Work"
        request.param(imap, folder)
        shutil.rmtree(folder.with_name(".Other"), ignore_errors=True)
        return client
    return make


def test_whose_folder_has_gone_hears_it_and_can_go_on(gone):
    client = gone()
    client.run("NOOP")
    assert told(client, "EXPUNGE") == ["* 1 EXPUNGE"] * 2
    for command in ("FETCH 1 (FLAGS)", "UID FETCH 1:* (BODY.PEEK[])", "STORE 1 +FLAGS (\\Seen)",
            "UID SEARCH ALL", "SORT (DATE) UTF-8 ALL", "EXPUNGE", "COPY 1 INBOX", "UID MOVE 1 INBOX",
            "CHECK", "IDLE"):
        assert is_no(client.run(command, ok=False), "NONEXISTENT"), command
    assert is_no(client.run("REPLACE 1 INBOX", message("c"), ok=False), "NONEXISTENT")
    assert is_no(client.run("STATUS Work (MESSAGES)", ok=False), "NONEXISTENT")
    assert is_no(append(client, "Work", "c", ok=False), "TRYCREATE")
    client.run("STATUS INBOX (MESSAGES)")
    client.run('LIST "" *')
    assert not any(line.endswith('"Work"') for line in told(client, "LIST"))
    assert client.select("INBOX") and client.folder.uids == [1]


def test_the_first_command_after_that_is_answered_too(gone):
    for command in ("FETCH 1 (FLAGS)", "STORE 1 +FLAGS (\\Seen)", "UID SEARCH ALL", "EXPUNGE",
            "MOVE 1 INBOX"):
        client = gone()
        assert is_no(client.run(command, ok=False), "NONEXISTENT")
        client.run("EXAMINE INBOX")
    for command in ("CLOSE", "UNSELECT"):
        client = gone()
        client.run(command)
        assert client.run("FETCH 1 (FLAGS)", ok=False)[0] == "BAD"
    with pytest.raises(Ended):
        gone().run("LOGOUT")


def test_a_session_may_delete_its_own_folder_and_make_it_again(imap):
    client = imap()
    client.run("CREATE Work")
    append(client, "Work", "a")
    client.select("Work")
    client.run("DELETE Work")
    assert told(client, "EXPUNGE")
    client.run("CREATE Work")
    assert is_no(client.run("FETCH 1 (FLAGS)", ok=False), "NONEXISTENT")
    was = client.folder.validity
    client.select("Work")
    assert client.folder.uids == [] and client.folder.validity > was


def test_idle_ends_when_its_folder_is_deleted(imap):
    client, other = imap(), imap()
    client.run("CREATE Work")
    client.select("Work")
    client.begin("IDLE")
    assert client.read_line()[0].startswith("+")
    other.run("DELETE Work")
    with pytest.raises(Ended, match="gone"):
        client.end()


def test_a_folder_that_is_renamed_stays_selected(imap):
    client = imap()
    client.run("CREATE Work")
    append(client, "Work", "a")
    client.select("Work")
    imap().run("RENAME Work Other")
    client.run("NOOP")
    assert not client.lines
    client.run("STORE 1 +FLAGS (\\Seen)")
    append(client, "Other", "b")
    client.run("NOOP")
    client.learn()
    assert client.folder.uids == [1, 2]


# The disk is full.

class Disk:
    """`kind` is what it has no more of when it is full: bytes, or inodes."""

    def __init__(self, small_disk, kind):  # noqa: F811
        self.kind = kind
        self.path = small_disk("1m", nr_inodes=200)

    def fill(self):
        if self.kind == "bytes":
            fill(self.path)
            return
        with pytest.raises(OSError, match="No space"):
            for number in range(200):
                (self.path / f"filler{number}").touch()

    def free(self, some=None):
        """All that fill() took, or room for so many small files."""
        if some and self.kind == "bytes":
            os.truncate(self.path / "filler", (self.path / "filler").stat().st_size - some * 4096)
            return
        for path in [*self.path.glob("filler*")][:some]:
            path.unlink()


@pytest.fixture(params=["bytes", "inodes"])
def full(make_postern, small_disk, request):  # noqa: F811
    """A server whose mailboxes are on a small disk that can be filled: INBOX with the messages a, b and c,
    Work with w."""
    disk = Disk(small_disk, request.param)
    made = server(make_postern, mail=disk.path / "mail")
    client = made()
    client.run("CREATE Work")
    append(client, "INBOX", "a", "b", "c")
    append(client, "Work", "w")
    made.disk, made.box = disk, made.postern.maildir(USER)
    return made


def uids_of(client, folder):
    """UIDVALIDITY and {uid: token} as the server tells them."""
    found = {}
    client.seen = lambda _validity, uid, token: found.update({uid: token})
    client.select(folder)
    client.ask_tokens()
    client.seen = lambda *_: None
    return client.folder.validity, found


def on_disk(box):
    """The tokens of all messages in a folder's directory; nothing may be in tmp/ or left of a lock."""
    assert not [path for path in [*(box / "tmp").iterdir(), *box.iterdir()]
        if "lock" in path.name or "tmp" in path.parts[-2:-1] or path.name.endswith(".tmp")]
    return sorted(token_of(path.read_bytes()) for part in ("cur", "new")
        for path in (box / part).iterdir())


def test_all_or_nothing_is_stored_on_a_full_disk(full):
    work = full.box / ".Work"
    client = full()
    client.select("INBOX")
    full.disk.fill()
    # Hard links, until there is no room for their uids.
    copies = 0
    while (answer := client.run("COPY 1:3 Work", ok=False))[0] == "OK":
        copies += 1
    assert is_no(answer, "UNAVAILABLE")
    there = sorted(["a", "b", "c"] * copies + ["w"])
    commands = {"APPEND Work": ["d"], "APPEND Work ()": ["d", "e"], "UID REPLACE 1 Work": ["d"],
        "UID COPY 1:3 Work": [], "UID MOVE 1:3 Work": []}
    for command, tokens in commands.items():
        answer = client.run(command, *((message(token), "") for token in tokens), ok=False)
        assert is_no(answer, "UNAVAILABLE"), command
        assert on_disk(work) == there, command
        assert on_disk(full.box) == ["a", "b", "c"], command
    client.run("NOOP")
    assert client.folder.uids == [1, 2, 3]
    full.disk.free()
    assert append(client, "Work", "d", "e")[0] == "OK"
    client.run("UID COPY 1 Work")
    client.run("UID MOVE 2 Work")
    client.run("UID REPLACE 1 Work", message("f"))
    assert on_disk(work) == sorted([*there, "a", "b", "d", "e", "f"])
    assert on_disk(full.box) == ["c"]
    assert len(set(uids_of(client, "Work")[1])) == len(on_disk(work))


def test_several_messages_are_appended_together_or_not_at_all(full):
    client = full()
    full.disk.fill()
    full.disk.free(some=4)
    before = on_disk(full.box)
    tokens = [f"m{number}" for number in range(8)]
    assert is_no(append(client, "INBOX", *tokens, ok=False), "UNAVAILABLE")
    assert on_disk(full.box) == before
    full.disk.free()
    append(client, "INBOX", *tokens)
    assert on_disk(full.box) == sorted(before + tokens)


def test_mail_on_a_full_disk_is_read_flagged_and_removed(full):
    full.postern.send(USER, message("new"))
    full.postern.wait_mail(USER, 4)
    full.disk.fill()
    client = full()
    client.select("INBOX")
    seen = uids_of(client, "INBOX")[1]
    assert {uid: seen[uid] for uid in (1, 2, 3)} == {1: "a", 2: "b", 3: "c"}
    client.run("STORE 1 +FLAGS (\\Deleted)")
    client.run("STORE 2 +FLAGS (\\Flagged)")
    client.run("EXPUNGE")
    assert "a" not in on_disk(full.box)
    pop3 = full.pop3()
    assert pop3.retr(2)[1][-1].startswith(b"c line")
    pop3.dele(2)
    pop3.quit()
    wait_for(lambda: "c" not in on_disk(full.box), what="the message is gone")
    fresh = full()
    fresh.select("INBOX")
    assert fresh.folder.flags[2] == {"\\Flagged"}
    append(client, "INBOX", "d")


def test_uids_outlast_a_full_disk(full):
    client = full()
    before = {name: uids_of(client, name) for name in ("INBOX", "Work")}
    full.disk.fill()
    for name in before:
        client.select(name)
        client.run("STORE 1 +FLAGS (\\Seen)")
        assert append(client, name, "no", ok=False)[0] == "NO"
        assert uids_of(client, name) == before[name]
    full.postern.restart()
    client = full()
    for name in before:
        assert uids_of(client, name) == before[name]
        assert client.folder.flags[1] == {"\\Seen"}
    full.disk.free()
    full.postern.restart()
    client = full()
    for name, (validity, found) in before.items():
        append(client, name, "yes")
        assert uids_of(client, name) == (validity, found | {max(found) + 1: "yes"})


def test_folders_on_a_full_disk_are_made_whole_or_not_and_removed(full):
    client = full()
    full.disk.fill()
    for command in ("CREATE New", "CREATE New (USE (\\Drafts))", "RENAME INBOX New"):
        assert is_no(client.run(command, ok=False), "UNAVAILABLE"), command
        client.run('LIST "" *')
        assert sorted(line.split('"')[3] for line in told(client, "LIST")) == ["INBOX", "Work"], command
    client.run("RENAME Work Other")
    assert uids_of(client, "Other")[1] == {1: "w"}
    client.run("DELETE Other")
    full.disk.free()
    client.run("CREATE New (USE (\\Drafts))")
    client.run("RENAME INBOX Old")
    assert uids_of(client, "Old")[1] == {1: "a", 2: "b", 3: "c"}
    assert sorted(path.name for path in full.box.glob(".*")) == [".New", ".Old"]


# The quota is used up.

def stored(*tokens):
    """How many bytes the messages take."""
    return sum(len(message(token).replace(b"\r\n", b"\n")) for token in tokens)


def set_quota(imap, *limits):
    imap.postern.smtpctl("user", "quota", USER, *limits)


def quota_of(client):
    client.run("GETQUOTAROOT INBOX")
    return told(client, "QUOTA ")[0].partition('"" ')[2]


def is_taken(imap):
    """Whether a message would be by SMTP."""
    with imap.postern.wire() as wire:
        wire.hello()
        wire.command("MAIL FROM:<sender@client.test>", 250)
        reply = wire.command(f"RCPT TO:<{USER}>")
        assert reply.code in (250, 452), reply
        return reply.code == 250


def test_a_message_that_uses_the_quota_up_exactly_is_taken(imap):
    set_quota(imap, stored("a", "b"))
    client = imap()
    client.run("CREATE Work")
    append(client, "INBOX", "a")
    assert is_no(append(client, "INBOX", "b", "c", ok=False), "OVERQUOTA")
    append(client, "INBOX", "b")
    client.select("INBOX")
    assert is_no(append(client, "Work", "c", ok=False), "OVERQUOTA")
    assert is_no(client.run("COPY 1 Work", ok=False), "OVERQUOTA")
    assert is_no(client.run("COPY 1:2 Absent", ok=False), "TRYCREATE")
    assert is_no(append(client, "Absent", "c", ok=False), "TRYCREATE")
    client.run("MOVE 1 Work")
    box = imap.postern.maildir(USER)
    assert (on_disk(box), on_disk(box / ".Work")) == (["b"], ["a"])
    client.run("STORE 1 +FLAGS (\\Deleted)")
    client.run("EXPUNGE")
    append(client, "INBOX", "b")
    assert on_disk(box) == ["b"]


def test_mail_by_smtp_and_by_imap_counts_alike(imap):
    set_quota(imap, "1M", 3)
    imap.postern.send(USER, message("a"))
    imap.postern.wait_mail(USER)
    client = imap()
    client.run("CREATE Work")
    append(client, "INBOX", "b")
    client.select("INBOX")
    client.run("COPY 1 Work")
    size = sum(len(mail.data) for mail in imap.postern.mails(USER)) + len(imap.postern.mails(USER)[0].data)
    assert quota_of(client) == f"(STORAGE {-(-size // 1024)} 1024 MESSAGE 3 3)"
    assert not is_taken(imap)
    assert is_no(append(client, "INBOX", "c", ok=False), "OVERQUOTA")
    assert is_no(append(client, "INBOX", "c", "d", ok=False), "OVERQUOTA")
    client.run("STORE 2 +FLAGS (\\Deleted)")
    client.run("EXPUNGE")
    assert "MESSAGE 2 3" in quota_of(client)
    wait_for(lambda: is_taken(imap), what="mail is taken again")
    imap.postern.send(USER, message("e"))
    imap.postern.wait_mail(USER, 2)
    assert is_no(append(client, "INBOX", "c", ok=False), "OVERQUOTA")
    client.run("DELETE Work")
    append(client, "INBOX", "c")
    assert "MESSAGE 3 3" in quota_of(client)
    pop3 = imap.pop3()
    pop3.dele(1)
    pop3.quit()
    assert "MESSAGE 2 3" in quota_of(client)


def test_what_is_in_the_trash_comes_back_only_if_there_is_room(imap):
    set_quota(imap, "1M", 1)
    client = imap()
    client.run("CREATE Trash")
    append(client, "INBOX", "a")
    client.select("INBOX")
    client.run("MOVE 1 Trash")
    append(client, "INBOX", "b")
    client.select("Trash")
    assert is_no(client.run("MOVE 1 INBOX", ok=False), "OVERQUOTA")
    assert on_disk(imap.postern.maildir(USER) / ".Trash") == ["a"]
    imap().run("RENAME INBOX Old")
    assert is_no(client.run("MOVE 1 INBOX", ok=False), "OVERQUOTA")
    imap().run("DELETE Old")
    client.run("MOVE 1 INBOX")
    assert on_disk(imap.postern.maildir(USER)) == ["a"]


def test_a_copy_of_a_message_that_is_deleted_counts_as_little_as_that(imap):
    set_quota(imap, "1M", 5)
    client = imap()
    client.run("CREATE Work")
    append(client, "INBOX", "a", "b")
    client.select("INBOX")
    client.run("STORE 1 +FLAGS (\\Deleted)")
    client.run("COPY 1:2 Work")
    assert "MESSAGE 2 5" in quota_of(client)
    client.select("Work")
    client.run("EXPUNGE")
    assert "MESSAGE 2 5" in quota_of(client)
    (imap.postern.maildir(USER) / "maildirsize").unlink()
    assert "MESSAGE 2 5" in quota_of(client)


# The file system is read-only.

@pytest.mark.root
def test_a_read_only_file_system_is_read(make_postern, small_disk):  # noqa: F811
    disk = small_disk("1m")
    imap = server(make_postern, mail=disk / "mail")
    client = imap()
    client.run("CREATE Work")
    append(client, "INBOX", "a", "b")
    append(client, "Work", "w")
    before = {name: uids_of(client, name) for name in ("INBOX", "Work")}
    imap.postern.send(USER, message("new"))
    imap.postern.wait_mail(USER, 3)
    client.select("INBOX")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    try:
        for _ in range(2):
            for command in ("STORE 1 +FLAGS (\\Seen)", "STORE 1 +FLAGS ($new)", "COPY 1 Work",
                    "MOVE 1 Work", "CREATE New", "DELETE Work", "RENAME Work Other", "SUBSCRIBE Work",
                    'SETMETADATA INBOX (/private/comment "x")'):
                assert is_no(client.run(command, ok=False), "UNAVAILABLE"), command
            assert is_no(append(client, "INBOX", "c", ok=False), "UNAVAILABLE")
            client.run("FETCH 1 (BODY[])")
            client.run("STATUS Work (MESSAGES)")
            assert uids_of(client, "Work") == before["Work"]
            validity, found = uids_of(client, "INBOX")
            assert (validity, {uid: found[uid] for uid in (1, 2)}) == before["INBOX"]
            pop3 = imap.pop3()
            assert pop3.retr(1)[1][-1].startswith(b"a line")
            pop3.dele(1)
            with pytest.raises(poplib.error_proto):
                pop3.quit()
            imap.postern.restart()
            client = imap()
            client.select("INBOX")
    finally:
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
    client.run("STORE 1 +FLAGS (\\Deleted)")
    client.run("EXPUNGE")
    append(client, "INBOX", "c")
    assert list(uids_of(client, "INBOX")[1].values()) == ["b", "new", "c"]
