#!/usr/bin/env bash
# The penstock command as its users meet it: a server, trees of files, and everything that goes wrong.
#
# usage: command_test.sh PENSTOCK tcp|verbs
# PENSTOCK_ADDRESS: the address to listen on (default 127.0.0.1). Of the size of the data: PENSTOCK_TEST_BIG (default 512M),
# a sparse file whose copy must take long enough to be met in the middle.
set -uo pipefail

penstock=$(readlink -f -- "$1")
transport=$2
address=${PENSTOCK_ADDRESS:-127.0.0.1}
big=${PENSTOCK_TEST_BIG:-512M}
readonly penstock transport address big
readonly deadline=60

work=$(mktemp -d)
chmod 755 "$work"
server_pid=
server_root=
port=
checks=0
cd "$work" || exit 1

note() { printf '== %s\n' "$*"; }

fail() {
    printf 'FAILED: %s (line %s)\n' "$*" "${BASH_LINENO[*]}" >&2
    for text in out err server.err; do
        [[ -s $work/$text ]] && { printf -- '--- %s\n' "$text"; head -c 4000 "$work/$text"; } >&2
    done
    exit 1
}

cleanup() {
    [[ -n $server_pid ]] && kill -KILL "$server_pid" 2> /dev/null
    chmod -R u+rwx "$work" 2> /dev/null
    rm -rf "$work"
}
trap cleanup EXIT

# A tick of a polling loop, without a process.
exec {tick}<> <(:)
pause() { read -rt 0.01 -u "$tick" || :; }

# Polls until the command succeeds.
await() {    # what, command...
    local what=$1 end=$((SECONDS + deadline))
    shift
    until "$@"; do
        ((SECONDS < end)) || fail "waited $deadline s for: $what"
        pause
    done
}

ended() {    # pid
    local state
    read -r _ _ state _ 2> /dev/null < "/proc/$1/stat" || return 0
    [[ $state == Z ]]
}

# Waits for a child with the deadline; its status is in $status.
reap() {    # pid
    await "the end of process $1" ended "$1"
    wait "$1"
    status=$?
}

# Runs a command, which must end with STATUS; if that is not 0, with exactly one line on standard error that matches PATTERN.
expect() {    # status, pattern, command...
    local wanted=$1 pattern=$2
    shift 2
    ("$@") > out 2> err &
    reap $!
    check_end "$wanted" "$pattern" "$*"
}

check_end() {    # wanted status, pattern, what; the status is in $status, the output in out and err
    ((++checks))
    [[ $status == "$1" ]] || fail "$3: status $status, expected $1"
    if [[ $1 != 0 ]]; then
        [[ $(wc -l < err) == 1 ]] || fail "$3: not one line on standard error"
        grep -Eq -- "$2" err || fail "$3: no /$2/ on standard error"
    elif [[ -n $2 ]]; then
        grep -Eq -- "$2" out || fail "$3: no /$2/ on standard output"
    fi
}

holds() {    # what, command...
    local what=$1
    shift
    ((++checks))
    "$@" || fail "$what"
}

