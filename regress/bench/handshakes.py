"""TLS handshakes a second: a new connection with STARTTLS each time, nothing resumed."""

import json
import subprocess
import time

from measure import WORK, command
from running import Running

KEYS = {"RSA 2048": ["-newkey", "rsa:2048"],
    "ECDSA P-256": ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]}


def make_certificate(name):
    """(certificate, key), its own authority."""
    stem = WORK / name.replace(" ", "-").lower()
    files = (stem.with_suffix(".crt"), stem.with_suffix(".key"))
    if not all(file.exists() for file in files):
        command("openssl", "req", "-x509", *KEYS[name], "-nodes", "-subj", "/CN=mx.example.test",
            "-addext", "subjectAltName=DNS:mx.example.test", "-days", "3650", "-out", files[0],
            "-keyout", files[1], stderr=subprocess.DEVNULL)
        files[1].chmod(0o600)
    return files


def measure_handshakes(server, name, sessions, seconds):
    row = {"server": server.name, "case": f"TLS, {name}", "client": "handshakes",
        "sessions": sessions}
    server.certificate = make_certificate(name)
    try:
        with Running(server) as running:
            words = [WORK / "handshakes", sessions]
            command(*words, 500, server.port, stdout=subprocess.DEVNULL)  # keys are loaded
            cpu = running.cgroup.cpu_ms()
            result = json.loads(command(*words, seconds * 1000, server.port,
                stdout=subprocess.PIPE, text=True).stdout)
            time.sleep(0.1)
            cpu = running.cgroup.cpu_ms() - cpu
    finally:
        server.certificate = None
    count = max(result["handshakes"], 1)
    row.update(messages=result["handshakes"], taken_per_s=result["handshakes"] / result["seconds"],
        cpu_ms=cpu / count, client_cpu_ms=result["client_cpu_ms"] / count,
        refused=result["failed"], note=result["cipher"])
    return row
