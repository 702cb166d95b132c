about="read of 1 MiB at depth 16, checked, against a bare socket pair that spins; loopback"
rows=("tcp-read-bare >=0.75")

prepare() {
    serve --transport tcp
    seconds=1 bench read --transport tcp --size 1MiB --depth 16 >"$work/warm"
}

ours() { bench read --transport tcp --size 1MiB --depth 16; }

peer() { "$bin/bare_socket" --size 1048576 --depth 16 --seconds "$seconds" --data 268435456 | number bytes_per_second; }
