about="read of 1 MiB at depth 16 over SoftRoCE, unchecked and checked, against ib_read_bw; one guest, alternately"
rows=("softroce-read-perftest >=0.9" "softroce-read-perftest-crc32c")

# The guest's processor is emulated and one run of it is not like another: all rounds are in one guest.
measure() {
    local row who value
    "$repository/tools/softroce" --limit 500 -- bash "$parts/softroce-read-perftest.guest" "$penstock" "$rounds" "$seconds" \
        >"$work/guest" 2>"$work/guest.log" || fail "in the guest: $(tail -n 20 "$work/guest.log")"
    while read -r row who value; do
        record "$row" "$who" "$value"
    done <"$work/guest"
}
