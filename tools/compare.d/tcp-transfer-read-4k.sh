# shellcheck source=/dev/null
. "$parts/tcp-transfer-read-1m.sh"
about="one-sided read of 4 KiB at depth 32 against a bare socket pair that spins; loopback"
rows=("tcp-transfer-read-4k >=0.7")
size=4096 depth=32
