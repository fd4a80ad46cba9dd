"""An IMAP client that keeps what it knows of its folder from the server's responses alone, and checks each
of them against that; with QRESYNC it keeps it for folders that it has left, too.

Messages are known by their X-Token; message(token) makes one, and a token tells all of its bytes."""

import collections
import random
import re
import socket

PASSWORD = "correct horse battery"


def message(token):
    """The bytes of the message of that token, as it is sent."""
    lines = random.Random(token).randrange(1, 60)
    return (f"From: a@client.test\r\nSubject: {token}\r\nX-Token: {token}\r\n\r\n" + "".join(
        f"{token} line {number}\r\n" for number in range(lines))).encode()


def token_of(data):
    """Of a stored message, which must be whole; a delivered one has more fields before ours."""
    data = data.replace(b"\r\n", b"\n")
    token = re.search(rb"^X-Token: (\S+)$", data, re.MULTILINE)
    assert token, f"no message of ours: {data[:200]!r}"
    token = token.group(1).decode()
    assert data.endswith(message(token).replace(b"\r\n", b"\n")), f"{token} isn't whole: {data!r}"
    return token


def numbers(text):
    """Of a set without *: "1:3,7"."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        found += range(int(first), int(last or first) + 1)
    return found


class Ended(Exception):
    """The server said BYE."""


class Folder:
    """What is known of one. `uids` in order, None where not told yet."""

    def __init__(self, name):
        self.name = name
        self.validity = 0
        self.modseq = 0
        self.uids = []
        self.flags = {}

    def known(self):
        return [uid for uid in self.uids if uid is not None]


class Client:
    """`seen` is asked of each (uidvalidity, uid, token) that the server tells."""

    def __init__(self, port, user, seen=lambda *_: None, qresync=False):
        self.socket = socket.create_connection(("127.0.0.1", port), 20)
        self.file = self.socket.makefile("rb")
        self.seen = seen
        self.qresync = qresync
        self.folder = None
        self.selected = None  # the name of the last
        self.kept = {}     # of folders that were left, by name
        self.pending = []  # (tag, what)
        self.count = 0
        self.codes = {}    # response codes of the last command
        self.lines = []    # its untagged responses
        self.history = collections.deque(maxlen=60)  # what was said last, for who looks at a failure
        self.read_line()
        self.run(f'LOGIN {user} "{PASSWORD}"')
        if qresync:
            self.run("ENABLE QRESYNC")

    def close(self):
        self.file.close()
        self.socket.close()

    # Bytes

    def read_line(self):
        """A response with its literals: [text, literal, text, …]."""
        parts = []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise ConnectionError(f"cut off after {line!r}")
            line = line[:-2]
            literal = re.search(rb"\{(\d+)\}$", line)
            if not literal:
                parts.append(line.decode("utf-8", "replace"))
                self.history.append("S: " + " ".join(part for part in parts if isinstance(part, str)))
                return parts
            parts.append(line.decode("utf-8", "replace"))
            size = int(literal.group(1))
            data = self.file.read(size)
            if len(data) != size:
                raise ConnectionError("cut off in a literal")
            parts.append(data)

    def begin(self, command, *literals):
        """Sends a command, of which `literals` are to follow one another with words between."""
        self.count += 1
        tag = f"t{self.count}"
        text = f"{tag} {command}".encode()
        for literal in literals:
            literal, after = literal if isinstance(literal, tuple) else (literal, "")
            text += b" {%d+}\r\n" % len(literal) + literal + after.encode()
        self.history.append(f"C: {tag} {command}")
        self.socket.sendall(text + b"\r\n")
        self.lines, self.codes = [], {}
        self.pending.append((tag, command))
        return tag

    def end(self):
        """Reads to the end of the command begun first; its status and text."""
        tag, command = self.pending.pop(0)
        while True:
            parts = self.read_line()
            if parts[0].startswith("* "):
                self.untagged(parts, command)
                continue
            assert parts[0].startswith(tag + " "), f"{parts} to {tag} {command}"
            status, _, words = parts[0][len(tag) + 1:].partition(" ")
            self.take_code(words)
            return status, words

    def run(self, command, *literals, ok=True):
        self.begin(command, *literals)
        status, words = self.end()
        assert not ok or status == "OK", f"{command}: {status} {words}"
        return status, words

    # What is told

    def take_code(self, words):
        code = re.match(r"\[([A-Z-]+)(?: ([^\]]*))?\]", words)
        if not code:
            return
        self.codes[code.group(1)] = code.group(2)
        if code.group(1) == "HIGHESTMODSEQ" and self.folder:
            self.folder.modseq = max(self.folder.modseq, int(code.group(2)))

    def untagged(self, parts, command):
        text = parts[0]
        self.lines.append(parts)
        words = text[2:].split(" ")
        if words[0] == "BYE":
            raise Ended(text)
        if command.startswith(("SELECT", "EXAMINE")):
            return  # select() looks at them when all are there
        if words[0] in ("OK", "NO"):
            self.take_code(text[2:].partition(" ")[2])
        elif words[0] == "VANISHED":
            self.vanished(numbers(words[-1]))
        elif words[1:2] == ["EXISTS"]:
            count = int(words[0]) - len(self.folder.uids)
            assert count >= 0, f"{text}, there were {len(self.folder.uids)}"
            self.folder.uids += [None] * count
        elif words[1:2] == ["EXPUNGE"]:
            # RFC 9051 7.5.1
            assert not re.match(r"FETCH|STORE|SEARCH", command), (command, text)
            assert not self.qresync, f"{text} with QRESYNC"
            assert 1 <= int(words[0]) <= len(self.folder.uids), text
            self.folder.flags.pop(self.folder.uids.pop(int(words[0]) - 1), None)
        elif words[1:2] == ["FETCH"]:
            self.fetched(int(words[0]), parts)

    def vanished(self, gone):
        assert self.qresync, gone
        folder = self.folder
        for uid in set(gone) - set(folder.known()):  # new ones whose uid wasn't asked for yet
            begin = max((at for at, one in enumerate(folder.uids) if one and one < uid), default=-1)
            end = min((at for at, one in enumerate(folder.uids) if one and one > uid),
                default=len(folder.uids))
            assert end - begin > 1, f"{gone} vanished, there were {folder.uids}"
            del folder.uids[begin + 1]
        folder.uids = [uid for uid in folder.uids if uid is None or uid not in gone]
        for uid in gone:
            folder.flags.pop(uid, None)

    def fetched(self, number, parts):
        folder = self.folder
        text = " ".join(part for part in parts if isinstance(part, str))
        assert 1 <= number <= len(folder.uids), f"{text}, there are {len(folder.uids)}"
        uid = re.search(r"\bUID (\d+)", text)
        if uid:
            was, folder.uids[number - 1] = folder.uids[number - 1], int(uid.group(1))
            assert was in (None, int(uid.group(1))), f"{text}, but that was uid {was}"
            known = folder.known()
            assert known == sorted(set(known)), f"{text}: uids don't ascend: {known}"
        self.take_flags(folder.uids[number - 1], text)
        token = re.search(rb"X-Token: (\S+)", b"".join(
            part for part in parts if isinstance(part, bytes)), re.IGNORECASE)
        if token and folder.uids[number - 1] is not None:
            self.seen(folder.validity, folder.uids[number - 1], token.group(1).decode())

    def take_flags(self, uid, text):
        flags = re.search(r"\bFLAGS \(([^)]*)\)", text)
        modseq = re.search(r"\bMODSEQ \((\d+)\)", text)
        if flags and uid is not None:
            self.folder.flags[uid] = frozenset(flags.group(1).split()) - {"\\Recent"}
        if modseq:
            self.folder.modseq = max(self.folder.modseq, int(modseq.group(1)))

    # What is done

    def leave(self):
        """Learns what is pending, and keeps it for QRESYNC."""
        if self.folder and self.qresync:
            self.run("NOOP")
            self.learn()
            self.kept[self.folder.name] = self.folder
        self.folder = None

    def select(self, name, known=True):
        """True when it could be; all that is in it is then known. With `known` a client with
        QRESYNC says which uids it knows."""
        self.leave()
        kept = self.kept.pop(name, None)
        words = f'SELECT "{name}"'
        if kept:
            uids = f" {kept.uids[0]}:{kept.uids[-1]}" if known and kept.uids else ""
            words += f" (QRESYNC ({kept.validity} {kept.modseq}{uids}))"
        if self.run(words, ok=False)[0] != "OK":
            return False
        self.folder, self.selected = Folder(name), name
        for parts in self.lines:
            self.take_code(parts[0].partition(" OK ")[2])
        # Mail that comes meanwhile is told with a second one.
        count = [int(parts[0].split()[1]) for parts in self.lines if parts[0].endswith(" EXISTS")][-1]
        self.folder.validity = int(self.codes["UIDVALIDITY"])
        if not kept or kept.validity != self.folder.validity:
            self.folder.uids = [None] * count
            self.learn()
            return True
        self.resync(kept, count, all_told=not (known and kept.uids))
        return True

    def resync(self, kept, count, all_told):
        folder, lines = self.folder, [parts[0] for parts in self.lines]
        folder.flags = kept.flags
        gone = {uid for line in lines if line.startswith("* VANISHED (EARLIER)")
            for uid in numbers(line.split()[-1])}
        changed = [re.match(r"\* (\d+) FETCH .*\bUID (\d+)", line) for line in lines]
        changed = [(int(at), int(uid)) for at, uid in (found.groups() for found in changed if found)]
        folder.uids = sorted((set(kept.uids) - gone) | {uid for _, uid in changed})
        for uid in gone:
            folder.flags.pop(uid, None)
        for line in lines:
            if " FETCH " in line:
                self.take_flags(int(re.search(r"\bUID (\d+)", line).group(1)), line)
        what = f"{folder.name}: {count} exist, known were {kept.uids}, now {folder.uids}: {lines}"
        for at, uid in changed:
            assert folder.uids[at - 1] == uid, what
        assert len(folder.uids) == count or not all_told and len(folder.uids) < count, what
        folder.uids += [None] * (count - len(folder.uids))
        self.learn()

    def learn(self):
        """Asks for what isn't known of new messages."""
        while self.folder and None in self.folder.uids:
            before = self.folder.uids[:self.folder.uids.index(None)]
            self.run(f"UID FETCH {(before or [0])[-1] + 1}:* (UID FLAGS)")
        missing = [uid for uid in self.folder.uids if uid not in self.folder.flags] \
            if self.folder else []
        if missing:
            self.run(f"UID FETCH {','.join(map(str, missing))} (FLAGS)")

    def ask_tokens(self):
        """Which message each uid is; `seen` hears it."""
        if self.folder and self.folder.uids:
            self.run("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (X-Token)])")
