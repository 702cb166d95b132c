# shellcheck shell=bash
# The two ways without a guest: a device that is there, or rdma_rxe in this machine's own kernel.

# Devices of another run of this tool carry this prefix: they will go away under whoever uses them.
readonly own_device_prefix=psrxe
native_devices=()
native_addresses=()
native_process=
exec {rxe_lock}< /dev/null    # becomes the lock when the way is rxe; the command never inherits it
rxe_is_ours=0

netdev_address() {    # netdev: its first IPv4 address
    ip -4 -o address show dev "$1" 2>/dev/null | awk '{ sub("/.*", "", $4); print $4; exit }'
}

# Fills native_devices and native_addresses with what is usable; otherwise says why not.
find_existing_devices() {
    local directory name port address reason='no device in /sys/class/infiniband'
    native_devices=()
    native_addresses=()
    for directory in /sys/class/infiniband/*; do
        [[ -e $directory ]] || continue
        name=${directory##*/}
        [[ $name != "$own_device_prefix"* ]] || continue
        port=$directory/ports/1
        if ! grep -qs ACTIVE "$port/state"; then
            reason="$name is not active"
        elif ! address=$(netdev_address "$(cat "$port"/gid_attrs/ndevs/0 2>/dev/null)") || [[ -z $address ]]; then
            reason="$name has no IPv4 address"
        else
            native_devices+=("$name")
            native_addresses+=("$address")
        fi
    done
    if ((${#native_devices[@]} > 0 && ${#native_devices[@]} < devices)); then
        reason="${#native_devices[@]} device of $devices"
    fi
    why_not=$reason
    ((${#native_devices[@]} >= devices))
}

rxe_can_be_loaded() {
    why_not='not root'
    ((EUID == 0)) || return 1
    why_not='no modprobe (Debian package kmod) or no rdma (iproute2)'
    command -v modprobe rdma > /dev/null || return 1
    why_not='this kernel cannot load rdma_rxe'
    modprobe rdma_rxe 2>/dev/null || return 1
    why_not='this kernel cannot load veth'
    modprobe veth 2>/dev/null
}

# The same devices and addresses as in a guest. One run at a time: the addresses are the machine's.
make_rxe_devices() {
    local device
    exec {rxe_lock}<&-
    exec {rxe_lock}> /run/penstock-softroce.lock
    flock "$rxe_lock"
    rxe_is_ours=1
    remove_rxe_devices    # of a run that was killed
    modprobe -a rdma_ucm
    native_devices=()
    native_addresses=()
    for ((device = 0; device < devices; ++device)); do
        ip link add "psv$device" mtu 4200 type veth peer name "psw$device" mtu 4200
        ip address add "10.99.$device.1/24" dev "psv$device"
        ip link set "psv$device" up
        ip link set "psw$device" up
        rdma link add "$own_device_prefix$device" type rxe netdev "psv$device"
        native_devices+=("$own_device_prefix$device")
        native_addresses+=("10.99.$device.1")
    done
}

remove_rxe_devices() {
    local device
    for ((device = 0; device < devices; ++device)); do
        rdma link delete "$own_device_prefix$device" 2>/dev/null || :
        ip link delete "psv$device" 2>/dev/null || :
    done
}

load_native_modules() {
    [[ -n $modules ]] || return 0
    # shellcheck disable=SC2086  # a list of names
    modprobe -a ${modules//,/ } || fail "modprobe failed for $modules"
}

# Sets `result`. timeout puts the command into a process group of its own and ends all of it; env undoes what a shell does to
# its background processes, to ignore interrupts.
run_natively() {    # way
    local started=$SECONDS path
    for path in "${outputs[@]}"; do mkdir -p -- "$path"; done
    load_native_modules
    unset PENSTOCK_HOST PENSTOCK_PEER_ADDRESS PENSTOCK_PEER_ADDRESSES
    ulimit -l unlimited 2>/dev/null ||
        note "the limit on locked memory stays at $(ulimit -l) KiB: raise it, or large registrations fail"
    PENSTOCK_SOFTROCE=$1 PENSTOCK_ADDRESS=${native_addresses[0]} \
        PENSTOCK_ADDRESSES=$(IFS=,; printf '%s' "${native_addresses[*]}") \
        PENSTOCK_DEVICES=$(IFS=,; printf '%s' "${native_devices[*]}") \
        PATH=$caller_path \
        timeout --kill-after=5 "$limit" env --default-signal=INT,QUIT "${command[@]}" \
        < /dev/null {tick}>&- {rxe_lock}>&- &
    native_process=$!
    result=0
    wait "$native_process" || result=$?
    native_process=
    if ((SECONDS - started >= limit)); then
        note "the command hung: killed after $limit s"
        result=$status_hung
    fi
}

stop_native() {
    [[ -n $native_process ]] || return 0
    kill -TERM "$native_process" 2>/dev/null || :
    wait "$native_process" 2>/dev/null || :
}
