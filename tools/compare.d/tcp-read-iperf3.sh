about="read of 1 MiB at depth 16, checked, against one iperf3 stream of 1 MiB writes; loopback"
rows=("tcp-read-iperf3")

prepare() {
    serve --transport tcp
    seconds=1 bench read --transport tcp --size 1MiB --depth 16 >"$work/warm"
    port=$(free_port)
    spawn "$work/iperf3" iperf3 --forceflush --server --bind 127.0.0.1 --port "$port"
    wait_until 10 iperf3 grep -q listening "$work/iperf3"
}

ours() { bench read --transport tcp --size 1MiB --depth 16; }

peer() {
    local bits
    bits=$(iperf3 --client 127.0.0.1 --port "$port" --length 1M --time "$seconds" --json \
        | sed -n '/"sum_received"/,$p' | number bits_per_second)
    awk -v bits="$bits" 'BEGIN { printf "%.0f\n", bits / 8 }'
}
