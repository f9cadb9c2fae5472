#!/bin/bash
# What programs of an image are built and linked with: sourced by build.sh and container/build.sh, from the top of the sources.
# Takes `suite` and `gcc` (Debian's release and its compiler's version) and `libraries` (their -dev packages beside the C library's).
# Sets `triple`, `sysroot` (the libraries of the suite), CARGO_ENCODED_RUSTFLAGS and, for libraries, pkg-config's variables.
# The same sources, Cargo.lock and Rust give the same bytes on any machine, from any folder, HOME and CARGO_HOME: the three places
# that rustc would write into panic messages get fixed names; Rust's own linker links against the libraries of the suite, not of
# this machine.
triple=x86_64-unknown-linux-gnu multiarch=x86_64-linux-gnu
target_packages=libc6-dev,libgcc-$gcc-dev${libraries:+,$libraries}

# Unpacked, nothing is run: once. Another number when what is unpacked changes: older Basalts on this machine keep theirs.
sysroot=${XDG_CACHE_HOME:-$HOME/.cache}/basalt-agent/$suite-3
if [ ! -e "$sysroot" ]; then
  echo "target: fetching the libraries of $suite to link against" >&2
  # From the mirror that this machine uses, and from the suite alone: its updates come and go.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$2 == release && !found++ { print $1 }')
  [ -n "$mirror" ] || { echo "target: this machine's apt sources name no Debian archive; add one, then try again" >&2; exit 4; }
  mkdir -p "${sysroot%/*}"
  new=$(mktemp -d "$sysroot.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  keep=("*/lib/$multiarch/*" "*/lib/gcc/$multiarch/*" '*/lib64/*')
  [ -z "$libraries" ] || keep+=('./usr/share/pkgconfig/*' './usr/include/openssl/*' "./usr/include/$multiarch/openssl/*")
  # By way of a file: with a pipe a reader that ends early takes the writer along, and its own reason is lost.
  fetch() {
    timeout 600 mmdebstrap --variant=extract --format=tar --aptopt='Acquire::http::Timeout "60"' --aptopt='Acquire::Retries "2"' \
      --include="$target_packages" $suite - "deb ${mirror%/} $suite main" 2>"$new/log" >"$new/all.tar" &&
      tar -x --file="$new/all.tar" --no-same-owner -C "$new" --transform 'flags=r;s,^\./lib,./usr/lib,' --wildcards "${keep[@]}" 2>>"$new/log"
  }
  for try in 1 2 3; do
    fetch && break
    echo "target: fetching failed, try $try of 3:" >&2
    grep -v '^W: skipping' "$new/log" | tail -n 15 | sed 's/^/  /' >&2
    [ $try -lt 3 ] || { echo "target: look at the network and the mirror, then try again" >&2; exit 4; }
    rm -rf "$new/usr"
    sleep $((5 * try))
  done
  rm "$new/log" "$new/all.tar"
  # One folder of headers, so that none of this machine's are taken.
  [ -z "$libraries" ] || cp -a "$new/usr/include/$multiarch/openssl/." "$new/usr/include/openssl"
  # Only what a linker reads.
  find "$new/usr/lib/$multiarch" -mindepth 1 -maxdepth 1 ! -name '*.so*' ! -name '*.[ao]' ! -name pkgconfig -exec rm -rf {} +
  ln -s usr/lib usr/lib64 "$new"
  # Older suites have it lead to this machine's.
  ln -sf "../lib/$multiarch/ld-linux-x86-64.so.2" "$new/usr/lib64"
  # Another build may have been quicker.
  mv -T "$new" "$sysroot" 2>/dev/null || [ -e "$sysroot" ]
fi
c=$sysroot/usr/lib/$multiarch g=$sysroot/usr/lib/gcc/$multiarch/$gcc

flags=("--remap-path-prefix=$PWD=/basalt" "--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo"
  "--remap-path-prefix=$(rustc --print sysroot)=/rust"
  -Clinker=rust-lld -Clinker-flavor=ld.lld "-Clink-arg=--sysroot=$sysroot" "-Lnative=$c" "-Lnative=$g"
  -Clink-arg=--dynamic-linker=/lib64/ld-linux-x86-64.so.2 -Clink-arg=--hash-style=gnu)
for object in "$c/Scrt1.o" "$c/crti.o" "$g/crtbeginS.o" "$g/crtendS.o" "$c/crtn.o"; do flags+=("-Clink-arg=$object"); done
# Encoded: a folder's name may hold a blank.
CARGO_ENCODED_RUSTFLAGS=$(printf '%s\x1f' "${flags[@]}")
export CARGO_ENCODED_RUSTFLAGS=${CARGO_ENCODED_RUSTFLAGS%$'\x1f'}
unset RUSTFLAGS CARGO_INCREMENTAL CARGO_BUILD_TARGET
# Libraries are those of the suite, headers too.
export PKG_CONFIG_SYSROOT_DIR=$sysroot PKG_CONFIG_LIBDIR=$c/pkgconfig:$sysroot/usr/share/pkgconfig PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1
