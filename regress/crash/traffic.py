"""Mail that can be accounted for: senders that remember what was acknowledged, and the count of what
lies in the Maildirs afterwards.

Each message has a token and the checksum of its body. A message is acknowledged when 250 was read
after its last byte: from then on it must arrive, once, whole, in the mailbox of each of its
recipients. One that wasn't acknowledged may arrive once or not at all, but never in part.
"""

import collections
import hashlib
import mailbox
import random
import re
import smtplib
import threading

LARGE = 1_500_000  # more than goes to the queue in memory


class Message:
    def __init__(self, token, recipients, generator, is_large=None, fields=""):
        lines = 1 + int(generator.expovariate(1 / 30))
        if is_large or (is_large is None and generator.random() < 0.01):
            lines = LARGE // 66
        body = "".join(f"{generator.getrandbits(256):064x}\r\n" for _ in range(lines))
        # A line that begins with a dot, and one that is only a dot.
        body += "..\r\n.\r\n.end\r\n"
        stored = body.replace("\r\n", "\n").encode()
        self.token = token
        self.recipients = recipients
        self.sum = hashlib.sha256(stored).hexdigest()
        self.text = (f"X-Token: {token}\r\nX-Sum: {self.sum}\r\nSubject: x\r\n"
            f"Message-ID: <{token}@client.test>\r\n{fields}\r\n{body}").encode()


class BoxMail:
    """A message of an mbox file, as class Mail is one of a Maildir."""

    def __init__(self, path, data):
        self.path = path
        self.name = None  # has no size in it
        self.data = data


def mbox_mails(path):
    box = mailbox.mbox(path, create=False) if path.exists() else None
    return [] if box is None else [BoxMail(path, box.get_bytes(key)) for key in box.keys()]


class Sender(threading.Thread):
    """Sends until told to stop, over one connection as long as it lasts."""

    def __init__(self, traffic, number, seed):
        super().__init__(daemon=True, name=f"sender {number}")
        self.traffic = traffic
        self.number = number
        self.generator = random.Random(f"{seed} {number}")
        self.client = None

    def run(self):
        count = 0
        while not self.traffic.stopping.is_set():
            count += 1
            recipients = self.generator.sample(self.traffic.addresses,
                min(self.generator.choice((1, 1, 1, 2, 3)), len(self.traffic.addresses)))
            message = Message(f"{self.number}-{count}", recipients, self.generator,
                fields=self.traffic.fields)
            try:
                accepted = self.send(message)
            except (OSError, smtplib.SMTPException) as why:
                self.traffic.note_failure(why)
                self.close()
                # The suite is starting again; an event, so that the end isn't waited for.
                self.traffic.stopping.wait(0.02)
                continue
            self.traffic.note(message, accepted)
            if not accepted:
                self.traffic.stopping.wait(0.02)
        self.close()

    def close(self):
        if self.client is not None:
            self.client.close()
        self.client = None

    def send(self, message):
        """The recipients for which it was acknowledged; [] for a temporary refusal."""
        if self.client is None:
            self.client = smtplib.SMTP("127.0.0.1", self.traffic.port,
                local_hostname="client.test", timeout=30)
            self.client.ehlo()
        self.traffic.note_begun(message)
        code, words = self.client.mail(self.traffic.sender)
        accepted = []
        if code == 250:
            for recipient in message.recipients:
                code, words = self.client.rcpt(recipient)
                if code == 250:
                    accepted.append(recipient)
                else:
                    self.traffic.note_reply(code, words)
        else:
            self.traffic.note_reply(code, words)
        if not accepted:
            self.client.rset()
            return []
        code, words = self.client.data(message.text)
        if code == 250:
            return accepted
        self.traffic.note_reply(code, words)
        return []


class Traffic:
    """`fields` are more lines of the header."""

    def __init__(self, postern, addresses, sender, seed, senders=6, fields=""):
        self.port = postern.port
        self.addresses = addresses
        self.sender = sender
        self.fields = fields
        self.stopping = threading.Event()
        self.changed = threading.Condition()
        self.acknowledged = {}
        self.begun = {}
        self.replies = collections.Counter()
        self.failures = collections.Counter()
        self.wrong = []
        self.senders = [Sender(self, number, seed) for number in range(senders)]

    def start(self):
        for sender in self.senders:
            sender.start()

    def stop(self):
        self.stopping.set()
        for sender in self.senders:
            sender.join(60)
            assert not sender.is_alive(), f"{sender.name} is stuck"

    def note_begun(self, message):
        with self.changed:
            self.begun[message.token] = (message.sum, set(message.recipients))

    def note(self, message, accepted):
        with self.changed:
            if accepted:
                self.acknowledged[message.token] = set(accepted)
            self.changed.notify_all()

    def note_reply(self, code, words):
        """A refusal: while processes die, only temporary ones are right."""
        with self.changed:
            self.replies[code] += 1
            if not 400 <= code <= 499:
                self.wrong.append((code, words))

    def note_failure(self, why):
        with self.changed:
            self.failures[type(why).__name__] += 1
            # smtplib raises for a 5xx greeting or a refused EHLO too.
            code = getattr(why, "smtp_code", None)
            if code is not None and 500 <= code <= 599:
                self.wrong.append((code, why))

    def wait_acknowledged(self, more, timeout):
        """Waits for so many more; False when they don't come in time."""
        with self.changed:
            goal = len(self.acknowledged) + more
            return self.changed.wait_for(lambda: len(self.acknowledged) >= goal, timeout)

    def account(self, mails, found=None):
        """What is wrong with what lies in the Maildirs; `mails` is {address: [Mail]}. `found` is a
        Counter of what was there before and has been taken away."""
        problems = []
        found = collections.Counter() if found is None else found
        for address, box in mails.items():
            for mail in box:
                problem = self.check(address, mail, found)
                if problem:
                    problems.append(f"{problem}: {mail.path}")
        for (token, address), count in found.items():
            if count > 1:
                problems.append(f"{token} is {count} times in the mailbox of {address}")
        for token, recipients in self.acknowledged.items():
            for address in recipients:
                if found[token, address] == 0:
                    problems.append(f"{token} was acknowledged and isn't there for {address}")
        return problems

    def check(self, address, mail, found):
        header, _, body = mail.data.partition(b"\n\n")
        token = re.search(rb"^X-Token: (\S+)$", header, re.MULTILINE)
        if not token or token.group(1).decode() not in self.begun:
            return "not a message that was sent"
        token = token.group(1).decode()
        checksum, recipients = self.begun[token]
        found[token, address] += 1
        if address not in recipients:
            return f"{token} isn't for {address}"
        if hashlib.sha256(body).hexdigest() != checksum:
            return f"{token} is torn"
        if mail.name is not None and f",S={len(mail.data)}," not in mail.name:
            return "its name has another size"
        return None
