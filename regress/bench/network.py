"""The network that the bench runs in: a namespace of its own, so that its ports and addresses are
nobody else's. Names are dnsmasq's; other mail servers have addresses of loopback, and those that never
answer are on a wire whose other end nobody listens at: what is sent there is lost.
"""

import ipaddress
import subprocess
import time

from measure import WORK, command

NAMESERVER = "127.0.0.53"
SINK = "127.0.0.9"
HOLE = ipaddress.ip_network("10.99.0.0/16")
ANSWERING = ipaddress.ip_network("127.2.0.0/16")


def set_up():
    """In a fresh network namespace."""
    command("ip", "link", "set", "lo", "up")
    command("ip", "link", "add", "hole", "type", "veth", "peer", "name", "nowhere")
    command("ip", "addr", "add", f"{HOLE[-2]}/{HOLE.prefixlen}", "dev", "hole")
    for end in ("hole", "nowhere"):
        command("ip", "link", "set", end, "arp", "off", "up")


class Names:
    """DNS while the block lasts: remote.test has its MX at SINK, d0 to dN.remote.test an MX each with
    an address of its own. `answering` of these answer and `silent` don't, evenly mixed."""

    def __init__(self, answering=0, silent=0):
        lines = [f"listen-address={NAMESERVER}", "bind-interfaces", "no-resolv", "no-hosts",
            "keep-in-foreground", "local=/#/", f"host-record=sink.remote.test,{SINK}",
            "mx-host=remote.test,sink.remote.test,10", "cache-size=10000", "user=root",
            f"pid-file={WORK}/dnsmasq.pid", "dns-forward-max=2000", "local-ttl=3600"]
        for number in range(answering + silent):
            is_silent = number * silent % (answering + silent) < silent
            address = (HOLE if is_silent else ANSWERING)[number + 1]
            lines += [f"host-record=mx{number}.remote.test,{address}",
                f"mx-host=d{number}.remote.test,mx{number}.remote.test,10"]
        self.config = WORK / "dnsmasq.conf"
        self.config.write_text("\n".join(lines) + "\n")

    def __enter__(self):
        with open(WORK / "dnsmasq.log", "wb") as log:
            self.process = subprocess.Popen(["dnsmasq", f"--conf-file={self.config}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + 10
        while not listens(53):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dnsmasq doesn't start: {WORK}/dnsmasq.log")
            time.sleep(0.02)
        return self

    def __exit__(self, *_exception):
        self.process.terminate()
        self.process.wait(10)


def listens(port):
    """Whether something does, by TCP."""
    wanted = f":{port:04X}"
    with open("/proc/net/tcp") as file:
        return any(line.split()[1].endswith(wanted) and line.split()[3] == "0A"
            for line in file.readlines()[1:])
