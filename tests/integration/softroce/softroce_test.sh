#!/usr/bin/env bash
# shellcheck disable=SC2016  # what is in single quotes is for the guest's shell
# Tests tools/softroce by running guests: about a minute. Ends at the first failure, and leaves no guest behind.
# Argument, if any: the names of the cases to run.
set -euo pipefail

top=$(cd -- "$(dirname -- "$0")/../../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/penstock-softroce-test.XXXXXX")
trap 'rm -rf -- "$work"' EXIT

fail() {
    printf 'FAILED: %s\n' "$*" >&2
    sed 's/^/    stdout | /' "$work/stdout" | tail -n 30 >&2
    sed 's/^/    stderr | /' "$work/stderr" | tail -n 60 >&2
    exit 1
}

# Runs the tool; its streams go into files, its status into $status.
run() {
    status=0
    "$top/tools/softroce" "$@" > "$work/stdout" 2> "$work/stderr" || status=$?
}

expect_status() { [[ $status == "$1" ]] || fail "exit status $status, not $1"; }
expect_in() { grep -qF -- "$2" "$work/$1" || fail "no '$2' in $1"; }
expect_line() { grep -qxF -- "$2" "$work/$1" || fail "no line '$2' in $1"; }
guests() { pgrep -f "penstock-softroce.*$1" || :; }

test_refusals() {
    run --loss 1 -- true
    expect_status 125
    expect_in stderr '--loss needs --hosts 2'
    run --hosts 3 -- true
    expect_status 125
    run --why
    expect_status 0
    expect_in stderr 'softroce: way: '
}

# Everything that must pass unchanged into the command and out of it.
test_one_guest() {
    mkdir "$work/here" "$work/out"
    cat > "$work/here/inside" <<'END'
set -u
printf 'argument [%s]\n' "$@"
printf 'directory [%s]\n' "$PWD"
printf 'variable [%s]\n' "$ODD_VARIABLE"
printf 'way [%s] address [%s]\n' "$PENSTOCK_SOFTROCE" "$PENSTOCK_ADDRESS"
printf 'locked memory [%s]\n' "$(ulimit -l)"
printf 'peer [%s]\n' "${PENSTOCK_PEER_ADDRESS-none}"
echo 'this is stderr' >&2
ibv_devinfo -d rxe0 | grep -E 'state|active_mtu'
ib_write_bw -d rxe0 -x 1 -s 65536 -n 200 > server 2>&1 &
sleep 1
ib_write_bw -d rxe0 -x 1 -s 65536 -n 200 "$PENSTOCK_ADDRESS" > client 2>&1 && echo 'ib_write_bw works'
head -c 5000000 /dev/urandom > big
echo "sum $(sha256sum < big)"
cp big "$1/big"
sleep 1000 &
cat big
exit 7
END
    cd -- "$work/here"
    PENSTOCK_PEER_ADDRESS=stale ODD_VARIABLE=$'a "b"\n\\c é' \
        run --verbose --way guest --output "$work/out" -- bash ./inside "$work/out" 'two words' $'two\nlines' "quotes ' \" \$HOME \\" ''
    cd -- "$top"
    expect_status 7
    local line
    for line in 'argument [two words]' 'argument [two' 'lines]' "argument [quotes ' \" \$HOME \\]" 'argument []' \
        "directory [$work/here]" 'variable [a "b"' '\c é]' 'way [guest] address [10.99.0.1]' 'locked memory [unlimited]' \
        'peer [none]' 'ib_write_bw works'; do
        grep -aqxF -- "$line" "$work/stdout" || fail "no line '$line' in stdout"
    done
    grep -aq 'PORT_ACTIVE' "$work/stdout" || fail 'the device is not active'
    expect_line stderr 'this is stderr'
    expect_in stderr 'softroce: way: guest'
    local sum
    sum=$(grep -am 1 '^sum ' "$work/stdout" | cut -d' ' -f2)
    [[ $(tail -c 5000000 "$work/stdout" | sha256sum | cut -d' ' -f1) == "$sum" ]] || fail 'the output is not what the command wrote'
    [[ $(sha256sum < "$work/out/big" | cut -d' ' -f1) == "$sum" ]] || fail 'the output directory did not get the file'
    local seconds
    seconds=$(sed -n 's/.*runs the command, \([0-9]*\)\.[0-9]* s after.*/\1/p' "$work/stderr")
    [[ -n $seconds ]] || fail 'the tool does not say how long the start took'
    [[ ! -e $work/here/big ]] || fail 'the guest wrote outside of its output directory'
}

