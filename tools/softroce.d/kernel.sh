# shellcheck shell=bash
# The guest's kernel and initramfs: fetched and built once, kept in the cache, shared by every run.
# prepare_kernel sets: kernel, kernel_tree, kernel_image, initramfs. Everything is made beside its place and moved there whole.

scratch=()    # what is being made, for the clean-up

readonly kernel_metapackage=linux-image-amd64

# "early" is what reaching the caller's file system takes, "late" is the rest. rxe needs one crc32 driver to be loaded.
readonly modules_early=(virtio_pci 9pnet_virtio 9p)
readonly modules_late=(overlay crc32_generic crc32_pclmul rdma_rxe rdma_ucm veth)
readonly modules_network=(virtio_net sch_netem)

# Parts of the kernel package no guest will ever load: two thirds of it.
readonly kernel_package_excluded=(
    './usr' './boot/System.map*'
    '*/kernel/sound' '*/kernel/drivers/gpu' '*/kernel/drivers/media' '*/kernel/drivers/net/wireless'
    '*/kernel/drivers/staging' '*/kernel/drivers/iio' '*/kernel/drivers/hid' '*/kernel/drivers/input'
    '*/kernel/drivers/usb' '*/kernel/drivers/scsi' '*/kernel/drivers/hwmon' '*/kernel/drivers/net/ethernet'
)

cache_directory() {
    local home=${HOME:-} directory
    [[ -n $home ]] || home=$(getent passwd "$(id -u)" | cut -d: -f6) || home=
    directory=${XDG_CACHE_HOME:-$home/.cache}/penstock/softroce
    if ! mkdir -p "$directory" 2>/dev/null || [[ ! -w $directory ]]; then
        # No home to write in. A name others can guess is only used when it is really ours.
        directory=${TMPDIR:-/tmp}/penstock-softroce-cache-$(id -u)
        [[ -d $directory ]] || mkdir -m 700 "$directory" 2>/dev/null || [[ -d $directory ]] ||
            fail "no place for the cache: set XDG_CACHE_HOME to a writable directory"
        [[ -O $directory && ! -L $directory ]] || fail "$directory belongs to somebody else: set XDG_CACHE_HOME"
    fi
    (cd -- "$directory" && pwd -P)
}

cached_kernel() {    # cache
    local found
    found=$(cd -- "$1" && printf '%s\n' kernel-*/complete | sort -V | tail -n 1)
    [[ $found != 'kernel-*/complete' ]] || return 1
    found=${found#kernel-}
    printf '%s\n' "${found%/complete}"
}

kernel_package() {
    apt-cache depends "$kernel_metapackage" 2>/dev/null | awk '/Depends: linux-image-[0-9]/ { print $2; exit }'
}

# Runs with the cache locked.
fetch_kernel() {    # cache
    local package work version exclude=() pattern
    require apt-get apt, dpkg-deb dpkg, depmod kmod, tar tar
    package=$(kernel_package)
    [[ -n $package ]] || fail "apt knows no $kernel_metapackage: run 'apt-get update' (the guest's kernel is Debian's, for amd64)"
    version=${package#linux-image-}
    note "fetching the guest's kernel: $package (once; it is kept in $1)"
    work=$(mktemp -d "$1/fetch.XXXXXX")
    scratch+=("$work")
    if ! (cd -- "$work" && apt-get -qq -o APT::Sandbox::User=root download "$package") > "$work/log" 2>&1; then
        cat "$work/log" >&2
        fail "'apt-get download $package' failed: see above; 'apt-get update' may be due"
    fi
    for pattern in "${kernel_package_excluded[@]}"; do exclude+=(--exclude="$pattern"); done
    mkdir "$work/tree"
    dpkg-deb --fsys-tarfile "$work"/*.deb | tar -x -C "$work/tree" --no-same-owner "${exclude[@]}"
    # modules.dep is depmod's; it is what modprobe reads, here and in the guest.
    depmod -b "$work/tree" "$version"
    touch "$work/tree/complete"
    rm -rf -- "$1/kernel-$version"
    mv -T -- "$work/tree" "$1/kernel-$version"
    rm -rf -- "$work"
}

# The compressed image inside bzImage, unpacked: the guest would take 3.5 s for it, xz here takes less than one. Where it
# lies is in the image's own header (the kernel's Documentation/x86/boot.rst), the last four bytes of it are its length.
unpack_kernel() {    # bzImage, file to make
    local setup_sectors offset length work
    setup_sectors=$(header_field "$1" 0x1f1 1)
    offset=$(((setup_sectors + 1) * 512 + $(header_field "$1" 0x248 4)))
    length=$(($(header_field "$1" 0x24c 4) - 4))
    work=$(mktemp "$2.XXXXXX")
    scratch+=("$work")
    head -c $((offset + length)) -- "$1" | tail -c "$length" | xz -dc > "$work"
    mv -- "$work" "$2"
}

header_field() {    # bzImage, offset, bytes
    od -An "-tu$3" "-j$(($2))" "-N$3" -- "$1" | tr -d ' '
}

module_files() {    # module...
    local module
    for module; do
        modprobe -d "$kernel_tree" -S "$kernel" --show-depends "$module" | awk '$1 == "insmod" { print $2 }'
    done
}

write_module_list() {    # list file, directory of the modules, module...
    local list=$1 directory=$2 file files
    shift 2
    files=$(module_files "$@")
    while read -r file; do
        [[ -e $directory/${file##*/} ]] && continue
        cp -- "$file" "$directory/"
        printf '%s\n' "${file##*/}" >> "$list"
    done <<< "$files"
}

