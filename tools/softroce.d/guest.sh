# shellcheck shell=bash
# The guests: started, watched until each has left an exit status (or hung, or panicked), and never outlived.

readonly grace_seconds=10    # for the second host, once the first has failed
readonly start_seconds=120    # for a guest to begin the command
guests=()                    # process number of each guest, empty once it has ended
relays=()                    # processes that carry the guests' output to ours
statuses=()                  # what the command ended with, for each host where it did
verdict=                     # what this tool says instead, when a guest hung or broke

guest_directory() { printf '%s/guest-%s\n' "$run_directory" "$1"; }

host_address() { printf '10.99.%s.%s' "$2" "$(($1 + 1))"; }    # host, device

addresses_of() {    # host
    local device list=()
    for ((device = 0; device < devices; ++device)); do list+=("$(host_address "$1" "$device")"); done
    (IFS=,; printf '%s' "${list[*]}")
}

guest_variables() {    # host; one NAME=VALUE a line
    local device names=()
    for ((device = 0; device < devices; ++device)); do names+=("rxe$device"); done
    printf '%s\n' PENSTOCK_SOFTROCE=guest "PENSTOCK_ADDRESS=$(host_address "$1" 0)" \
        "PENSTOCK_ADDRESSES=$(addresses_of "$1")" "PENSTOCK_DEVICES=$(IFS=,; printf '%s' "${names[*]}")"
    ((hosts == 2)) || return 0
    printf '%s\n' "PENSTOCK_HOST=$1" "PENSTOCK_PEER_ADDRESS=$(host_address $((1 - $1)) 0)" \
        "PENSTOCK_PEER_ADDRESSES=$(addresses_of $((1 - $1)))"
}

# A script that carries the caller's directory, environment and arguments through a file, byte for byte.
write_command() {    # host
    local entry variables=()
    printf 'cd -- %q || exit 125\nexec env -i -- ' "$PWD"
    for entry in "${caller_environment[@]}"; do
        case $entry in
            PENSTOCK_HOST=* | PENSTOCK_PEER_ADDRESS=* | PENSTOCK_PEER_ADDRESSES=* | _=*) ;;
            *) printf '%q ' "$entry" ;;
        esac
    done
    mapfile -t variables < <(guest_variables "$1")
    printf '%q ' "${variables[@]}" "${command[@]}"
    printf '< /dev/null\n'
}

# Paths below the guest's own /tmp and /run that the command names: they show through from here.
kept_paths() {
    local path
    for path in "$PWD/." "${TMPDIR:-}" "${command[@]}" "${outputs[@]}" "${kept[@]}"; do
        case $path in
            *$'\n'*) ;;
            /tmp/?* | /run/?*) if [[ -e $path ]]; then realpath -s -- "$path"; fi ;;
        esac
    done | LC_ALL=C sort -u | without_nested
}

