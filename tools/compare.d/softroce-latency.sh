# shellcheck source=/dev/null
. "$parts/softroce-bandwidth.sh"
about="64 B one-sided read to its completion, 64 B send ping-pong, over SoftRoCE against ib_read_lat and ib_send_lat; medians"
unit=us
rows=("softroce-read-latency-64 <=1.10" "softroce-send-latency-64 <=1.10")

measure() { in_guest read:lat:64:1:softroce-read-latency-64 send:lat:64:1:softroce-send-latency-64; }
