"""A client of ManageSieve (RFC 5804) that says what it is told to, and reads the answers."""

import base64
import re
import socket
import ssl

PASSWORD = "correct horse battery"
USER = "alice@example.test"


def quoted(text):
    return b'"' + text.encode().replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal(text):
    text = text if isinstance(text, bytes) else text.encode()
    return b"{%d+}\r\n%b" % (len(text), text)


def insecure():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class SieveClient:
    """Connects and reads the greeting's capabilities; with a user, logs in too."""

    def __init__(self, port, user=None, password=PASSWORD, timeout=20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""
        self.lines, self.status, self.words = [], "", ""
        self.greeting = self.answer()
        if user is not None:
            assert self.log_in(user, password) == "OK", self.words

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError(f"closed behind {self.buffer!r}")
        self.buffer += data

    def line(self):
        """A line, its literals in the place of their lengths."""
        line = b""
        while True:
            while b"\r\n" not in self.buffer:
                self.fill()
            part, self.buffer = self.buffer.split(b"\r\n", 1)
            size = re.search(rb"\{(\d+)\}$", part)
            if size is None:
                return line + part
            while len(self.buffer) < int(size[1]):
                self.fill()
            line += part[:size.start()] + b'"' + self.buffer[:int(size[1])] + b'"'
            self.buffer = self.buffer[int(size[1]):]

    def answer(self):
        """Up to OK, NO or BYE: "OK", "NO (ACTIVE)"; the words in `words`, what came before in `lines`."""
        self.lines = []
        while True:
            line = self.line()
            end = re.match(rb'((?:OK|NO|BYE)(?: \(.*?\))?) "(.*)"$', line, re.DOTALL)
            if end is not None:
                self.status, self.words = end[1].decode(), end[2].decode()
                return self.status
            self.lines.append(line)

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def say(self, text):
        """Sends these bytes; the status of the answer."""
        self.send(text)
        return self.answer()

    def run(self, verb, *arguments):
        """A command; text and bytes are sent as literals, numbers as such."""
        return self.say(b" ".join([verb.encode(), *[str(argument).encode() if isinstance(argument, int)
            else literal(argument) for argument in arguments]]) + b"\r\n")

    def log_in(self, user=USER, password=PASSWORD):
        text = base64.b64encode(f"\0{user}\0{password}".encode())
        return self.say(b'AUTHENTICATE "PLAIN" "%b"\r\n' % text)

    def start_tls(self):
        assert self.run("STARTTLS") == "OK"
        self.socket = insecure().wrap_socket(self.socket)
        return self.answer()

    def capabilities(self):
        """Those of the last answer."""
        found = [re.match(rb'"(.*?)"(?: "(.*)")?$', line) for line in self.lines]
        return {parts[1].decode(): (parts[2] or b"").decode() for parts in found}
