about="read of 1 MiB at depth 16, checked, against nginx (one worker, sendfile) and wrk (one thread, 16 connections); loopback"
rows=("tcp-read-nginx >=1.0")

prepare() {
    serve --transport tcp
    seconds=1 bench read --transport tcp --size 1MiB --depth 16 >"$work/warm"
    prepare_nginx 1M 256
    seconds=1 peer >"$work/warm" # its files are in the page cache, as ours are in the server's
}

# For every pair with nginx: COUNT files of SIZE beside ours, one worker. Sets $port.
prepare_nginx() { # size, count
    local i
    chmod 755 "$work" # the worker is another user
    mkdir -p "$work/www"
    for ((i = 0; i < $2; i++)); do
        head -c "$1" /dev/urandom >"$work/www/$i"
    done
    port=$(free_port)
    sed -e "s,@WORK@,$work,g" -e "s,@PORT@,$port,g" "$parts/nginx.conf" >"$work/nginx.conf"
    spawn "$work/nginx" nginx -p "$work" -c "$work/nginx.conf"
    wait_until 10 nginx listens "$port"
}

ours() { bench read --transport tcp --size 1MiB --depth 16; }

peer() {
    wrk --threads 1 --connections 16 --duration "${seconds}s" --script "$parts/wrk.lua" "http://127.0.0.1:$port" -- 256 1048576 \
        >"$work/wrk" || fail "wrk: $(tail -n 3 "$work/wrk")"
    number bytes_per_second <"$work/wrk"
}
