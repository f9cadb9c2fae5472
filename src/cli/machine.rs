//! The virtual machine that `boot` and `test` share.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

use crate::artefact::manifest;
use crate::failure::{Failure, Kind};
use crate::kmod::keyring;
use crate::recipe::names;
use crate::store::Store;
use crate::vm::{self, Bus, Disk, Machine, SectorSize, SecureBoot, Writes};

/// What the machine has.
#[derive(Debug, Args)]
pub struct MachineArgs {
    /// Memory in MiB
    #[arg(long, value_name = "MIB", default_value_t = 2048)]
    memory: u32,
    /// Processors
    #[arg(long, value_name = "N", default_value_t = 2)]
    cpus: u32,
    /// Boot without Secure Boot
    #[arg(long)]
    no_secure_boot: bool,
    /// Begin with these variables of the firmware, as virt-fw-vars writes
    /// them: with keys that a node's owner enrolled. They are not changed
    #[arg(long, value_name = "FILE")]
    uefi_variables: Option<PathBuf>,
    /// Boot as if the machine's owner had enrolled this certificate (MOK, DER
    /// or PEM): its kernel loads the modules that are signed by its key
    #[arg(long, value_name = "FILE", conflicts_with = "no_secure_boot")]
    mok: Vec<PathBuf>,
    /// Where the guest sees the disk: virtio, nvme or sata
    #[arg(long, value_name = "BUS", default_value = "virtio", value_parser = bus)]
    bus: Bus,
    /// Size of the guest's disk, to which the image is written
    /// (auto: the image's own) [default: 8G, or the image's own]
    #[arg(long, value_name = "SIZE", value_parser = disk_size)]
    disk_size: Option<DiskSize>,
}

/// A disk that a node may have: images are small until they grow.
const USUAL: u64 = 8 << 30;

/// In bytes; none for the image's own size.
#[derive(Clone, Copy, Debug)]
struct DiskSize(Option<u64>);

fn disk_size(text: &str) -> Result<DiskSize, String> {
    names::size(text).map(DiskSize)
}

fn bus(text: &str) -> Result<Bus, String> {
    match text {
        "virtio" => Ok(Bus::Virtio),
        "nvme" => Ok(Bus::Nvme),
        "sata" => Ok(Bus::Sata),
        _ => Err("needed virtio, nvme or sata".to_owned()),
    }
}

impl MachineArgs {
    /// The machine with `disk`.
    pub fn machine(&self, disk: &Path, writes: Writes, store: &Store) -> Result<Machine> {
        if !disk.is_file() {
            let (found, next) = match (disk.is_dir(), disk.exists()) {
                (true, _) => ("a folder", "name the disk in it: DIR/NAME.raw or DIR/NAME.qcow2"),
                (false, true) => ("something else", "name a raw or qcow2 disk"),
                (false, false) => ("none", "build one: basalt build RECIPE --out DIR"),
            };
            let what = format!("{}: needed a disk (a file), found {found}", disk.display());
            return Err(Failure::new(Kind::Input, what).hint(next).into());
        }
        let sector_size = sector_size(disk)?;
        let size = match (self.disk_size, writes) {
            (Some(DiskSize(size)), _) => size,
            (None, Writes::Kept) => None,
            (None, Writes::Discarded) => {
                let image = vm::disk_size(disk).with_context(|| format!("{}: cannot be read", disk.display()))?;
                Some(image.max(USUAL))
            }
        };
        let disk = Disk { bus: self.bus, writes, sector_size, size, ..Disk::new(disk) };
        let secure_boot = if self.no_secure_boot { SecureBoot::Off } else { SecureBoot::On };
        let accel = vm::choose_accel(store.root())?;
        let owner_keys = self.mok.iter().map(|path| owner_key(path)).collect::<Result<Vec<_>>>()?;
        let machine = Machine::new(disk, accel).memory_mib(self.memory).cpus(self.cpus).secure_boot(secure_boot);
        let machine = machine.owner_keys(owner_keys);
        Ok(match &self.uefi_variables {
            Some(variables) => machine.uefi_variables(variables),
            None => machine,
        })
    }
}

/// The certificate in the file `path`, in DER.
pub fn owner_key(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))?;
    let der = keyring::der(&bytes);
    Ok(der
        .map_err(|bad| Failure::new(Kind::Input, format!("{}: {bad}", path.display())).hint("openssl x509 shows certificates"))?)
}

/// As the manifest beside the disk says; 512 where there is none.
fn sector_size(disk: &Path) -> Result<SectorSize> {
    let manifest = disk.parent().map(manifest::read).transpose()?.flatten();
    Ok(match manifest {
        Some(manifest) if manifest.sector_size == 4096 => SectorSize::B4096,
        _ => SectorSize::B512,
    })
}
