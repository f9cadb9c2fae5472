//! The command line of QEMU for a machine. A function from values to arguments; it looks at nothing.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use super::firmware::{Firmware, SecureBoot};
use super::machine::{Bus, Machine, Network, Writes};
use super::overlay::Format;

/// The files of one machine, below its folder.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) folder: PathBuf,
    /// What is opened as the disk: the image, or the overlay.
    pub(super) disk: (PathBuf, Format),
    pub(super) firmware: Firmware,
}

/// The sockets on which we wait for QEMU, by what they carry.
pub(super) const CONSOLE: &str = "console";
pub(super) const CHANNEL: &str = "channel";
pub(super) const QMP: &str = "qmp";

/// The name of the command channel's port: in the guest `/dev/virtio-ports/` and this.
pub(super) const PORT: &str = "basalt.channel.0";

impl Files {
    /// The machine's own firmware variables.
    pub(super) fn variables(&self) -> PathBuf {
        self.folder.join("variables.fd")
    }
}

/// Everything but the credentials, which are files.
pub(super) fn arguments(machine: &Machine, files: &Files) -> Vec<OsString> {
    let mut args: Vec<OsString> = ["-nodefaults", "-no-user-config", "-display", "none"].map(Into::into).into();
    args.extend(machine.accel.arguments().map(Into::into));
    let mut add = |name: &str, value: OsString| args.extend([name.into(), value]);
    add("-smp", machine.cpus.to_string().into());
    add("-m", machine.memory_mib.to_string().into());

    if machine.secure_boot == SecureBoot::On {
        // Variables are written from SMM only, and a sleep to S3 would get around that.
        add("-global", "driver=cfi.pflash01,property=secure,value=on".into());
        add("-global", "ICH9-LPC.disable_s3=1".into());
    }
    add("-drive", value("if=pflash,format=raw,unit=0,readonly=on,file=", &files.firmware.code));
    add("-drive", value("if=pflash,format=raw,unit=1,file=", &files.variables()));

    let (path, format) = &files.disk;
    // The host's page cache outlives a killed QEMU, so that "unsafe" is what a power cut leaves behind for a thrown-away disk.
    let cache = match machine.disk.writes {
        Writes::Discarded => "unsafe",
        Writes::Kept => "writeback",
    };
    add("-drive", value(&format!("if=none,id=disk,format={},discard=unmap,cache={cache},file=", format.name()), path));
    let sectors = machine.disk.sector_size.bytes();
    let sectors = format!("logical_block_size={sectors},physical_block_size={}", sectors.max(4096));
    let device = match machine.disk.bus {
        Bus::Virtio => format!("virtio-blk-pci,drive=disk,bootindex=1,{sectors}"),
        Bus::Nvme => format!("nvme,drive=disk,bootindex=1,serial=basalt,{sectors}"),
        Bus::Sata => "ide-hd,drive=disk,bootindex=1,bus=ide.0".to_owned(),
    };
    add("-device", device.into());
    for (index, (name, path)) in machine.data.iter().enumerate() {
        add("-drive", value(&format!("if=none,id=data{index},format=raw,readonly=on,file="), path));
        add("-device", value(&format!("virtio-blk-pci,drive=data{index},serial="), Path::new(name)));
    }

    let network = match machine.network {
        Network::None => None,
        Network::User => Some("user,id=net".to_owned()),
        Network::Ssh { host_port } => Some(format!("user,id=net,hostfwd=tcp:127.0.0.1:{host_port}-:22")),
        Network::Closed => Some("user,id=net,restrict=on".to_owned()),
    };
    if let Some(network) = network {
        add("-netdev", network.into());
        add("-device", "virtio-net-pci,netdev=net,romfile=".into()); // no PXE before the disk
    }

    let mut console = value("socket,id=console,path=", &files.folder.join(CONSOLE));
    if let Some(log) = &machine.console_log {
        console.push(value(",logfile=", log));
    }
    add("-chardev", console);
    add("-serial", "chardev:console".into());
    add("-device", "virtio-serial-pci".into());
    add("-chardev", value("socket,id=channel,path=", &files.folder.join(CHANNEL)));
    add("-device", format!("virtserialport,chardev=channel,name={PORT}").into());
    add("-chardev", value("socket,id=qmp,path=", &files.folder.join(QMP)));
    add("-mon", "chardev=qmp,mode=control".into());
    add("-device", "virtio-rng-pci".into());
    args.extend(machine.extra.iter().map(Into::into));
    args
}

