"""A Maildir of many messages as a user of some years has it: dates, threads, flags, lists, multiparts;
the same each time."""

import base64
import os
import random
import time

FIRST = 1_500_000_000  # the oldest message's date; the last is from about six years later
APART = 2000  # seconds from one to the next, about
WORDS = """the of and to in a is that for it on with as be this by are or from at your which have not
we an can will all was has if our may one about more also been would their any there who but other
when time out up only new some could these two its report meeting budget invoice delivery project
version release patch thanks please attached regards tomorrow monday office question answer""".split()
SUBJECTS = ["Meeting on {}", "Invoice {}", "[dev] patch for {}", "Re-organising {}", "Lunch, {}?",
    "Your order {}", "Minutes of {}", "Release {} is out", "=?UTF-8?Q?Gr=C3=BC=C3=9Fe_von?= {}"]
PEOPLE = [("Erin Example", "erin"), ("Bob Builder", "bob"), ("Carol Carver", "carol"),
    ("Dave Driver", "dave"), ("=?UTF-8?Q?J=C3=BCrgen_M=C3=BCller?=", "juergen"),
    ("News", "news"), ("Build Robot", "robot"), ("Zoe Zander", "zoe")]
RARE = "zephyrine"  # in one body of a thousand


class Letters:
    def __init__(self, seed=1):
        self.random = random.Random(seed)
        self.paragraphs = [self.paragraph() for _ in range(400)]
        self.attachments = [base64.encodebytes(self.random.randbytes(size)).decode() for size in
            (900, 2000, 4000, 8000, 16000)]
        self.open = []  # threads: (subject, references)

    def paragraph(self):
        words = self.random.choices(WORDS, k=self.random.randint(20, 90))
        lines, line = [], ""
        for word in words:
            if len(line) + len(word) > 70:
                lines.append(line)
                line = ""
            line += word + " "
        return "\n".join(lines + [line]) + "\n\n"

    def text(self, number):
        body = "".join(self.random.choices(self.paragraphs, k=self.random.randint(1, 8)))
        return body + RARE + "\n" if number % 1000 == 500 else body

    def make(self, number):
        """(date, message)"""
        date = FIRST + number * APART + self.random.randint(0, APART * 3)
        name, local = self.random.choice(PEOPLE)
        own = f"<{number}.{self.random.getrandbits(48):x}@{local}.example.net>"
        if self.open and self.random.random() < 0.6:
            at = self.random.randrange(len(self.open))
            subject, references = self.open[at]
            references = references[-10:]
            thread = (f"In-Reply-To: {references[-1]}\nReferences: " +
                "\n\t".join(references) + "\n")
            self.open[at] = (subject, references + [own])
            subject = "Re: " + subject
        else:
            subject = self.random.choice(SUBJECTS).format(self.random.randint(1, 5000))
            thread = ""
            self.open.append((subject, [own]))
            if len(self.open) > 50:
                self.open.pop(self.random.randrange(50))
        head = (f"Return-Path: <{local}@example.net>\n"
            f"Delivered-To: u@example.test\n"
            f"Received: from mx.example.net (mx.example.net [192.0.2.{number % 250}])\n"
            f"\tby mx.example.test (Postern) with ESMTPS id {self.random.getrandbits(64):016x}\n"
            f"\tfor <u@example.test>; {stamp(date + 3)}\n"
            f"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.net; s=k1;\n"
            f"\tbh={self.random.getrandbits(240):060x};\n\tb={self.random.getrandbits(1000):0250x}\n"
            f"From: {name} <{local}@example.net>\nTo: U <u@example.test>\n" +
            (f"Cc: team@example.test, \"List\" <list{number % 7}@example.org>\n" if number % 3 == 0
                else "") +
            f"Subject: {subject}\nDate: {stamp(date)}\nMessage-ID: {own}\n{thread}"
            f"User-Agent: Mail/{number % 9}.0\nMIME-Version: 1.0\n")
        return date, head + self.content(number)

    def content(self, number):
        kind = self.random.random()
        text = self.text(number)
        if kind < 0.55:
            return f"Content-Type: text/plain; charset=utf-8\n\n{text}"
        html = "<html><body><p>" + text.replace("\n\n", "</p>\n<p>") + "</p></body></html>\n"
        both = (f"--a{number}\nContent-Type: text/plain; charset=utf-8\n\n{text}\n--a{number}\n"
            f"Content-Type: text/html; charset=utf-8\n\n{html}\n--a{number}--\n")
        if kind < 0.85:
            return f"Content-Type: multipart/alternative; boundary=\"a{number}\"\n\n{both}"
        return (f"Content-Type: multipart/mixed; boundary=\"m{number}\"\n\nThis is MIME.\n"
            f"--m{number}\nContent-Type: multipart/alternative; boundary=\"a{number}\"\n\n{both}\n"
            f"--m{number}\nContent-Type: application/pdf; name=\"{number}.pdf\"\n"
            f"Content-Disposition: attachment; filename=\"{number}.pdf\"\n"
            f"Content-Transfer-Encoding: base64\n\n{self.random.choice(self.attachments)}\n"
            f"--m{number}--\n")


def stamp(seconds):
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(seconds))


def fill(maildir, count):
    """Makes it, with `count` messages in cur/."""
    letters = Letters()
    maildir.mkdir(parents=True, exist_ok=True)
    for part in ("new", "cur", "tmp"):
        (maildir / part).mkdir(exist_ok=True)
    directory = os.open(maildir / "cur", os.O_RDONLY | os.O_DIRECTORY)
    for number in range(count):
        date, text = letters.make(number)
        data = text.encode()
        flags = "" if number % 11 == 0 else "RS" if number % 7 == 0 else "S"
        name = (f"{date}.M{number:06d}P{number}.mx.example.test,S={len(data)},"
            f"W={len(data) + data.count(10)}:2,{flags}")
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=directory)
        os.write(file, data)
        os.utime(file, (date, date))
        os.close(file)
    os.close(directory)
    for part in ("new", "cur", "tmp", "."):
        (maildir / part).chmod(0o700)
