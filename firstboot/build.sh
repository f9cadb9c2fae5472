#!/bin/bash
# Builds the agent as images carry it, and prints where the program lies: firstboot/build.sh [TARGET_DIR] [CARGO OPTION...]
# Used by the Makefile and by the test that compares two builds. What makes the bytes the same everywhere is in target.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-$PWD/target/agent}
shift $(($# > 0))
# The agent wants the C library alone. One of 2.36 lets it start on each base since Debian 12 and, as it asks for nothing newer than
# 2.34, on those of Red Hat Enterprise Linux 9; linked with a later one it would ask for 2.39.
suite=bookworm gcc=12 libraries=
. firstboot/target.sh
# With --target the flags are not for build scripts, which run here.
cargo build --profile agent --locked -p basalt-firstboot --target $triple --target-dir "$target" "$@" >&2
echo "$target/$triple/agent/basalt-firstboot"