# The guest is a machine with a device, and one whose kernel can load rdma_rxe: so the other two ways are tried in it.
test_two_devices_and_the_other_ways() {
    run --way guest --devices 2 --keep "$top" -- bash -c '
        set -e
        echo "outside $PENSTOCK_ADDRESSES $PENSTOCK_DEVICES"
        ibv_devinfo -l
        "$0" -- sh -c "echo \$PENSTOCK_SOFTROCE \$PENSTOCK_ADDRESS; exit 3" || echo "existing $?"
        rdma link delete rxe0; rdma link delete rxe1; ip link delete v0; ip link delete v2
        "$0" --devices 2 -- sh -c "echo \$PENSTOCK_SOFTROCE \$PENSTOCK_ADDRESSES; ibv_devinfo | grep -c PORT_ACTIVE; exit 4" || echo "rxe $?"
        "$0" --limit 1 -- sleep 100 || echo "hung $?"
        ls /sys/class/infiniband | wc -l' "$top/tools/softroce"
    expect_status 0
    local line
    for line in 'outside 10.99.0.1,10.99.1.1 rxe0,rxe1' 'existing 10.99.0.1' 'existing 3' \
        'rxe 10.99.0.1,10.99.1.1' 2 'rxe 4' 'hung 124' 0; do
        expect_line stdout "$line"
    done
}

test_two_hosts() {
    run --hosts 2 --loss 1 -- sh -c '
        echo "host $PENSTOCK_HOST is $PENSTOCK_ADDRESS, its peer $PENSTOCK_PEER_ADDRESS"
        [ "$PENSTOCK_HOST" = 1 ] || exec ib_write_bw -d rxe0 -x 1 -s 65536 -n 100 > /dev/null
        until ib_write_bw -d rxe0 -x 1 -s 65536 -n 100 "$PENSTOCK_PEER_ADDRESS" > /tmp/log 2>&1; do sleep 0.2; done
        tail -n 2 /tmp/log
        tc -s qdisc show dev eth0 | grep -o "dropped [0-9]*"'
    expect_status 0
    expect_line stdout 'host 0 is 10.99.0.1, its peer 10.99.0.2'
    expect_line stdout 'host 1 is 10.99.0.2, its peer 10.99.0.1'
    grep -qE '^dropped [1-9]' "$work/stdout" || fail 'the network lost no packet'
}

test_one_of_two_hosts_fails() {
    run --hosts 2 --limit 40 -- sh -c 'exit $((PENSTOCK_HOST * 5))'
    expect_status 5
}

test_command_not_found() {
    run --way guest -- no-such-command
    expect_status 127
    expect_in stderr 'no-such-command'
}

test_hang() {
    run --way guest --limit 3 -- sh -c 'echo started; sleep 1000'
    expect_status 124
    expect_line stdout started
    expect_in stderr 'guest 0 hung: killed after 3 s'
}

test_panic() {
    run --way guest -- sh -c 'echo before; sleep 0.3; echo c > /proc/sysrq-trigger'
    expect_status 125
    expect_line stdout before
    expect_in stderr 'guest 0 panicked: Kernel panic'
    expect_in stderr 'sysrq triggered crash'
}

test_termination() {
    local tool qemu=''
    TMPDIR=$work "$top/tools/softroce" --way guest -- sleep 1000 > "$work/stdout" 2> "$work/stderr" &
    tool=$!
    for ((i = 0; i < 100; ++i)); do
        qemu=$(guests "$work")
        [[ -z $qemu ]] || break
        sleep 0.1
    done
    [[ -n $qemu ]] || fail 'no guest was started'
    kill -TERM "$tool"
    status=0
    wait "$tool" || status=$?
    expect_status 143
    [[ -z $(guests "$work/penstock-softroce") ]] || fail 'a guest outlived the tool'
    ! compgen -G "$work/penstock-softroce.*" > /dev/null || fail 'temporary files were left behind'
}

# The first that starts a guest may have to fetch the kernel: none that looks at the clock.
cases=(refusals command_not_found termination one_guest two_devices_and_the_other_ways hang panic two_hosts one_of_two_hosts_fails)
(($# == 0)) || cases=("$@")
: > "$work/stdout"
: > "$work/stderr"
for name in "${cases[@]}"; do
    started=$SECONDS
    "test_$name"
    printf 'ok: %s (%s s)\n' "$name" $((SECONDS - started))
done