# Runs with the cache locked. Not compressed: the guest reads it faster than it would unpack it.
build_initramfs() {    # file to make
    local work
    require cpio cpio, busybox busybox-static, modprobe kmod
    work=$(mktemp -d "$1.XXXXXX")
    scratch+=("$work")
    mkdir -p "$work"/root/{bin,modules,proc,sys,dev,control,host,writes,overlay,root}
    cp -- "$(command -v busybox)" "$work/root/bin/busybox"
    cp -- "$parts/init" "$work/root/init"
    chmod 755 "$work/root/init"
    write_module_list "$work/root/modules/early" "$work/root/modules" "${modules_early[@]}"
    write_module_list "$work/root/modules/late" "$work/root/modules" "${modules_late[@]}"
    write_module_list "$work/root/modules/network" "$work/root/modules" "${modules_network[@]}"
    (cd -- "$work/root" && find . -print0 | cpio --quiet -0 -o -H newc -R 0:0) > "$work/image"
    mv -- "$work/image" "$1"
    rm -rf -- "$work"
    # What other versions of these scripts left behind.
    find "${1%/*}" -maxdepth 1 -name 'initramfs-*' -mtime +30 -delete
}

scripts_hash() {
    sha256sum "$parts/init" "$parts/kernel.sh" "$(command -v busybox)" | awk '{ print $1 }' | sha256sum | cut -c 1-16
}

prepare_kernel() {
    local cache lock
    require busybox busybox-static, flock util-linux, xz xz-utils, sha256sum coreutils
    [[ $(uname -m) == x86_64 ]] || fail "the guest runs this machine's programs on an x86-64 kernel: this is $(uname -m)"
    cache=$(cache_directory)
    exec {lock}> "$cache/lock"
    if ! kernel=$(cached_kernel "$cache"); then
        flock "$lock"
        kernel=$(cached_kernel "$cache") || { fetch_kernel "$cache"; kernel=$(cached_kernel "$cache"); }
    fi
    kernel_tree=$cache/kernel-$kernel
    kernel_image=$kernel_tree/boot/vmlinux
    if [[ ! -e $kernel_image ]]; then
        flock "$lock"
        [[ -e $kernel_image ]] || unpack_kernel "$kernel_tree/boot/vmlinuz-$kernel" "$kernel_image"
    fi
    initramfs=$cache/initramfs-$kernel-$(scripts_hash)
    if [[ ! -e $initramfs ]]; then
        flock "$lock"
        [[ -e $initramfs ]] || build_initramfs "$initramfs"
    fi
    exec {lock}>&-
}
