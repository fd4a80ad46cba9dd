#!/bin/bash
# Measures Postern beside Postfix, OpenSMTPD and Exim (see README): regress/bench/run.sh [run.py's
# options]. In a mount namespace of its own, so that whatever happens nothing stays mounted, and in a
# network of its own once the peers' packages are there.
set -eu
cd "$(dirname "$0")/../.."
if [ "$(id -u)" != 0 ]; then
	echo "bench: needs root (loop mounts, cgroups, the suite's accounts)" >&2
	exit 77
fi
regress/deps.sh bench
exec unshare --mount --propagation private bash -euc '
	"$0" -B regress/bench/run.py --set-up "$@"
	exec unshare --net "$0" -B regress/bench/run.py "$@"' /usr/bin/python3 "$@"