/// `key` and a path as one option: a comma in the path is doubled, as QEMU wants it.
pub(super) fn value(key: &str, path: &Path) -> OsString {
    let mut bytes = key.as_bytes().to_vec();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

/// The arguments as one line of a shell, for a log.
pub(super) fn line(arguments: &[OsString]) -> String {
    arguments.iter().map(|argument| OsStr::to_string_lossy(argument)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::accel::Accel;
    use super::super::machine::{Disk, SectorSize};
    use super::*;

    fn machine() -> Machine {
        Machine::new(Disk::new(Path::new("/images/a.raw")), Accel::Tcg)
    }

    fn line_of(machine: &Machine) -> String {
        let files = Files {
            folder: "/vm".into(),
            disk: ("/vm/disk.qcow2".into(), Format::Qcow2),
            firmware: Firmware { code: "/fw/code".into(), variables: "/fw/vars".into() },
        };
        line(&arguments(machine, &files))
    }

    #[test]
    fn each_choice_is_an_argument() {
        let with = |change: fn(&mut Machine)| {
            let mut machine = machine();
            change(&mut machine);
            line_of(&machine)
        };
        for (line, part) in [
            (with(|_| ()), "-machine q35,smm=on -accel tcg"),
            (with(|_| ()), "-smp 2 -m 2048"),
            (with(|_| ()), "unit=0,readonly=on,file=/fw/code -drive if=pflash,format=raw,unit=1,file=/vm/variables.fd"),
            (with(|_| ()), "cfi.pflash01,property=secure,value=on"),
            (with(|_| ()), "format=qcow2,discard=unmap,cache=unsafe,file=/vm/disk.qcow2"),
            (with(|_| ()), "-netdev user,id=net -device virtio-net-pci,netdev=net,romfile="),
            (with(|_| ()), "virtio-blk-pci,drive=disk,bootindex=1,logical_block_size=512"),
            (with(|m| m.accel = Accel::Kvm), "-accel kvm -cpu host"),
            (with(|m| m.disk.bus = Bus::Nvme), "nvme,drive=disk,bootindex=1,serial=basalt,logical_block_size=512"),
            (with(|m| m.disk.bus = Bus::Sata), "ide-hd,drive=disk,bootindex=1,bus=ide.0"),
            (with(|m| m.disk.sector_size = SectorSize::B4096), "logical_block_size=4096,physical_block_size=4096"),
            (with(|m| m.disk.writes = Writes::Kept), "cache=writeback"),
            (with(|m| m.network = Network::Ssh { host_port: 2222 }), "hostfwd=tcp:127.0.0.1:2222-:22"),
            (with(|m| m.network = Network::Closed), "restrict=on"),
            (
                with(|m| m.data.push(("more".into(), "/a,b".into()))),
                "readonly=on,file=/a,,b -device virtio-blk-pci,drive=data0,serial=more",
            ),
            (with(|m| m.console_log = Some("/log".into())), "path=/vm/console,logfile=/log"),
            (with(|m| m.extra = vec!["-device".into(), "igb".into()]), "-device igb"),
        ] {
            assert!(line.contains(part), "{part}\n{line}");
        }
    }

    #[test]
    fn what_is_not_chosen_is_not_there() {
        let mut machine = machine();
        machine.secure_boot = SecureBoot::Off;
        machine.network = Network::None;
        let line = line_of(&machine);
        assert!(!line.contains("property=secure") && !line.contains("-netdev"), "{line}");
    }
}
