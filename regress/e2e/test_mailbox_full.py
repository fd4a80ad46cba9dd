"""What IMAP and POP3 say when nothing more can be stored: a full disk, a used up quota, a file system that
is read-only; and when the folder that is selected goes away."""

import shutil

import pytest

from imap_model import Client, Ended, message
from postern import free_port

USER = "alice@example.test"


@pytest.fixture
def imap(make_postern):
    """A function that makes clients of a server with IMAP."""
    return clients_of(make_postern)


def clients_of(make_postern, **options):
    port = free_port()
    postern = make_postern(extra=f"listen on 127.0.0.1 port {port} imap auth-cleartext\n", **options)

    def connect():
        return Client(port, USER)
    connect.postern = postern
    return connect


def append(client, folder, *tokens, ok=True):
    return client.run(f'APPEND "{folder}"', *[(message(token), "") for token in tokens], ok=ok)


def told(client, kind):
    return [parts[0] for parts in client.lines if f" {kind}" in parts[0]]


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


def is_no(answer, code):
    assert answer[0] == "NO" and answer[1].startswith(f"[{code}]"), answer
    return True


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
