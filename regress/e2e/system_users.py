"""Users of the system, made for a test and removed after it."""

import os
import pathlib
import pwd
import subprocess


def run(*words):
    """useradd and its like lock the files that they change: another may be at it."""
    for _ in range(20):
        result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if "cannot lock" not in result.stderr:
            break
    assert result.returncode == 0, (words, result.stderr)


class Users:
    """Makes users of the system; `user("a")` is the name of the one made as "a"."""

    def __init__(self, base):
        self.base = base
        self.made = {}
        self.groups = []

    def name(self, short):
        return f"pt{os.getpid() % 1000000}{short}"

    def add(self, short, shell="/bin/bash", home=True):
        name = self.name(short)
        run("useradd", "-K", "HOME_MODE=0700", "-m" if home else "-M", "-d",
            str(self.base / name), "-s", shell, name)
        self.made[short] = name
        return name

    def remove(self, short):
        """-f: his processes may still be there."""
        run("userdel", "-f", self.made.pop(short))

    def group(self, short, *members):
        name = self.name(short)
        run("groupadd", name)
        self.groups.append(name)
        for member in members:
            run("usermod", "-aG", name, member)
        return name

    def home(self, name):
        return pathlib.Path(pwd.getpwnam(name).pw_dir)

    def box(self, name):
        return self.home(name) / "Maildir"

    def write(self, name, text, file=".forward", mode=0o644, owner=None):
        path = self.home(name) / file
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(mode)
        entry = pwd.getpwnam(owner or name)
        os.chown(path, entry.pw_uid, entry.pw_gid)
        return path

    def clear(self):
        for short in list(self.made):
            self.remove(short)
        for name in self.groups:
            run("groupdel", name)
