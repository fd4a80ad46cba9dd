"""A DNS of the tests' own: nsd with a signed root zone and zones below it, signed and not.

    with SignedDns(tool, tmp_path, zones) as dns:
        dns.port, dns.anchor        # what `resolver nameserver` and `resolver trust-anchor` take

`zones` maps a name ("example", no dot) to a Zone. The root, which is made here, delegates them and has
DS records of those that are signed. The one server answers for all.
"""

import contextlib
import dataclasses
import re
import socket
import struct
import subprocess
import time

from postern import free_port, wait_for

HEAD = """$TTL 60
@ IN SOA ns.example. hostmaster.example. 1 3600 600 86400 60
@ IN NS ns.example.
"""


@dataclasses.dataclass
class Zone:
    records: str = ""
    signed: bool = True
    expired: bool = False
    delegated: bool = True
    damaged: tuple = ()  # owner names (without the zone's) whose signatures are made wrong


def damage(text, owner):
    """Another signature for the owner's addresses and mail exchangers, as long as the right one."""
    pattern = re.compile(rf"^({re.escape(owner)}\.\s.*\sRRSIG\s+(?:A|AAAA|MX|TLSA|TXT)\s.*\s)"
        r"([A-Za-z0-9+/]{8})([A-Za-z0-9+/=]+)\s*$", re.M)
    text, count = pattern.subn(lambda match: match[1] + match[2][::-1] + match[3], text)
    assert count, f"no signature of {owner}"
    return text


class SignedDns:
    def __init__(self, tool, directory, zones, *, address="127.0.0.1", port=None, host=None):
        self.tool = tool
        self.address = address
        self.host = host
        self.directory = directory / "dns"
        self.directory.mkdir()
        self.port = port or free_port()
        self.anchor = self.directory / "root.key"
        self.process = None
        self.log = None
        delegations = ""
        configured = []
        for name, zone in zones.items():
            text = zone.records
            if name == "example":
                text += f"\nns IN A {address}\n"
            signers = self.add_zone(name, zone, text)
            if zone.delegated:
                delegations += f"{name}. IN NS ns.example.\n{signers}"
            configured.append(name)
        root = self.add_zone("", Zone(), delegations + f"ns.example. IN A {address}\n")
        self.anchor.write_text(root)
        self.start([*configured, ""])

    def path(self, name):
        return self.directory / (f"{name or 'root'}.zone")

    def add_zone(self, name, zone, text):
        """Writes and signs it; its DS records."""
        path = self.path(name)
        path.write_text(f"$ORIGIN {name}.\n{HEAD}{text}")
        if not zone.signed:
            return ""
        keygen = subprocess.run([self.tool("ldns-keygen"), "-a", "ECDSAP256SHA256", "-k", name or "."],
            cwd=self.directory, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
            check=True)
        key = keygen.stdout.strip()
        now = time.time() - (90 * 86400 if zone.expired else 0)
        times = [time.strftime("%Y%m%d%H%M%S", time.gmtime(at))
            for at in (now - 86400, now + 30 * 86400)]
        subprocess.run([self.tool("ldns-signzone"), "-i", times[0], "-e", times[1],
            "-o", f"{name}.", path.name, key], cwd=self.directory,
            stdin=subprocess.DEVNULL, check=True)
        signed = path.with_name(path.name + ".signed")
        text = signed.read_text()
        for owner in zone.damaged:
            text = damage(text, f"{owner}.{name}")
        path.write_text(text)
        return (self.directory / f"{key}.ds").read_text()

    def start(self, zones):
        config = self.directory / "nsd.conf"
        config.write_text(f"""server:
    ip-address: {self.address}@{self.port}
    username: ""
    chroot: ""
    zonesdir: "{self.directory}"
    database: ""
    pidfile: "{self.directory}/nsd.pid"
    xfrdfile: "{self.directory}/xfrd.state"
    zonelistfile: "{self.directory}/zone.list"
    server-count: 1
    rrl-ratelimit: 0
    verbosity: 1
remote-control:
    control-enable: no
""" + "".join(f'zone:\n    name: "{name or "."}"\n    zonefile: "{self.path(name).name}"\n'
            for name in zones))
        self.log = open(self.directory / "log", "w+", encoding="utf-8")
        self.run(config)
        try:
            wait_for(lambda: self.answers(config), what="nsd answers")
        except BaseException:
            self.stop()
            raise

    def run(self, config):
        words = [self.tool("nsd"), "-d", "-c", str(config)]
        self.process = subprocess.Popen(self.host.words(*words) if self.host else words,
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def answers(self, config):
        if self.process.poll() is not None:
            # A resolver asks from any UDP port, for a moment: it may just be this one.
            said = (self.directory / "log").read_text()
            assert "Address already in use" in said, said
            self.log.truncate(0)
            self.run(config)
        with self.host.inside() if self.host else contextlib.nullcontext():
            probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with probe:
            probe.settimeout(0.2)
            try:
                probe.sendto(struct.pack(">HHHHHH", 7, 0, 1, 0, 0, 0) + b"\0\0\6\0\1",
                    (self.address, self.port))
                return probe.recv(512)
            except OSError:
                return None

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        if self.log is not None:
            self.log.close()
            self.log = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
