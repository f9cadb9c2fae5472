#!/bin/bash
# Builds the agent as images carry it, and prints where the program lies: firstboot/build.sh [TARGET_DIR] [CARGO OPTION...]
# The same sources, Cargo.lock and Rust give the same bytes on any machine, from any folder, HOME and CARGO_HOME: the three places
# that rustc would write into panic messages get fixed names; Rust's own linker links against the C library of the images' suite,
# not of this machine. Used by the Makefile and by the test that compares two builds.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-$PWD/target/agent}
shift $(($# > 0))
suite=trixie triple=x86_64-unknown-linux-gnu multiarch=x86_64-linux-gnu gcc=14

# Unpacked, nothing is run: 6 seconds, once.
sysroot=${XDG_CACHE_HOME:-$HOME/.cache}/basalt-agent/$suite
if [ ! -e "$sysroot" ]; then
  echo "agent: fetching the C library of $suite to link against" >&2
  # From the mirror that this machine uses, and from the suite alone: its updates come and go.
  mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' |
    awk -v release="$(. /etc/os-release && echo "$VERSION_CODENAME")" '$2 == release && !found++ { print $1 }')
  [ -n "$mirror" ] || { echo "agent: this machine's apt sources name no Debian archive; add one, then try again" >&2; exit 4; }
  mkdir -p "${sysroot%/*}"
  new=$(mktemp -d "$sysroot.XXXXXX")
  trap 'rm -rf "$new"' EXIT
  fetch() {
    mmdebstrap --variant=extract --format=tar --include=libc6-dev,libgcc-$gcc-dev $suite - "deb ${mirror%/} $suite main" 2>"$new/log" |
      tar -x --no-same-owner -C "$new" --wildcards "./usr/lib/$multiarch/*" "./usr/lib/gcc/$multiarch/*" './usr/lib64/*'
  }
  for try in 1 2 3; do
    fetch && break
    echo "agent: fetching failed, try $try of 3:" >&2
    grep -v '^W: skipping' "$new/log" | tail -n 15 | sed 's/^/  /' >&2
    [ $try -lt 3 ] || { echo "agent: look at the network and the mirror, then try again" >&2; exit 4; }
    rm -rf "$new/usr"
    sleep $((5 * try))
  done
  rm "$new/log"
  ln -s usr/lib usr/lib64 "$new"
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
# With --target the flags are not for build scripts, which run here.
cargo build --profile agent --locked -p basalt-firstboot --target $triple --target-dir "$target" "$@" >&2
echo "$target/$triple/agent/basalt-firstboot"
