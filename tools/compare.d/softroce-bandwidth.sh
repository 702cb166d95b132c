about="one-sided reads and writes of 64 KiB and 1 MiB over SoftRoCE against ib_read_bw and ib_write_bw; one guest, alternately"
rows=("softroce-read-64k >=0.97" "softroce-read-1m >=0.97" "softroce-write-64k >=0.97" "softroce-write-1m >=0.97")

measure() {
    in_guest read:bw:65536:64:softroce-read-64k read:bw:1048576:16:softroce-read-1m \
        write:bw:65536:64:softroce-write-64k write:bw:1048576:16:softroce-write-1m
}

# For every pair of transfer_perf. The guest's processor is emulated and one run of it is not like another: all rounds are in
# one guest.
in_guest() { # test...
    local row who value
    "$repository/tools/softroce" --limit 900 -- bash "$parts/softroce-transfer.guest" "$bin/transfer_perf" "$rounds" "$seconds" "$@" \
        >"$work/guest" 2>"$work/guest.log" || fail "in the guest: $(tail -n 20 "$work/guest.log")"
    while read -r row who value; do
        record "$row" "$who" "$value"
    done <"$work/guest"
}
