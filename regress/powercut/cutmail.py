"""Mail, and changes of accounts, that can be accounted for at any instant.

All that is asked of the suite is noted with the time before the first byte was sent, and the time
after the last byte of its answer was read, on the clock by which pictures are taken. What was
answered before a picture was begun must be in it; what was begun before it was complete may be.
"""

import base64
import collections
import hashlib
import mailbox
import os
import random
import re
import socket
import subprocess
import threading
import time

USERS = [f"user{number}@example.test" for number in range(6)]
BOXES = [f"box{number}@box.test" for number in range(2)]  # mbox files
SENDER = "bounces@example.test"
LATER = "later@example.test"  # not delivered before the cut
PIPE = "pipe@example.test"
FAIL = "fail@example.test"
# So many of such a length that the accounts database's log soon gets long enough to be shortened.
TARGETS = [f"{'target' * 8}{number}@example.test" for number in range(40)]
MESSAGES_A_SESSION = 200
LARGE_BYTES = (1_100_000, 1_700_000)  # of 1 MiB and more: a file of its own
TOKEN = re.compile(rb"^X-Token: (\S+)$", re.MULTILINE)
DELIVERED_TO = re.compile(rb"^Delivered-To: (\S+)$", re.MULTILINE)


class Message:
    def __init__(self, token, recipients, size, generator):
        body = base64.encodebytes(generator.randbytes(size * 3 // 4)) + b"end\n"
        self.token = token
        self.recipients = recipients
        self.sum = hashlib.sha256(body).digest()
        self.text = f"X-Token: {token}\r\nSubject: x\r\n\r\n".encode() + body.replace(b"\n", b"\r\n")
        self.begun = self.acknowledged = None


class Sender(threading.Thread):
    """Sends `rate` messages a second, one after the other over one connection."""

    def __init__(self, mail, name, rate, make):
        super().__init__(daemon=True, name=name)
        self.mail = mail
        self.rate = rate
        self.make = make
        self.generator = random.Random()
        self.stream = None

    def run(self):
        count = 0
        due = time.monotonic()
        while not self.mail.stopping.wait(max(0, due - time.monotonic())):
            due = max(due, time.monotonic() - 0.1) + self.generator.expovariate(self.rate)
            count += 1
            if count % MESSAGES_A_SESSION == 0:
                self.stream = None
            recipients, size = self.make(self.generator)
            message = Message(f"{self.name}-{count}", recipients, size, self.generator)
            try:
                self.send(message)
            except OSError as why:
                self.stream = None
                if not self.mail.stopping.is_set():
                    self.mail.complaints[str(why)] += 1

    def reply(self):
        while True:
            line = self.stream.readline()
            if line[3:4] != b"-":
                break
        if line[:1] not in (b"2", b"3"):
            raise OSError(line.decode(errors="replace").strip() or "closed")

    def send(self, message):
        if self.stream is None:
            connection = socket.create_connection(("127.0.0.1", self.mail.port), 60)
            self.stream = connection.makefile("rwb")
            self.reply()
            self.stream.write(b"EHLO client.test\r\n")
            self.stream.flush()
            self.reply()
        words = [f"MAIL FROM:<{SENDER}>"] + [f"RCPT TO:<{to}>" for to in message.recipients]
        message.begun = time.monotonic()
        self.mail.messages[message.token] = message
        self.stream.write("\r\n".join(words + ["DATA", ""]).encode())
        self.stream.flush()
        for _ in range(len(words) + 1):
            self.reply()
        self.stream.write(message.text + b".\r\n")
        message.text = None
        self.stream.flush()
        self.reply()
        message.acknowledged = time.monotonic()


class Accounts(threading.Thread):
    """Adds and removes accounts and aliases by smtpctl."""

    def __init__(self, mail, postern):
        super().__init__(daemon=True, name="accounts")
        self.mail = mail
        self.postern = postern
        self.changes = collections.defaultdict(list)  # by address: [begun, acknowledged, present]

    def run(self):
        generator = random.Random()
        while not self.mail.stopping.wait(generator.expovariate(1 / 0.03)):
            kind = generator.choice(("user", "alias"))
            address = f"{kind}-{generator.randrange(5)}@example.test"
            before = self.changes[address]
            present = not (before and before[-1][2])
            words = [kind, "add" if present else "del", address]
            if present:
                words += ["no-password"] if kind == "user" else TARGETS
            change = [time.monotonic(), None, present]
            before.append(change)
            try:
                result = self.postern.smtpctl(*words, check=False)
            except (OSError, subprocess.SubprocessError) as why:
                self.mail.complaints[str(why)] += 1
                continue
            if result.returncode == 0:
                change[1] = time.monotonic()
            elif not self.mail.stopping.is_set():
                self.mail.complaints[f"{' '.join(words[:2])}: {result.stderr.strip()}"] += 1

    def allowed(self, cut):
        """{address: which of True, False may be so after the cut}"""
        answer = {}
        for address, changes in list(self.changes.items()):
            states = {False}
            for begun, acknowledged, present in list(changes):
                if acknowledged is not None and acknowledged < cut.begun:
                    states = {present}
                elif begun < cut.done:
                    states.add(present)
            answer[address] = states
        return answer


def flood_to(addresses):
    def flood(generator):
        size = generator.randrange(*(500, 4000) if generator.random() < 0.85 else (80_000, 250_000))
        return generator.sample(addresses, generator.choice((1, 1, 1, 2))), size
    return flood


def large_to(addresses):
    def large(generator):
        to = LATER if generator.random() < 0.15 else generator.choice(addresses)
        return [to], generator.randrange(*LARGE_BYTES)
    return large


def odd(generator):
    return generator.choice(([LATER], [LATER], [PIPE], [FAIL], [FAIL],
        [generator.choice(USERS), FAIL])), generator.randrange(200, 4000)


class Mail:
    """All of it. `homes` are addresses of users of the system. `messages` by token, `complaints` of
    what was refused, `once` the addresses whose mail must be there once."""

    def __init__(self, postern, homes):
        self.once = USERS + BOXES + homes
        self.port = postern.port
        self.messages = {}
        self.complaints = collections.Counter()
        self.stopping = threading.Event()
        self.accounts = Accounts(self, postern)
        self.threads = [Sender(self, f"flood{number}", 15, flood_to(self.once)) for number in range(4)]
        self.threads += [Sender(self, "large", 1, large_to(self.once)), Sender(self, "odd", 6, odd)]
        self.threads.append(self.accounts)

    def start(self):
        for thread in self.threads:
            thread.start()

    def stop(self, postern):
        """Ends them, and the server with them."""
        self.stopping.set()
        postern.crash()
        for thread in self.threads:
            thread.join(60)
            assert not thread.is_alive(), f"{thread.name} is stuck"


def read(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, os.fstat(descriptor).st_size + 1)
    finally:
        os.close(descriptor)


class Account:
    """What a cut left, against what was acknowledged before it."""

    def __init__(self):
        self.problems = []
        self.acknowledged = 0
        self.duplicates = 0
        self.found = collections.Counter()

    def look(self, mail, cut, maildirs, kept):
        """`maildirs` is {address: [entry of each file]}, `kept` the entries of what was piped."""
        found = self.found
        reports = collections.Counter()
        for address, entries in maildirs.items():
            for entry in entries:
                data = read(entry.path)
                if address == SENDER:
                    self.look_at_report(mail, entry.path, data, reports)
                else:
                    self.look_at_file(mail, entry.path, data, address, found)
                    if f",S={len(data)}," not in entry.name:
                        self.problems.append(f"its name has another size: {entry.path}")
        for entry in kept:
            self.look_at_file(mail, entry.path, read(entry.path), None, found)
        self.count(mail, cut, found, reports)

    def look_at_box(self, mail, path, address):
        box = mailbox.mbox(path, create=False)
        for key in box.keys():
            self.look_at_file(mail, f"{path}, message {key}", box.get_bytes(key), address, self.found)

    def look_at_file(self, mail, path, data, address, found):
        end = data.find(b"\n\n")
        header = data[:end]
        token = TOKEN.search(header)
        message = token and mail.messages.get(token.group(1).decode())
        if not message:
            self.problems.append(f"no message that was sent: {path}")
            return
        to = DELIVERED_TO.search(header).group(1).decode()
        found[message.token, to] += 1
        if hashlib.sha256(memoryview(data)[end + 2:]).digest() != message.sum:
            self.problems.append(f"torn: {message.token}, {path}")
        if to not in message.recipients or address not in (None, to):
            self.problems.append(f"not for {to}: {message.token}, {path}")

    def look_at_report(self, mail, path, data, reports):
        tokens = set(TOKEN.findall(data))
        message = mail.messages.get(next(iter(tokens)).decode()) if len(tokens) == 1 else None
        if message is None or not data.rstrip().endswith(b"--"):
            self.problems.append(f"torn: report {path}")
        elif FAIL not in message.recipients:
            self.problems.append(f"reported though nothing failed: {message.token}, {path}")
        else:
            reports[message.token] += 1

    def count(self, mail, cut, found, reports):
        for message in list(mail.messages.values()):
            sure = message.acknowledged is not None and message.acknowledged < cut.begun
            self.acknowledged += sure
            for to in message.recipients:
                count = reports[message.token] if to == FAIL else found[message.token, to]
                once = to in mail.once
                if count == 0 and sure:
                    self.problems.append(f"lost: {message.token} for {to}")
                elif count > (1 if once else 2):
                    self.problems.append(f"{count} times: {message.token} for {to}")
                elif count == 2:
                    self.duplicates += 1

    def look_at_accounts(self, mail, cut, postern):
        listed = {line.split("|")[0] for kind in ("user", "alias")
            for line in postern.smtpctl(kind, "list").stdout.splitlines()}
        for address, states in mail.accounts.allowed(cut).items():
            if (address in listed) not in states:
                self.problems.append(f"lost: a change of {address}, which is "
                    f"{'still' if address in listed else 'not'} there")
        for address in USERS + BOXES + [SENDER, LATER, PIPE, FAIL]:
            if address not in listed:
                self.problems.append(f"lost: the account {address}")
