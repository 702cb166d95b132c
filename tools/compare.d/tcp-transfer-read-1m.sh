about="one-sided read of 1 MiB at depth 16 against a bare socket pair that spins; loopback"
rows=("tcp-transfer-read-1m >=0.9")
size=1048576 depth=16

prepare() {
    spawn "$work/serve" "$bin/transfer_perf" serve --transport tcp --data 256MiB
    wait_until 30 "transfer_perf serve" grep -q '"event":"ready"' "$work/serve"
    port=$(number port <"$work/serve")
}

ours() {
    "$bin/transfer_perf" read "127.0.0.1:$port" --transport tcp --size "${size}B" --depth "$depth" --seconds "$seconds" \
        | number bytes_per_second
}

peer() { "$bin/bare_socket" --size "$size" --depth "$depth" --seconds "$seconds" --data 268435456 | number bytes_per_second; }
