#!/bin/sh
# Makes the system accounts that the suite's programs run as, each with a group of its own; those
# that exist are left as they are. Where systemd-sysusers is used, etc/sysusers.conf does the same.
set -eu

PATH=$PATH:/usr/sbin:/sbin
nologin=$(command -v nologin || echo /bin/false)

make_account() {
	getent group "$1" >/dev/null || groupadd --system "$1"
	getent passwd "$1" >/dev/null || useradd --system --gid "$1" --no-create-home \
		--home-dir /nonexistent --shell "$nologin" --comment "$2" "$1"
}

make_account _smtpd 'Postern, takes mail in'
make_account _smtpq 'Postern, the queue'
make_account _smtpl 'Postern, looks up names'
make_account _smtpt 'Postern, tables and accounts'
make_account _smtpc 'Postern, control'
make_account _smtpk 'Postern, private keys'
make_account _smtpr 'Postern, sends mail out'
make_account _smtpa 'Postern, POP3 and IMAP before login'
make_account _vmail 'Postern, owner of mailboxes'
