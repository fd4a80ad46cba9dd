"""Messages as they come, good and odd: {name: bytes, lines ending in CRLF}."""

PLAIN = "From: a@example.test\nTo: b@example.test\nSubject: {}\nDate: {}\nMessage-ID: <{}@example.test>\n{}\n{}"


def plain(number, subject="plain", body="hello\n", extra="", date=None):
    date = date or f"Mon, {1 + number % 28} Jun 2026 12:00:{number % 60:02} +0000"
    return PLAIN.format(subject, date, number, extra, body)


def multipart(number, parts, kind="mixed", boundary="xx", extra="", close=True):
    body = "preamble\n" + "".join(f"--{boundary}\n{part}\n" for part in parts)
    return plain(number, kind, body + (f"--{boundary}--\nepilogue\n" if close else ""),
        f'MIME-Version: 1.0\nContent-Type: multipart/{kind}; boundary="{boundary}"\n{extra}')


TEXT = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\nGrüße\n"
HTML = "Content-Type: text/html; charset=us-ascii\n\n<p>hello</p>\n"
FILE = ('Content-Type: application/octet-stream; name="a.bin"\nContent-Transfer-Encoding: base64\n'
    'Content-Disposition: attachment; filename="a.bin"\nContent-ID: <c1@x>\nContent-MD5: abc==\n'
    "Content-Language: de, en\nContent-Location: here\nContent-Description: a file\n\nAAECAwQF\n")
INNER = "From: inner@example.test\nSubject: inner\nDate: Tue, 2 Jun 2026 10:00:00 +0200\n\ninner body\n"

MAILS = {
    "plain": plain(1),
    "empty body": plain(2, body=""),
    "no header": "\njust text\n",
    "header only": "Subject: only\nFrom: x@example.test",
    "nothing": "\n",
    "no date": "From: a@example.test\nSubject: no date\n\nx\n",
    "bad date": plain(3, date="yesterday"),
    "two-digit year": plain(4, date="2 Jun 26 10:00 GMT"),
    "date with a comment": plain(5, date="Tue, 2 Jun 2026 23:30:00 -0700 (PDT)"),
    "encoded subject": plain(6, "=?utf-8?q?Gr=C3=BC=C3=9Fe?= =?utf-8?b?IHVuZCBtZWhy?="),
    "latin1 subject": plain(7, "=?iso-8859-1?q?Gr=FC=DFe?="),
    "folded subject": plain(8, "one\n two\n\tthree"),
    "8-bit subject": plain(9, "Grüße roh"),
    "quotes in the subject": plain(10, 'say "hi" \\ there'),
    "reply": plain(11, "Re: plain", extra="In-Reply-To: <1@example.test>\nReferences: <1@example.test>\n"),
    "reply of a reply": plain(12, "RE: Re: plain",
        extra="References: <1@example.test>\n <11@example.test>\n"),
    "forward": plain(13, "Fwd: plain (fwd)"),
    "many addresses": plain(14, extra='Cc: "Doe, John" <john@x.test>, jane@x.test (Jane), '
        "Group: g1@x.test, g2@x.test;, undisclosed-recipients:;\nReply-To: r@x.test\n"
        "Sender: s@x.test\nBcc: hidden@x.test\n"),
    "odd addresses": plain(15, extra='Cc: <@a.test,@b.test:u@c.test>, "a b"@x.test, nobody, <>, '
        "=?utf-8?q?M=C3=BCller?= <m@x.test>\n"),
    "long header": plain(16, extra="X-Long: " + "y" * 5000 + "\n"),
    "same field twice": plain(17, extra="Subject: second\nCc: c@x.test\nCc: d@x.test\n"),
    "alternative": multipart(20, [TEXT, HTML], "alternative"),
    "mixed": multipart(21, [TEXT, FILE]),
    "nested": multipart(22, ['Content-Type: multipart/alternative; boundary="yy"\n\n--yy\n' + TEXT +
        "\n--yy\n" + HTML + "\n--yy--\n", FILE]),
    "attached message": multipart(23, [TEXT, "Content-Type: message/rfc822\n\n" + INNER]),
    "attached multipart": multipart(24, ["Content-Type: message/rfc822\n\n" +
        multipart(124, [TEXT, FILE], boundary="zz")]),
    "digest": multipart(25, ["\n" + INNER, "\n" + INNER], "digest"),
    "report": multipart(26, ["\nfailed\n", "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n",
        "Content-Type: text/rfc822-headers\n\nSubject: x\n"], "report"),
    "no end": multipart(27, [TEXT, HTML], close=False),
    "no parts": plain(28, extra='MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="none"\n',
        body="nothing here\n"),
    "no boundary": plain(29, extra="MIME-Version: 1.0\nContent-Type: multipart/mixed\n", body="--x\n\ny\n"),
    "an empty part": multipart(30, ["", TEXT]),
    "boundary of another": multipart(31, ["\ntext --xx in it\n--xxx\nstill\n"]),
    "quoted-printable": plain(32, extra="MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: quoted-printable\n", body="Gr=C3=BC=C3=9Fe=\n und mehr\n"),
    "base64 text": plain(33, extra="MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n"
        "Content-Transfer-Encoding: base64\n", body="R3LDvMOfZSBhdXMgQmFzZTY0Cg==\n"),
    "rfc 2231": plain(34, extra="MIME-Version: 1.0\nContent-Type: application/pdf;\n"
        " name*0*=utf-8''Gr%C3%BC; name*1*=%C3%9Fe; name*2=.pdf\n"),
    "odd type": plain(35, extra="MIME-Version: 1.0\nContent-Type: text\n"),
    "odd encoding": plain(36, extra="MIME-Version: 1.0\nContent-Type: text/plain\n"
        "Content-Transfer-Encoding: x-unknown\n"),
    "parameters with comments": plain(37, extra="MIME-Version: 1.0 (x)\nContent-Type: text/plain (c); "
        'charset (d) = "us-ascii" ; format=flowed\n'),
    "message at the top": plain(38, extra="MIME-Version: 1.0\nContent-Type: message/rfc822\n", body=INNER),
    "long lines": plain(39, body="z" * 3000 + "\n"),
    "dots and From": plain(40, body=".\n..\nFrom here\n>From there\n"),
    "flat and deep": multipart(41, ['Content-Type: multipart/mixed; boundary="xx2"\n\n--xx2\n' + HTML +
        "\n--xx2--\n", TEXT, FILE]),
    "image": plain(42, extra="MIME-Version: 1.0\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n",
        body="iVBORw0KGgo=\n"),
}


def mails():
    return {name: text.encode().replace(b"\n", b"\r\n") for name, text in MAILS.items()}
