#!/bin/bash
# deps.sh build|demo|test|bench: installs the Debian packages that building, the demo, the tests or
# the benchmark need, as far as they are missing. Says nothing and asks no mirror when all are there.
#
# smtp-source and smtp-sink come with Postfix, which must not be installed for that (it would
# become this machine's mail server, and so would nsd its name server; fail2ban would change its
# firewall, cron run its jobs): such packages are unpacked under build/tools, and build/tools/bin
# holds a small starter for each program that the tests use. The other mail servers of
# regress/e2e/hosts.py are run there.
set -eu
cd "$(dirname "$0")/.."

build="gcc make bison libc6-dev libcrypt-dev libevent-dev libbsd-dev libdb5.3-dev libssl-dev
	libidn2-dev libunbound-dev zlib1g-dev"
demo="$build python3"
# libicu72 libnsl2 libsasl2-modules: what Postfix uses; libfstrm0 libprotobuf-c1: nsd;
# libgnutls-dane0 libidn12: Exim; libical3 libjansson4 libkrb5-3 libldap-2.5-0 libpcre3 libpq5
# libsqlite3-0 libwrap0 libxapian30 libxml2: Cyrus; libargon2-1 libxml2: PHP; liblockfile1: bsd-mailx
test="$demo python3-pytest python3-pytest-xdist libcmocka-dev clang libclang-rt-14-dev clang-format mandoc groff-base swaks msmtp strace curl jq
	dnsmasq-base python3-dkim opendkim-tools ldnsutils iproute2 netbase procps util-linux mount e2fsprogs xfsprogs libicu72 libnsl2
	libfstrm0 libprotobuf-c1 liblz4-1 libsodium23 libunwind8 openssl libnet-ssleay-perl libsasl2-modules libgnutls-dane0 libidn12
	libical3 libjansson4 libkrb5-3 libldap-2.5-0 libpcre3 libpq5 libsqlite3-0 libwrap0 libxapian30 libxml2 libargon2-1 liblockfile1
	git git-email libauthen-sasl-perl libmailtools-perl libmime-lite-perl mutt procmail maildrop s-nail isync offlineimap3 fetchmail
	getmail6 mpop sieve-connect python3-sievelib python3-prometheus-client"

bench="$test debootstrap"

missing() {
	local package
	for package in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
			echo "$package"
	done
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 \
		-o APT::Sandbox::User=root "$@" </dev/null
}

install() {
	local wanted
	wanted=$(missing "$@")
	[ -n "$wanted" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		echo "deps: these Debian packages are missing; as root: apt-get install" $wanted >&2
		exit 1
	fi
	echo "deps: installing" $wanted
	# The machine's package lists may be absent or too old to find the files.
	apt install --no-install-recommends $wanted >/dev/null 2>&1 ||
		{ apt update && apt install --no-install-recommends $wanted; }
}

# unpack PACKAGE PROGRAM...: its programs to build/tools/bin
unpack() {
	local package=$1 root=build/tools/$1 program file
	shift
	[ ! -e "$root/complete" ] || return 0
	echo "deps: unpacking $package under build/tools"
	rm -rf "$root"
	mkdir -p "$root" build/tools/bin
	if ! (cd "$root" && { apt download "$package" >/dev/null 2>&1 ||
		{ apt update >/dev/null && apt download "$package"; }; }); then
		echo "deps: no $package to be had; tests that need it are skipped" >&2
		return 0
	fi
	dpkg-deb -x "$root"/*.deb "$root"
	rm -f "$root"/*.deb
	find "$root" -type f -perm /6000 -exec chmod ug-s {} +
	for program in "$@"; do
		file=$(find "$root" -type f -path "*bin/$program" -perm -u+x | head -n 1)
		cat >"build/tools/bin/$program" <<-END
			#!/bin/sh
			root=\$(dirname "\$(readlink -f "\$0")")/..
			LD_LIBRARY_PATH=\$root/$package/usr/lib/postfix \\
			PYTHONPATH=\$root/$package/usr/lib/python3/dist-packages \\
				exec "\$root/${file#build/tools/}" "\$@"
		END
		chmod 755 "build/tools/bin/$program"
	done
	touch "$root/complete"
}

# build/tools/bin/dovecot CONFIGURATION doveadm|imap|managesieve|sieve-test ARGUMENT...: as if its
# master had started it.
dovecot_starter() {
	local library=usr/lib/dovecot
	[ -e build/tools/dovecot-imapd/complete ] || return 0
	cat >build/tools/bin/dovecot <<-END
		#!/bin/sh
		tools=\$(dirname "\$(readlink -f "\$0")")/..
		export LD_LIBRARY_PATH=\$tools/dovecot-core/$library:\$tools/dovecot-sieve/$library
		conf=\$1 program=\$2
		shift 2
		case \$program in
		imap) file=\$tools/dovecot-imapd/$library/imap ;;
		managesieve) file=\$tools/dovecot-managesieved/$library/managesieve ;;
		sieve-test) file=\$tools/dovecot-sieve/usr/bin/sieve-test ;;
		*) file=\$tools/dovecot-core/usr/bin/\$program ;;
		esac
		exec "\$tools/dovecot-core/usr/bin/doveconf" -c "\$conf" -f service="\$program" \\
			-e "\$file" "\$@"
	END
	chmod 755 build/tools/bin/dovecot
}

case ${1:-} in
build) install $build ;;
demo) install $demo ;;
test | bench)
	install ${!1}
	unpack postfix smtp-source smtp-sink
	unpack nsd nsd
	unpack fail2ban fail2ban-regex
	unpack exim4-daemon-light
	unpack opensmtpd
	unpack dovecot-core
	unpack dovecot-imapd
	unpack dovecot-lmtpd
	unpack cyrus-common
	unpack cyrus-imapd
	unpack dovecot-sieve
	unpack dovecot-managesieved
	unpack postsrsd postsrsd
	unpack vacation
	unpack cron
	unpack at
	unpack anacron
	unpack bsd-mailx
	unpack php8.2-cli php8.2
	unpack logwatch
	unpack libdate-manip-perl
	dovecot_starter
	;;
*)
	sed -n '2,3s/^# //p' "$0" >&2
	exit 64
	;;
esac