# Starts a server and waits for its ready line. A wrapper may stand before it: start_server ROOT [OPTION...] [-- WRAPPER...]
start_server() {
    local root=$1 options=() line
    shift
    while (($#)) && [[ $1 != -- ]]; do options+=("$1"); shift; done
    [[ ${1:-} == -- ]] && shift
    rm -f ready
    mkfifo ready
    "$@" "$penstock" serve --root "$root" --listen "$address:0" --transport "$transport" --json "${options[@]}" \
        > ready 2> server.err &
    server_pid=$!
    server_root=$root
    exec {server_out}< ready
    read -rt "$deadline" -u "$server_out" line || fail "the server of $root gave no ready line"
    [[ $line =~ \"event\":\"ready\".*\"port\":([0-9]+) ]] || fail "ready line: $line"
    port=${BASH_REMATCH[1]}
    uri=penstock://$address:$port
}

stop_server() {    # signal
    local line
    kill "-$1" "$server_pid"
    reap "$server_pid"
    server_pid=
    holds "the server's status after $1 is $status" test "$status" == 0
    read -rt 1 -u "$server_out" line || fail "no statistics line after $1"
    [[ $line == *'"event":"stopped"'*"\"signal\":\"SIG$1\""* ]] || fail "statistics line: $line"
    exec {server_out}<&-
}

kill_server() {
    kill -KILL "$server_pid"
    reap "$server_pid" 2> /dev/null
    server_pid=
    exec {server_out}<&-
}

# As commands in the background these are processes of their own, which functions are not.
put=("$penstock" put --transport "$transport")
get=("$penstock" get --transport "$transport")
put() { "${put[@]}" "$@"; }
get() { "${get[@]}" "$@"; }
list() { "$penstock" ls --transport "$transport" "$@"; }

# As somebody whom file permissions hold back. Takes the place of its shell.
unprivileged() {
    if [[ $(id -u) == 0 ]]; then
        exec setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"
    else
        exec "$@"
    fi
}

# On a file system of 4 MiB at DIRECTORY, seen by the command only. Takes the place of its shell.
on_small_disk() {    # directory, command...
    local user=()
    [[ $(id -u) == 0 ]] || user=(--map-root-user)
    # shellcheck disable=SC2016
    exec unshare "${user[@]}" --mount --propagation private -- \
        bash -c 'mount -t tmpfs -o size=4m small "$1" && cd "$2" && shift 2 && exec "$@"' - "$1" "$PWD" "${@:2}"
}

staging_in_use() { [[ -n $(ls -A "$server_root/.penstock-staging" 2> /dev/null) ]]; }
has_open_beneath() { readlink "/proc/$1/fd/"* 2> /dev/null | grep -qF -- "$2/"; }
# Holds a copy still in the middle, so that what happens next happens there; it goes on with kill -CONT.
catch_put() {    # pid
    await "the put to begin" staging_in_use
    if ! kill -STOP "$1" || ended "$1"; then fail "the put ended too soon: raise PENSTOCK_TEST_BIG"; fi
}
catch_get() {    # pid, directory
    await "the get to begin" has_open_beneath "$1" "$2"
    if ! kill -STOP "$1" || ended "$1"; then fail "the get ended too soon: raise PENSTOCK_TEST_BIG"; fi
}
nothing_in() { [[ -z $(find "$1" -mindepth 1 -not -path '*/.penstock-staging*' -print -quit) ]]; }

make_tree() {    # directory
    mkdir -p "$1/empty" "$1/deep/er/est" "$1/many" "$1/with space"
    : > "$1/zero"
    printf x > "$1/one"
    printf hello > "$1/with space/ünï cödé 文.txt"
    printf 'new line' > "$1/new
line"
    head -c 5M /dev/urandom > "$1/five MiB"
    head -c 1048576 /dev/urandom > "$1/exactly one MiB"
    head -c 1048577 /dev/urandom > "$1/one MiB and one"
    local i
    for ((i = 0; i != 300; ++i)); do
        printf 'small file %d\n' "$i" > "$1/many/$i"
    done
    printf '#!/bin/sh\n' > "$1/deep/er/est/script"
    chmod 755 "$1/deep/er/est/script"
    chmod 640 "$1/one"
}

test_trees() {
    note "trees, up and down"
    make_tree tree
    mkdir store
    start_server store
    expect 0 "^put: 308 files, .* directories; $transport \(.+\), checksum crc32c$" put tree "$uri/"
    holds "put --json says what it did" test "$(put --json tree "$uri/" | tr ',' '\n' | grep -c \
        -e '"files":308' -e '"directories":7' -e '"links_skipped":0' -e '"errors":\[\]' -e "\"transport\":\"$transport\"")" == 5
    holds "the store holds the tree" diff -r tree store/tree
    expect 0 "^get: 308 files" get "$uri/tree" copy
    holds "the copy is the tree" diff -r tree copy
    holds "permissions are kept" test "$(stat -c %a copy/one copy/deep/er/est/script | tr '\n' ' ')" == "640 755 "
    mkdir into
    expect 0 "" get "$uri/tree" into
    holds "into a directory that exists" diff -r tree into/tree
    expect 0 "" get "$uri/tree/one" "$uri/tree/zero" several
    holds "several into a new directory" test "$(cd several && echo *)" == "one zero"
    expect 0 "" get "$uri/tree/with%20space/%C3%BCn%C3%AF%20c%C3%B6d%C3%A9%20%E6%96%87.txt" named
    holds "a percent-encoded name" test "$(cat named)" == hello
    expect 0 "" get "$uri" everything/
    holds "a whole root" diff -r tree everything/tree
    expect 0 "" put tree/one tree/zero "$uri/two"
    holds "several into a directory" test "$(cd store/two && echo *)" == "one zero"
    expect 0 "" put tree/one "$uri/a/new/name"
    holds "under a new name" cmp tree/one store/a/new/name
    expect 0 "" put --durability persisted --checksum off tree/deep "$uri/persisted"
    holds "persisted" diff -r tree/deep store/persisted
    expect 0 "" get --checksum off "$uri/tree" unchecked
    holds "without checksums" diff -r tree unchecked
}

test_links() {
    note "links and special files"
    mkdir linked
    printf in > linked/file
    printf out > outside
    ln -s file linked/inside
    ln -s ../outside linked/leaves
    mkfifo linked/fifo
    expect 0 "2 links skipped, 1 special file skipped" put linked "$uri/"
    holds "only the file was put" test "$(ls store/linked)" == file
    expect 0 "" put -v linked "$uri/"
    holds "-v names what was skipped" grep -q 'linked/inside' err
    expect 0 "1 link skipped" put --follow linked "$uri/followed"
    holds "a link inside is followed" test "$(cat store/followed/inside)" == in
    holds "a link outside is not" test ! -e store/followed/leaves
}

test_listing() {
    note "ls"
    expect 0 "" list "$uri/tree"
    holds "a file's line" grep -Eq '^-rw-r-----            1 [0-9-]{10}T[0-9:]{8}Z one$' out
    holds "a directory's line" grep -Eq '^drwx.{6}            0 .*Z with space/$' out
    holds "no line end in a name" grep -Fq 'new\nline' out
    holds "the transport is said" grep -q "^$transport (" err
    expect 0 "" list -H "$uri/tree/five%20MiB"
    holds "human size of one file" grep -q ' 5MiB ' out
    expect 0 "" list -R --json "$uri/tree/"
    holds "names in JSON" grep -qF '"name":"with space/ünï cödé 文.txt"' out
    holds "a name's URI" grep -qF "$uri/tree/new%0Aline" out
    holds "all entries" test "$(grep -o '"kind":' out | wc -l)" == 314
    expect 1 "no such object" list "$uri/missing"
}

test_errors() {
    note "errors"
    expect 1 "missing: No such file or directory" put missing "$uri/"
    expect 1 "missing: no such object" get "$uri/missing" x
    holds "nothing was made" test ! -e x
    expect 1 "is a directory|a directory has this name" put tree/one "$uri/tree"
    expect 2 "not a penstock URI.*penstock://HOST" put tree/one http://x/y
    expect 2 "not a penstock URI" get nonsense x
    expect 2 "not a penstock URI" list penstock://
    expect 2 "not a size.*64KiB" "$penstock" bench read "$uri/" --size 12Q
    expect 2 "--transport.*none of auto" put --transport pigeon tree/one "$uri/"
    expect 2 "see penstock put --help" put tree/one
    expect 2 "see penstock --help" "$penstock"
    expect 2 "--checksum" put --checksum md5 tree/one "$uri/"
    expect 2 "names nothing" get "$uri/../etc/passwd" x
    expect 2 "names nothing" get "$uri/tree/%2e%2e/%2E%2E/etc/passwd" x
    expect 2 "names nothing" put tree/one "$uri/.penstock-staging/x"
    expect 2 "two sources" put tree/one tree/../tree/one "$uri/"
    expect 3 "unknown host 'no-such-host.invalid'" list --transport "$transport" penstock://no-such-host.invalid/
    expect 1 "in use" "$penstock" serve --root "$work" --listen "$address:$port" --transport "$transport"
    rm -rf .penstock-staging
    expect 1 "another server" "$penstock" serve --root store --listen "$address:0" --transport "$transport"
    expect 1 "missing: No such file.*--root" "$penstock" serve --root missing --listen "$address:0" --transport "$transport"
    expect 2 "--listen.*not ADDRESS:PORT" "$penstock" serve --root store --listen nowhere:x
    expect 0 "^penstock [0-9]" "$penstock" --version
    local command
    for command in serve put get ls bench; do
        expect 0 "Example" "$penstock" "$command" --help
    done
    ln -s /etc store/out
    expect 1 "out of the served tree" get "$uri/out/passwd" x
    rm store/out
    mkdir -p trap_outside dest/tree
    ln -s ../../trap_outside dest/tree/many
    get "$uri/tree" dest > out 2> err
    holds "a link in the destination is not followed" test $? == 1
    holds "nothing went through it" nothing_in trap_outside
    holds "it is named" grep -q 'many.*symbolic link' err
    holds "the rest came" cmp tree/one dest/tree/one
    holds "only the first errors are printed" grep -q 'more errors' err
}

test_rdma() {
    note "RDMA required"
    if [[ $transport == tcp ]]; then
        # The server offers none, whatever this machine has.
        expect 5 "RDMA is required" put --transport verbs tree/one "$uri/x"
        expect 5 "RDMA is required" list --require-rdma "$uri/"
        if [[ -z $(ls /sys/class/infiniband 2> /dev/null) ]]; then
            expect 5 "RDMA is required" "$penstock" serve --root two --listen "$address:0" --transport verbs
        fi
    else
        expect 0 "; verbs \(" put --require-rdma tree/one "$uri/x"
        expect 0 "; verbs \(" put --transport auto tree/one "$uri/x"
    fi
}

test_permissions() {
    note "permission denied"
    install -m 600 /dev/null store/secret
    if [[ $(id -u) != 0 ]]; then chmod 000 store/secret; fi
    mkdir -m 777 open_store
    stop_server INT
    # Its own store, with a file that it may not read.
    cp store/tree/one open_store/readable
    chmod 644 open_store/readable
    install -m 600 /dev/null open_store/secret
    if [[ $(id -u) != 0 ]]; then chmod 000 open_store/secret; fi
    start_server "$work/open_store" -- unprivileged
    expect 1 "secret: permission denied" get "$uri/secret" x
    holds "nothing was made" test ! -e x
    mkdir -m 755 locked
    if [[ $(id -u) != 0 ]]; then chmod 555 locked; fi
    expect 1 "Permission denied" unprivileged "$penstock" get --transport "$transport" "$uri/readable" locked/
    holds "nothing is there" nothing_in locked
    install -m 600 /dev/null unreadable
    if [[ $(id -u) != 0 ]]; then chmod 000 unreadable; fi
    expect 1 "unreadable: Permission denied" unprivileged "$penstock" put --transport "$transport" unreadable "$uri/u"
    stop_server TERM
}

test_disk_full() {
    note "disk full, there and here"
    mkdir small
    start_server "$work/small" -- on_small_disk "$work/small"
    expect 1 "no space left at the server" put "tree/five MiB" "$uri/five"
    expect 0 "" put tree/one "$uri/five"
    expect 0 "" list "$uri/"
    holds "nothing but the small file is there" test "$(wc -l < out)" == 1
    stop_server TERM
    start_server store
    # shellcheck disable=SC2016
    expect 1 "no space left here" on_small_disk "$work/small" bash -c \
        '"$0" get --transport "$1" "$2/tree/five%20MiB" small/ && exit 0; s=$?; [[ -z $(ls -A small) ]] || exit 99; exit $s' \
        "$penstock" "$transport" "$uri"
}

test_concurrency() {
    note "two gets at once; replaced while it is read"
    "${get[@]}" "$uri/tree" first > out1 2>&1 &
    local first=$!
    "${get[@]}" "$uri/tree" second > out2 2>&1 &
    local second=$!
    reap "$first"
    holds "the first" test "$status" == 0
    reap "$second"
    holds "the second" test "$status" == 0
    holds "both are the tree" diff -r first second
    holds "and equal" diff -r tree second
    head -c 8M /dev/zero | tr '\0' a > version.a
    head -c 8M /dev/zero | tr '\0' b > version.b
    expect 0 "" put version.a "$uri/version"
    (for i in {1..10}; do put version.b "$uri/version" && put version.a "$uri/version" || exit 1; done > puts 2>&1) &
    local puts=$! whole=0
    while ! ended "$puts" || ((whole == 0)); do
        rm -f version
        get "$uri/version" version > out 2> err
        status=$?
        if [[ $status == 0 ]]; then
            ((++whole))
            cmp -s version version.a || cmp -s version version.b || fail "a mix of two versions"
        else
            check_end 1 "version: the object changed" "get of an object that is replaced"
            holds "nothing of it is here" test ! -e version
        fi
    done
    reap "$puts"
    holds "the puts succeeded: $(cat puts)" test "$status" == 0
    holds "nothing is staged any more" nothing_in store/.penstock-staging
}

test_changing_source() {
    note "a file that grows while it is put"
    truncate -s "$big" growing
    "${put[@]}" growing "$uri/growing" > out 2> err &
    local pid=$!
    catch_put "$pid"
    printf more >> growing
    kill -CONT "$pid"
    reap "$pid"
    check_end 1 "growing: changed while it was read" "put of a growing file"
    holds "nothing of it is there" test ! -e store/growing
    await "its bytes to be dropped" nothing_in store/.penstock-staging
}

test_interrupted() {
    note "interrupted"
    truncate -s "$big" big
    "${put[@]}" big "$uri/interrupted" > out 2> err &
    local pid=$!
    catch_put "$pid"
    kill -INT "$pid"
    kill -CONT "$pid"
    reap "$pid"
    check_end 130 "interrupted" "put"
    holds "nothing of it is there" test ! -e store/interrupted
    await "its bytes to be dropped" nothing_in store/.penstock-staging
    truncate -s "$big" store/big
    mkdir half
    "${get[@]}" "$uri/big" half > out 2> err &
    pid=$!
    catch_get "$pid" "$work/half"
    kill -TERM "$pid"
    kill -CONT "$pid"
    reap "$pid"
    check_end 143 "interrupted" "get"
    holds "nothing of it is here" nothing_in half
}

test_server_killed() {
    note "the server is killed in the middle of a get, and of a put"
    printf 'old content' > old
    expect 0 "" put old "$uri/kept"
    "${get[@]}" "$uri/big" half > out 2> err &
    local pid=$!
    catch_get "$pid" "$work/half"
    kill_server
    kill -CONT "$pid"
    reap "$pid"
    check_end 4 "connection to .* lost" "get from a killed server"
    holds "nothing of it is here" nothing_in half
    start_server store
    "${put[@]}" big "$uri/kept" > out 2> err &
    pid=$!
    catch_put "$pid"
    kill_server
    kill -CONT "$pid"
    reap "$pid"
    check_end 4 "connection to .* lost" "put to a killed server"
    expect 3 "refuses the connection.*penstock serve" list "$uri/"
    expect 3 "refuses the connection.*penstock serve" put old "$uri/"
    expect 3 "refuses the connection.*penstock serve" get "$uri/kept" x
    start_server store
    expect 0 "" get "$uri/kept" kept
    holds "the old content is served" cmp old kept
    holds "the half of the new one is gone" nothing_in store/.penstock-staging
    note "a server that does not answer"
    "${put[@]}" --stall-timeout 2 big "$uri/stalled" > out 2> err &
    pid=$!
    await "the put to begin" staging_in_use
    kill -STOP "$server_pid"
    reap "$pid"
    check_end 4 "connection to .* lost" "put to a server that stands still"
    expect 3 "does not answer" list "$uri/"
    kill -CONT "$server_pid"
    await "its bytes to be dropped" nothing_in store/.penstock-staging
    holds "nothing of it is there" test ! -e store/stalled
    note "the server stops in order while a get runs"
    "${get[@]}" "$uri/big" half > out 2> err &
    pid=$!
    catch_get "$pid" "$work/half"
    stop_server TERM
    kill -CONT "$pid"
    reap "$pid"
    check_end 4 "connection to .* lost" "get from a server that stops"
    holds "nothing of it is here" nothing_in half
    rm -f store/big
}

test_bench() {
    note "bench"
    start_server store
    expect 0 '"errors":0' "$penstock" bench read "$uri/bench/" --transport "$transport" --size 64KiB --depth 8 --seconds 0.3 \
        --data 4MiB --json
    holds "it measured" grep -Eq '"operations":[1-9]' out
    holds "latencies" grep -Eq '"latency_us":\{"p50":[0-9.]+,"p99":[0-9.]+,"p99_9":[0-9.]+' out
    holds "the data is kept" test "$(stat -c %s store/bench/bench-000)" == 4194304
    local made
    made=$(stat -c %y store/bench/bench-000)
    expect 0 "latency p50" "$penstock" bench read "$uri/bench/" --transport "$transport" --size 4KiB --seconds 0.2 --data 4MiB
    holds "and reused" test "$(stat -c %y store/bench/bench-000)" == "$made"
    expect 0 "latency p50" "$penstock" bench read "$uri/tree" --transport "$transport" --size 4KiB --seconds 0.2 --checksum off
    expect 0 '"errors":0' "$penstock" bench write "$uri/bench/" --transport "$transport" --size 64KiB --seconds 0.3 \
        --data 4MiB --json
    holds "it wrote" grep -Eq '"operations":[1-9]' out
    holds "what was written is dropped" test "$(ls store/bench)" == bench-000
    expect 1 "no object of at least" "$penstock" bench read "$uri/two" --transport "$transport" --size 4KiB
    stop_server INT
}

test_trees
test_links
test_listing
test_errors
test_rdma
test_permissions
test_disk_full
test_concurrency
test_changing_source
test_interrupted
test_server_killed
test_bench
note "$checks checks passed on $transport"
