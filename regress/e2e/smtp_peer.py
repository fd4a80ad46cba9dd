"""A mail server as others run them, for tests of what goes out: it takes mail, or does what a test
tells it to.

	with Peer() as peer:                            # on a loopback address of its own, port 25 or any
	    peer.on("RCPT", "450 4.7.1 greylisted")     # once; then as before
	    peer.always("MAIL", "550 5.7.1 no")
	    ...
	    (message,) = peer.wait_messages(1)
	    assert message.recipients == ["x@far.test"]

What stands for a reply: a string (one or more lines), bytes (sent as they are), CLOSE, RESET, a
number of seconds of silence, or a function of the session that returns one of these. GREETING, TEXT
(the end of the text) and the commands' names can be answered so."""

import base64
import random
import socket
import ssl
import struct
import threading

from postern import wait_for

CLOSE, RESET = object(), object()


def loopback_address():
    """An address of 127.0.0.0/8 that no other test uses, most likely."""
    return f"127.{random.randint(1, 254)}.{random.randint(0, 254)}.{random.randint(2, 254)}"


class Message:
    """`sender`, `recipients`, `data` (bytes, dots undone), `session`."""

    def __init__(self, session, data):
        self.sender, self.recipients = session.sender, session.recipients
        self.options = session.options
        self.data = data
        self.session = session


class Session:
    def __init__(self, peer, connection):
        self.peer = peer
        self.connection = connection
        self.client = "" if peer.path else connection.getpeername()[0]
        self.buffer = b""
        self.lines = []  # commands, as they came
        self.tls = None
        self.user = None
        self.begin()

    def begin(self):
        self.sender, self.recipients, self.options = None, [], []

    def read(self):
        data = self.connection.recv(65536)
        if not data:
            raise ConnectionError("closed")
        self.buffer += data

    def line(self):
        while b"\n" not in self.buffer:
            self.read()
        line, _, self.buffer = self.buffer.partition(b"\n")
        assert line.endswith(b"\r"), f"a line without CR: {line!r}"
        return line[:-1].decode("utf-8", "replace")

    def bytes(self, length):
        while len(self.buffer) < length:
            self.read()
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def text(self):
        while not self.buffer.startswith(b".\r\n") and b"\r\n.\r\n" not in self.buffer:
            self.read()
        if self.buffer.startswith(b".\r\n"):
            data, self.buffer = b"", self.buffer[3:]
        else:
            data, _, self.buffer = self.buffer.partition(b"\r\n.\r\n")
            data += b"\r\n"
        assert b"\n" not in data.replace(b"\r\n", b""), "a line end that isn't CRLF"
        return data[data.startswith(b"."):].replace(b"\r\n.", b"\r\n")

    def say(self, reply):
        """False when the session is over."""
        if callable(reply):
            reply = reply(self)
        if isinstance(reply, (int, float)):
            self.peer.ended.wait(reply)
            return False
        if reply is RESET:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if reply is CLOSE or reply is RESET:
            return False
        data = reply if isinstance(reply, bytes) else reply.encode().replace(b"\n", b"\r\n") + b"\r\n"
        self.connection.sendall(data)
        return not (isinstance(reply, str) and reply.startswith("421"))

    def choose(self, what, usual):
        """What the test wants, or the usual reply; whether it is that, or a success."""
        reply = self.peer.reply_to(what)
        if reply is None:
            return usual, True
        return reply, isinstance(reply, str) and reply[:1] in "23"

    def answer(self, what, usual):
        """Says it; whether the session goes on, and as choose()."""
        reply, taken = self.choose(what, usual)
        return self.say(reply), taken

    def hello(self):
        words = list(self.peer.extensions)
        if self.peer.context and not self.tls:
            words.append("STARTTLS")
        if self.peer.credentials and self.tls:
            words.append("AUTH " + self.peer.mechanisms)
        lines = [self.peer.name] + words
        return "\n".join(f"250{'-' if i < len(lines) - 1 else ' '}{line}"
            for i, line in enumerate(lines))

    def secure(self):
        self.connection = self.peer.context.wrap_socket(self.connection, server_side=True)
        self.tls = self.connection.version()
        self.certificate = self.connection.getpeercert()
        self.buffer = b""
        self.begin()

    def log_in(self, line):
        words = line.split(" ")
        if words[1] == "PLAIN":
            user, password = base64.b64decode(words[2]).decode().split("\0")[1:]
        else:
            self.say("334 VXNlcm5hbWU6")
            user = base64.b64decode(self.line()).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(self.line()).decode()
        if (user, password) == self.peer.credentials:
            self.user = user
            return "235 2.7.0 welcome"
        return "535 5.7.8 who are you?"

    def run(self):
        if self.peer.implicit_tls:
            self.secure()
        going, _ = self.answer("GREETING", f"220 {self.peer.name} ESMTP")
        while going:
            line = self.line()
            self.lines.append(line)
            going = self.command(line)

    def command(self, line):
        name = line.split(" ")[0].upper()
        if name in ("EHLO", "HELO", "LHLO"):
            self.begin()
            return self.answer(name, self.hello() if name != "HELO" else f"250 {self.peer.name}")[0]
        if name == "STARTTLS":
            going, taken = self.answer(name, "220 go ahead")
            if going and taken:
                self.secure()
            return going
        if name == "AUTH":
            return self.say(self.peer.reply_to(name) or self.log_in(line))
        if name == "MAIL":
            going, taken = self.answer(name, "250 2.1.0 ok")
            if taken:
                self.sender = line[line.index("<") + 1:line.index(">")]
                self.options = line[line.index(">") + 1:].split()
            return going
        if name == "RCPT":
            if self.sender is None:
                return self.say("503 5.5.1 MAIL first")
            going, taken = self.answer(name, "250 2.1.5 ok")
            if taken:
                self.recipients.append(line[line.index("<") + 1:line.index(">")])
            return going
        if name == "DATA":
            if not self.recipients:
                return self.say("503 5.5.1 RCPT first")
            going, taken = self.answer(name, "354 go ahead")
            return self.take(self.text()) if going and taken else going
        if name == "BDAT":
            data = self.bytes(int(line.split()[1]))
            if not self.recipients:
                return self.say("503 5.5.1 RCPT first")
            if not line.upper().endswith(" LAST"):
                self.chunks = getattr(self, "chunks", b"") + data
                return self.say("250 2.0.0 more")
            data = getattr(self, "chunks", b"") + data
            self.chunks = b""
            return self.take(data)
        if name == "RSET":
            self.begin()
            return self.say("250 2.0.0 ok")
        if name == "QUIT":
            self.say("221 2.0.0 bye")
            return False
        return self.say("502 5.5.1 what?")

    def take(self, data):
        going = True
        replies = [self.choose("TEXT", "250 2.0.0 taken")
            for _ in (self.recipients if self.peer.lmtp else [None])]
        # Before the other side knows: it may be over then.
        if any(taken for _, taken in replies):
            self.peer.messages.append(Message(self, data))
        for reply, _ in replies:
            going = self.say(reply) and going
        self.begin()
        return going


