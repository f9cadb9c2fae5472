#!/bin/bash
# Builds what gpu-node.toml has beside the kernel's stock modules, for the kernel that its lock pins: image-recipes/drivers/build.sh KEY
# KEY is the private key that will sign them, in PEM; where there is none, one is made, with its certificate beside it (KEY, KEY's name
# with .crt). Modules and certificate go to drivers/modules. NVIDIA's take minutes; what is built already is taken from the cache.
# BASALT is the program, target/bin/basalt when nobody says.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
basalt=${BASALT:-$here/../../target/bin/basalt}
key=${1:?usage: $0 KEY}
certificate=${key%.*}.crt

if [ ! -e "$key" ]; then
  mkdir -p "$(dirname "$key")"
  echo "drivers: making a key for kernel modules: $key (keep it) and $certificate (machines trust it: mokutil --import)" >&2
  (umask 077 && openssl req -x509 -nodes -newkey rsa:3072 -days 3650 -subj "/CN=kernel modules of $(id -un)" \
    -keyout "$key.new" -out "$certificate" 2>/dev/null && mv "$key.new" "$key")
fi
[ -e "$certificate" ] || { echo "drivers: $key has no certificate beside it; make one: openssl req -x509 -key $key ... -out $certificate" >&2; exit 3; }
mkdir -p "$here/modules"
openssl x509 -in "$certificate" -out "$here/modules/module.pem"

build() { "$basalt" kmod build --kernel "${here%/*}/gpu-node.toml" --out "$here/modules" "$@"; }
build --source linux-source-6.12 --folder samples/vfio-mdev --name mtty --make CONFIG_SAMPLE_VFIO_MDEV_MTTY=m
build --source linux-source-6.12 --folder drivers/net/netdevsim --name netdevsim --make CONFIG_NETDEVSIM=m
build --source nvidia-open-kernel-dkms --component contrib --patch "$here/nvidia-pci.patch"