# What lies below a path that is kept already comes with it; mounting it again would hide it.
without_nested() {
    local path parent
    local -A seen=()
    while IFS= read -r path; do
        parent=$path
        while parent=${parent%/*}; [[ -n $parent && -z ${seen[$parent]:-} ]]; do :; done
        if [[ -z $parent ]]; then
            seen[$path]=1
            printf '%s\n' "$path"
        fi
    done
}

write_control_share() {    # host
    local share
    share=$(guest_directory "$1")
    mkdir -p "$share"
    {
        printf 'host=%s\nhosts=%s\ndevices=%s\nloss=%s\nmerged=%s\n' "$1" "$hosts" "$devices" "$loss" "$merged"
        printf 'kernel=%q\nkernel_tree=%q\nmodules=%q\n' "$kernel" "$kernel_tree" "${modules//,/ }"
    } > "$share/settings"
    write_command "$1" > "$share/command"
    kept_paths > "$share/kept"
    : > "$share/outputs"
    ((${#outputs[@]} == 0)) || printf '%s\n' "${outputs[@]}" > "$share/outputs"
    : > "$share/stdout"
    : > "$share/stderr"
}

share_arguments() {    # tag, path, extra
    printf '%s\n' -virtfs "local,path=${2//,/,,},mount_tag=$1,security_model=none,multidevs=remap$3"
}

network_arguments() {    # host
    local device role
    ((hosts == 2)) || return 0
    role=on
    (($1 == 0)) || role=off
    for ((device = 0; device < devices; ++device)); do
        printf '%s\n' -netdev "stream,id=n$device,server=$role,addr.type=unix,addr.path=$run_directory/wire-$device"
        printf '%s\n' -device "virtio-net-pci,netdev=n$device,mac=52:54:00:99:0$device:0$(($1 + 1)),romfile="
    done
}

start_guest() {    # host
    local share arguments=() number
    share=$(guest_directory "$1")
    write_control_share "$1"
    mapfile -t arguments < <(
        share_arguments control "$share" ''
        share_arguments host / ,readonly=on
        for number in "${!outputs[@]}"; do share_arguments "output$number" "${outputs[number]}" ''; done
        network_arguments "$1"
    )
    # PR_SET_PDEATHSIG: a guest does not outlive this tool, however the tool ends.
    setpriv --pdeathsig KILL -- qemu-system-x86_64 \
        -accel tcg,thread=multi -cpu max -smp "$cpus" -m "$memory" \
        -nodefaults -no-user-config -no-reboot -display none -monitor none \
        -serial "file:$share.console" \
        -kernel "$kernel_image" -initrd "$initramfs" \
        -append "console=ttyS0 quiet panic=-1 oops=panic $kernel_options" \
        "${arguments[@]}" < /dev/null > "$share.qemu" 2>&1 {tick}>&- &
    guests[$1]=$!
    relay_output "$1" stdout 1
    ((merged == 1)) || relay_output "$1" stderr 2
}

# Carries what the guest wrote to our own descriptor while it runs, and what is left when it has ended.
relay_output() {    # host, name, descriptor
    setpriv --pdeathsig KILL -- tail -c +1 -s 0.1 -f --pid="${guests[$1]}" -- "$(guest_directory "$1")/$2" >&"$3" 2>/dev/null {tick}>&- &
    relays+=($!)
}

running() { [[ -n $1 ]] && kill -0 "$1" 2>/dev/null; }

start_guests() {
    local host device
    for ((host = 0; host < hosts; ++host)); do
        start_guest "$host"
        ((hosts == 2 && host == 0)) || continue
        for ((device = 0; device < devices; ++device)); do
            until [[ -S $run_directory/wire-$device ]] || ! running "${guests[0]}"; do pause; done
        done
    done
}

last_console_lines() {    # host
    local share
    share=$(guest_directory "$1")
    tail -q -n 25 -- "$share.qemu" "$share.console" 2>/dev/null | tr -d '\r\000' | sed 's/^/    | /' >&2
}

end_guest() {    # host
    running "${guests[$1]:-}" && kill -KILL "${guests[$1]}" 2>/dev/null
    wait "${guests[$1]}" 2>/dev/null || :
    guests[$1]=
}

# The guest's process is gone: was that a power-off after a status, or something else?
judge_ended_guest() {    # host
    local share panic
    share=$(guest_directory "$1")
    if [[ -s $share/status ]]; then
        statuses[$1]=$(< "$share/status")
        return
    fi
    verdict=${verdict:-$status_broken}
    if [[ -s $share/failure ]]; then
        note "guest $1 could not be set up: $(< "$share/failure")"
    elif panic=$(grep -am 1 -o 'Kernel panic.*' "$share.console"); then
        note "guest $1 panicked: ${panic%$'\r'}"
    else
        note "guest $1 ended without an exit status"
    fi
    last_console_lines "$1"
}

release_guests() {
    local host
    for host in "${!guests[@]}"; do : > "$(guest_directory "$host")/release"; done
}

# A host has its result when its status is there or its process is gone.
has_result() { [[ -s $(guest_directory "$1")/status ]] || ! running "${guests[$1]}"; }

# Of a host that has a result.
failed() { [[ ! -s $run_directory/guest-$1/status || $(< "$run_directory/guest-$1/status") != 0 ]]; }

say_when_started() {    # host
    [[ -z ${said_started[$1]:-} && -e $run_directory/guest-$1/started ]] || return 0
    said_started[$1]=yes
    detail "guest $1 runs the command, $(elapsed) s after the start"
}

# The limit is the command's own: how long a guest takes to start depends on what else this machine does.
watch_guests() {
    local host waiting said_started=() grace_end=
    local deadline=$((SECONDS + start_seconds)) overdue="did not start: killed after $start_seconds s" late=$status_broken
    while :; do
        waiting=()
        for ((host = 0; host < hosts; ++host)); do
            say_when_started "$host"
            if ! has_result "$host"; then
                waiting+=("$host")
            elif [[ -z $grace_end ]] && failed "$host"; then
                grace_end=$((SECONDS + grace_seconds))
            fi
        done
        ((${#waiting[@]} > 0)) || break
        if ((late == status_broken && ${#said_started[@]} == hosts)); then
            deadline=$((SECONDS + limit)) overdue="hung: killed after $limit s" late=$status_hung
        fi
        if ((SECONDS >= deadline)); then
            verdict=$late
            kill_guests "$overdue" "${waiting[@]}"
        elif [[ -n $grace_end ]] && ((SECONDS >= grace_end)); then
            kill_guests "killed: the other one failed $grace_seconds s ago, and it still ran" "${waiting[@]}"
        elif reader_left; then
            verdict=$status_no_reader
            kill_guests 'killed: nobody reads its output any more' "${waiting[@]}"
        fi
        pause
    done
    release_guests
}

kill_guests() {    # reason, host...
    local host reason=$1
    shift
    for host; do
        note "guest $host $reason"
        last_console_lines "$host"
        end_guest "$host"
    done
}

# Our reader went away (`| head -1`): the command would have had SIGPIPE. A relay also ends with its guest, as it should.
reader_left() {
    local relay
    for relay in "${relays[@]}"; do
        ! running "$relay" && all_guests_run && return
    done
    return 1
}

all_guests_run() {
    local host
    for host in "${!guests[@]}"; do
        running "${guests[host]}" || return 1
    done
}

# The power-off takes a moment; a guest that cannot even do that is killed.
collect_statuses() {
    local host deadline=$((SECONDS + 15))
    for ((host = 0; host < hosts; ++host)); do
        [[ -n ${guests[host]} ]] || continue    # killed, and reported
        while running "${guests[host]}" && ((SECONDS < deadline)); do pause; done
        end_guest "$host"
        judge_ended_guest "$host"
    done
    wait "${relays[@]}" 2>/dev/null || :
}

stop_guests() {
    local process
    for process in "${guests[@]}" "${relays[@]}"; do
        [[ -z $process ]] || kill -KILL "$process" 2>/dev/null || :
    done
    wait "${guests[@]}" "${relays[@]}" 2>/dev/null || :
}

# Sets `result`: a guest that hung or broke weighs more than a status, and host 0's status more than host 1's.
run_in_guests() {
    local path status
    require qemu-system-x86_64 qemu-system-x86, ip iproute2, rdma iproute2, setpriv util-linux
    prepare_kernel
    for path in "${outputs[@]}"; do mkdir -p -- "$path"; done
    start_guests
    watch_guests
    collect_statuses
    result=$verdict
    for status in "${statuses[@]}"; do
        [[ -n $result && $result != 0 ]] || result=$status
    done
}
