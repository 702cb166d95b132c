#!/bin/bash
# A live server among hostile peers: each is answered with a closed connection and counted, others are served meanwhile, and
# the server's memory does not grow.
#
#     hostile_test.sh PENSTOCK
set -euo pipefail

penstock=$1
address=127.0.0.1
work=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill -9 "$server" 2>/dev/null || true; rm -rf "$work"' EXIT

fail() {
    echo "FAILED: $*" >&2
    cat "$work/serve.log" >&2
    exit 1
}

# bytes HEX...: those bytes.
bytes() {
    local hex=${*// /}
    printf '%b' "$(sed 's/../\\x&/g' <<<"${hex// /}")"
}
zeros() { head -c "$1" /dev/zero; }

# docs/tcp-fabric.md: 48-byte headers. handshake KIND PRIVATE_BYTES(hex, little-endian)
handshake() {
    printf PENSTOCK
    bytes "0100 $1 00 10 10 0000 $2 01000000"
    zeros 24
}
# docs/connection.md: the greeting of a control lane.
greeting() {
    printf PSCG
    bytes 01000000
}
open_lane() {
    handshake 01 08000000
    greeting
    handshake 04 00000000
}
# frame TYPE LENGTH MESSAGE: the rest zero but `a`, the bytes of the whole message
frame() {
    bytes "$1 00 0000 $2 $3 00000000 0000000000000000 00000000 00000000 ${2}00000000 0000000000000000"
}

# Each prints what one hostile peer says.
attacks=(wrong_magic nothing_but_zeros random_bytes truncated_handshake huge_private_data unknown_greeting wrong_version
    unknown_frame huge_frame truncated_frame frame_out_of_order write_without_key garbage_hello truncated_hello)
wrong_magic() { printf 'GET / HTTP/1.1\r\nHost: x\r\n\r\n%060d' 0; }
nothing_but_zeros() { zeros 4096; }
random_bytes() { head -c 4096 /dev/urandom; }
truncated_handshake() { handshake 01 08000000 | head -c 20; }
huge_private_data() { handshake 01 ffffff7f; zeros 64; }
unknown_greeting() { handshake 01 08000000; zeros 8; }
wrong_version() { printf PENSTOCK; bytes ff7f0100; zeros 36; }
unknown_frame() { open_lane; bytes 63; zeros 47; }
huge_frame() { open_lane; frame 01 ffffff7f 00000000; zeros 4096; }
truncated_frame() { open_lane; frame 01 40000000 00000000 | head -c 30; }
frame_out_of_order() { open_lane; frame 01 08000000 ffff0000; zeros 8; }
write_without_key() { open_lane; frame 02 40000000 00000000; zeros 64; }
garbage_hello() { open_lane; frame 01 40000000 00000000; head -c 64 /dev/urandom; }
truncated_hello() { open_lane; frame 01 06000000 00000000; printf PSCM; bytes 0101; }

# Sends what an attack says and reads until the server closes.
attack() {
    local name=$1
    exec 3<>"/dev/tcp/$address/$port"
    "$name" >&3 2>/dev/null || true # it may have closed already
    if [[ $name == truncated* ]]; then
        exec 3>&- # a peer that dies in the middle
    elif ! timeout 15 cat <&3 >/dev/null 2>&1; then
        # A reset is a closed connection too; only a server that keeps it open is wrong.
        (($? != 124)) || fail "$name: the server keeps the connection open"
        exec 3>&-
    else
        exec 3>&-
    fi
}

resident_kib() { awk '/^VmRSS/ {print $2}' "/proc/$server/status"; }

mkdir "$work/root" "$work/in"
head -c 300000 /dev/urandom >"$work/in/object"
"$penstock" serve --root "$work/root" --listen "$address:0" >"$work/serve.log" 2>"$work/serve.err" &
server=$!
deadline=$((SECONDS + 20))
until grep -q '^serving' "$work/serve.log"; do
    ((SECONDS < deadline)) || fail "the server does not start"
    kill -0 "$server" 2>/dev/null || fail "the server died"
done
port=$(sed -n 's/^serving .*:\([0-9]*\);.*/\1/p' "$work/serve.log" | head -n 1)
uri=penstock://$address:$port

round() {
    local name
    for name in "${attacks[@]}"; do
        attack "$name"
    done
    "$penstock" put "$work/in/object" "$uri/object" >/dev/null || fail "a put fails after the attacks"
    "$penstock" get "$uri/object" "$work/out" >/dev/null || fail "a get fails after the attacks"
    cmp -s "$work/in/object" "$work/out" || fail "the object came back different"
}

# The first rounds fill caches and pools; what comes after must not need more.
rounds=${PENSTOCK_TEST_ROUNDS:-12}
round
round
before=$(resident_kib)
for ((i = 0; i < rounds; ++i)); do
    round
done
after=$(resident_kib)
((after <= before + 8192)) || fail "the server grew from $before KiB to $after KiB in $rounds rounds"

kill -TERM "$server"
wait "$server" || fail "the server did not stop in order"
server=
refused=$(sed -n 's/.* \([0-9]*\) handshakes refused.*/\1/p' "$work/serve.log")
expected=$(((rounds + 2) * ${#attacks[@]}))
((refused >= expected)) || fail "$refused refusals counted of $expected attacks"
echo "$expected attacks refused and counted; resident $before KiB before, $after KiB after"
