"""Lists of uids and index files that are damaged, lost, put back or of another version: the mails are right all the
same, and no uid ever stands for two messages."""

import os
import re

import pytest

from imap_model import Client, message
from test_mailbox_hostile import USER, server  # noqa: F401 (a fixture)

LIST, INDEX, CACHE = "dovecot-uidlist", "postern.index", "postern.cache"
COUNT = 5


class Box:
    """A folder of messages, looked at by a session that opens it each time."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.seen = {}  # (uidvalidity, uid): token, for ever
        self.directory = server.maildir(USER) / f".{name}"
        self.list, self.index = self.directory / LIST, self.directory / INDEX
        self.session = self.client()
        self.session.run(f"CREATE {name}")
        self.look(*(f"m-{number}" for number in range(COUNT)))  # what is found out is kept

    def client(self):
        return Client(self.server.ports["imap"], USER, self.saw)

    def saw(self, validity, uid, token):
        was = self.seen.setdefault((validity, uid), token)
        assert was == token, f"uid {uid} of {validity} was {was} and is {token}"

    def append(self, token, client):
        client.run(f"APPEND {self.name}", message(token))
        validity, uid = client.codes["APPENDUID"].split()
        self.saw(int(validity), int(uid), token)

    def look(self, *appended):
        """UIDVALIDITY, and tokens by uid; messages are appended first, and all are read whole."""
        client = self.session
        for token in appended:
            self.append(token, client)
        assert client.select(self.name)
        client.run("UID FETCH 1:* (BODY.PEEK[] ENVELOPE RFC822.SIZE)")
        found = {}
        for line in client.lines:
            uid = int(re.search(r"UID (\d+)", line[0]).group(1))
            token = re.search(rb"X-Token: (\S+)", line[1]).group(1).decode()
            assert line[1] == message(token)
            assert f'ENVELOPE (NIL "{token}" ' in line[2] and f"RFC822.SIZE {len(line[1])})" in line[2]
            self.saw(client.folder.validity, uid, token)
            found[uid] = token
        client.run("UNSELECT")  # its index is written
        return client.folder.validity, found


names = iter(f"Box{number}" for number in range(1000))


@pytest.fixture
def box(server):  # noqa: F811
    made = Box(server, next(names))
    yield made
    # Whatever it was, the next looks and what comes next are right.
    validity, found = made.look()
    again, more = made.look("last")
    assert again == validity and list(more.items())[:-1] == list(found.items())
    made.session.close()
    assert not list((made.directory / "tmp").iterdir())


# Each makes other bytes of the file's.
DAMAGED = {
    "garbage": lambda text: bytes(range(256)) * 8,
    "empty": lambda text: b"",
    "NULs": lambda text: b"\0" * len(text),
    "future version": lambda text: b"9" + text[1:],
    "no uidvalidity": lambda text: re.sub(rb" V\d+", b"", text),
    "uidvalidity of 0": lambda text: re.sub(rb" V\d+", b" V0", text),
    "large uidvalidity": lambda text: re.sub(rb" V\d+", b" V99999999999", text),
    "header only begun": lambda text: text[:5],
    "uids that descend": lambda text: b"\n".join([text.split(b"\n")[0], *reversed(text.split(b"\n")[1:-1]), b""]),
    "the same uid twice": lambda text: re.sub(rb"\n2 ", b"\n1 ", text),
    "a uid of 0": lambda text: re.sub(rb"\n1 ", b"\n0 ", text),
    "a uid of 2^32": lambda text: re.sub(rb"\n5 ", b"\n4294967296 ", text),
    "names with a slash": lambda text: text.replace(b" :", b" :../"),
    "names with a NUL": lambda text: text.replace(b" :", b" :\0"),
    "a line of a mebibyte": lambda text: text + b"9 :" + b"x" * 1024 * 1024 + b"\n",
}


def are_all_there(found, count=COUNT):
    return sorted(found.values()) == sorted(f"m-{number}" for number in range(count))


@pytest.mark.parametrize("indexed", [True, False], ids=["with index", "without index"])
@pytest.mark.parametrize("how", DAMAGED)
def test_a_damaged_list_of_uids_ends_the_uidvalidity(box, how, indexed):
    validity, _ = box.look()
    box.list.write_bytes(DAMAGED[how](box.list.read_bytes()))
    if not indexed:
        box.index.unlink()
    again, found = box.look()
    assert again > validity
    assert are_all_there(found)


@pytest.mark.parametrize("indexed", [True, False], ids=["with index", "without index"])
def test_a_lost_list_of_uids_ends_the_uidvalidity(box, indexed):
    validity, _ = box.look()
    for _ in range(3):
        box.list.unlink()
        if not indexed:
            box.index.unlink()
        again, found = box.look()
        assert again > validity
        assert are_all_there(found)
        validity = again


@pytest.mark.parametrize("indexed", [True, False], ids=["with index", "without index"])
def test_a_list_of_uids_that_is_cut_off_gives_no_uid_twice(box, indexed):
    # Without the index nothing tells of uids whose whole lines are lost.
    for number, cut in enumerate((1, 2, 20, 40, *([70, 100, 200] if indexed else []))):
        text = box.list.read_bytes()
        box.list.write_bytes(text[:-cut])
        if not indexed:
            box.index.unlink()
        _, found = box.look(f"m-{COUNT + number}")
        assert are_all_there(found, COUNT + number + 1)


@pytest.mark.parametrize("in_place", [True, False], ids=["in place", "new file"])
@pytest.mark.parametrize("expunges", [True, False], ids=["with expunges", "without expunges"])
def test_a_list_of_uids_that_is_put_back_gives_no_uid_twice(box, in_place, expunges):
    validity, _ = box.look()
    old = box.list.read_bytes()
    box.look("m-5", "m-6", "m-7")
    if expunges:
        client = box.client()
        client.select(box.name)
        client.run("STORE 1,6 +FLAGS.SILENT (\\Deleted)")
        client.run("EXPUNGE")
        client.run("UNSELECT")
        client.close()
    if not in_place:
        box.list.unlink()
    box.list.write_bytes(old)
    again, found = box.look("m-8")
    assert again > validity
    assert sorted(found.values()) == [f"m-{number}" for number in range(9) if not (expunges and number in (0, 5))]


@pytest.mark.parametrize("how", [*DAMAGED, "lost", "put back"])
def test_a_session_whose_list_of_uids_is_damaged_is_right_or_told_so(box, how):
    client = box.client()
    client.select(box.name)
    old = box.list.read_bytes()
    box.look("m-5")
    if how == "lost":
        box.list.unlink()
    else:
        box.list.write_bytes(old if how == "put back" else DAMAGED[how](box.list.read_bytes()))
    for command in ["FETCH 1:* (UID BODY.PEEK[])", "NOOP", "STORE 1 +FLAGS (\\Seen)", "NOOP"] * 2:
        status, words = client.run(command, ok=False)
        assert status == "OK" or "NONEXISTENT" in words, (command, words)
    status, words = client.run(f"APPEND {box.name}", message("m-6"), ok=False)
    assert status == "OK" or "INUSE" in words
    client.select(box.name)
    box.append("m-7", client)
    client.run("FETCH 1:* (UID BODY.PEEK[])")
    client.close()
    _, found = box.look()
    assert {f"m-{number}" for number in (0, 1, 2, 3, 4, 5, 7)} <= set(found.values())


def put_directory(path):
    path.mkdir()


def put_fifo(path):
    os.mkfifo(path)


def put_link(path):
    (path.parent / "elsewhere").write_text("of another")
    path.symlink_to("elsewhere")


@pytest.mark.parametrize("name", [LIST, INDEX, CACHE, "dovecot-keywords"])
@pytest.mark.parametrize("put", [put_directory, put_fifo, put_link], ids=lambda put: put.__name__[4:])
def test_what_stands_in_a_file_s_way_is_not_followed(server, box, put, name):  # noqa: F811
    path = box.directory / name
    path.unlink(missing_ok=True)
    put(path)
    client = box.client()
    client.select(box.name)
    if client.folder:
        client.run("UID FETCH 1:* (BODY.PEEK[] ENVELOPE)")
        assert [line[1] for line in client.lines] == [message(f"m-{number}") for number in range(COUNT)]
        client.run("STORE 1 +FLAGS ($Work)", ok=False)
    client.select("INBOX")
    client.close()
    if put is put_link:
        assert (box.directory / "elsewhere").read_text() == "of another"
    if put is put_directory:
        path.rmdir()


# Index and cache

DAMAGED_BINARY = {
    "garbage": lambda data: bytes(range(256)) * 64,
    "empty": lambda data: b"",
    "cut off": lambda data: data[:-7],
    "the first half": lambda data: data[:len(data) // 2],
    "header only": lambda data: data[:16],
    "longer": lambda data: data + b"\0" * 4096,
    "another magic": lambda data: b"X" + data[1:],
    "another version": lambda data: data[:8] + b"\x63" + data[9:],
    "zeros behind the header": lambda data: data[:16] + b"\0" * (len(data) - 16),
    "all bits turned": lambda data: data[:8] + bytes(byte ^ 0xff for byte in data[8:]),
    **{f"a bit turned at {at}%": lambda data, at=at: data[:len(data) * at // 100] +
        bytes([data[len(data) * at // 100] ^ 1]) + data[len(data) * at // 100 + 1:] for at in range(2, 100, 14)},
}


@pytest.mark.parametrize("name", [INDEX, CACHE])
@pytest.mark.parametrize("how", DAMAGED_BINARY)
def test_a_damaged_index_or_cache_is_made_anew(box, name, how):
    before = box.look()
    path = box.directory / name
    path.write_bytes(DAMAGED_BINARY[how](path.read_bytes()))
    assert box.look() == before


@pytest.mark.parametrize("name", [INDEX, CACHE])
def test_an_index_or_cache_of_another_time_or_folder_is_not_believed(server, box, name):  # noqa: F811
    old = (box.directory / name).read_bytes()
    before = box.look("m-5", "m-6")
    (box.directory / name).write_bytes(old)
    assert box.look() == before
    other = Box(server, next(names))
    before = other.look("m-9")
    (other.directory / name).write_bytes((box.directory / name).read_bytes())
    assert other.look() == before
    other.session.close()
