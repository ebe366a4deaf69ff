#!/bin/sh
# The demo: a stand-in miner is detected by its behaviour, and the kernel refuses what it does next.
# Runs as root, in a VM of `cargo xtask demo` or natively. Every line with a verdict is checked.
set -u
KRSI=${KRSI:-/krsi}
PLUGINS=${KRSI_PLUGINS:-$KRSI}
DIR=$(mktemp -d /tmp/krsi-demo.XXXXXX)
BUILD=/tmp/go-build1
HOST=
# An address of this machine that is not loopback's, for a pool.
AT=198.51.100.7
SILENT=
trap 'kill $HOST $LISTENER $POOL $SILENT 2>/dev/null; ip addr del $AT/32 dev lo 2>/dev/null; rm -rf "$DIR" "$BUILD"' EXIT

say() { printf '\n$ %s\n' "$*"; }
fail() { echo "demo: $*"; cat "$DIR/log"; exit 1; }
# Waits up to two minutes, as for a busy machine, for a command to succeed.
until_true() { n=0; while ! eval "$1"; do n=$((n + 1)); [ $n -gt 1200 ] && return 1; sleep 0.1; done; }

echo "kernel $(uname -r), LSMs $(cat /sys/kernel/security/lsm)"
mkdir -p "$BUILD"
cp "$KRSI/stand-in-miner" "$DIR/kworkerd"
cp "$KRSI/stand-in-miner" "$BUILD/server"
LISTENER= POOL=
(while true; do nc -l -p 3333 >/dev/null 2>&1 </dev/null || sleep 0.1; done) &
LISTENER=$!
ip addr add $AT/32 dev lo || fail "no address for a pool"
(while true; do nc -l -p 443 >/dev/null 2>&1 </dev/null || sleep 0.1; done) &
POOL=$!

# Natively, the plugin lies in a developer's folder.
say krsi-host --plugin miner.wasm
"$KRSI/krsi-host" --plugin "$PLUGINS/miner.wasm" --allow-writable --color always --ready-file "$DIR/ready" \
    >"$DIR/out" 2>"$DIR/log" &
HOST=$!
until_true '[ -e "$DIR/ready" ] || ! kill -0 $HOST 2>/dev/null' || fail "krsi-host is not ready"
[ -e "$DIR/ready" ] || fail "krsi-host did not start"
cat "$DIR/out"

say kworkerd --donate-level 1 -o stratum+tcp://127.0.0.1:3333 "&    # a renamed miner, left running"
"$DIR/kworkerd" --donate-level 1 --repeat 100 --every 200 -o stratum+tcp://127.0.0.1:3333 \
    >"$DIR/miner" 2>&1 &
until_true 'grep -q EPERM "$DIR/miner"' || fail "the running miner was never refused"
cat "$DIR/miner" | uniq | head -4
echo "the running miner's connections are now refused with EPERM"

say "kworkerd    # once more"
until_true '! "$DIR/kworkerd" 2>/dev/null' || fail "the miner can still be executed"
"$DIR/kworkerd" 2>&1 | head -1
"$DIR/kworkerd" 2>/dev/null && fail "the miner can still be executed"

say "/tmp/go-build1/server -o 127.0.0.1:3333    # a fresh build, the same bytes and port: left alone"
until_true '"$BUILD/server" -o 127.0.0.1:3333 >"$DIR/server" 2>&1 && grep -q ": ok" "$DIR/server"' \
    || fail "the fresh build was harmed: $(cat "$DIR/server")"
cat "$DIR/server"

say "sshd &    # a miner that is told nothing, its pool on port 443: seen by its first words, then refused"
cp "$KRSI/stand-in-miner" "$DIR/sshd"
LOGIN='{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"4wallet","pass":"x"}}'
STAND_IN=$AT:443 STAND_IN_SAYS=$LOGIN "$DIR/sshd" >"$DIR/silent" 2>&1 &
SILENT=$!
until_true 'grep -q "send.*EPERM" "$DIR/silent"' || fail "the silent miner was never refused"
uniq "$DIR/silent" | grep send | uniq | head -2

say "kill -INT krsi-host"
kill -INT $HOST
wait $HOST || fail "krsi-host ended with $?"
HOST=
cat "$DIR/out"
grep -q "first words of a pool" "$DIR/out" || fail "no alert about the silent miner"
grep -q T1496 "$DIR/out" || fail "no alert T1496"
grep -q "bprm_check_security.*miner#" "$DIR/out" || fail "no denied exec with its rule"
grep -q "socket_connect.*miner#" "$DIR/out" || fail "no denied connect with its rule"
echo
echo "demo: detected and denied in the kernel"