class Peer:
    """address, port     where it listens (port=None: any); or path, a Unix socket's
    name              what it calls itself
    extensions        of EHLO
    context           an ssl.SSLContext: STARTTLS is offered, or with implicit_tls not asked for
    credentials       (user, password) that AUTH takes, offered over TLS"""

    def __init__(self, *, address=None, port=25, name="mx.far.test",
            extensions=("PIPELINING", "8BITMIME", "SIZE 10000000", "ENHANCEDSTATUSCODES"),
            context=None, implicit_tls=False, credentials=None, mechanisms="PLAIN LOGIN",
            lmtp=False, family=socket.AF_INET, path=None):
        self.address = address or loopback_address()
        self.path = path and str(path)
        self.name, self.extensions = name, extensions
        self.context, self.implicit_tls = context, implicit_tls
        self.credentials, self.mechanisms, self.lmtp = credentials, mechanisms, lmtp
        self.messages, self.sessions, self.problems = [], [], []
        self._once, self._always = {}, {}
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self.socket = socket.socket(socket.AF_UNIX if path else family)
        if path:
            self.socket.bind(self.path)
            self.port = None
        else:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            self.socket.bind((self.address, port or 0))
            self.port = self.socket.getsockname()[1]
        self.socket.listen(128)

    def on(self, what, *replies):
        """These, one after the other, and then as before."""
        with self._lock:
            self._once.setdefault(what, []).extend(replies)

    def always(self, what, reply):
        with self._lock:
            self._always[what] = reply

    def is_asked(self, what):
        """All that on() has is used up."""
        with self._lock:
            return not self._once.get(what)

    def reply_to(self, what):
        with self._lock:
            once = self._once.get(what)
            return once.pop(0) if once else self._always.get(what)

    def __enter__(self):
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join(10)
        for session in self.sessions:
            try:
                session.connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        assert not self.problems, self.problems

    def _accept(self):
        while not self.ended.is_set():
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            connection.settimeout(60)
            session = Session(self, connection)
            self.sessions.append(session)
            threading.Thread(target=self._serve, args=(session,), daemon=True).start()

    def _serve(self, session):
        try:
            session.run()
        except AssertionError as why:
            self.problems.append(str(why))
        except (OSError, ssl.SSLError, ValueError):
            pass
        finally:
            try:
                session.connection.close()
            except OSError:
                pass

    def wait_messages(self, count, timeout=20.0):
        wait_for(lambda: len(self.messages) >= count, timeout,
            f"{count} messages at {self.name}; sessions: {[s.lines for s in self.sessions]}")
        assert len(self.messages) == count
        return list(self.messages)

    def wait_sessions(self, count, timeout=20.0):
        wait_for(lambda: len(self.sessions) >= count, timeout, f"{count} sessions at {self.name}")


def silent_port(address, port=25):
    """A socket that takes connections (as the kernel does) and never says a word."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((address, port))
    listener.listen(16)
    return listener

