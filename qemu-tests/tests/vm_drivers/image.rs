//! The image: the reference recipe with modules, a profile, and a folder of modules that the builder would refuse.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, choose_accel};
use qemu_tests::{Basalt, ModuleKey, StockModules, Warm, enrolled, nvidia_open, nvidia_patch, shared_cache};
use serde_json::Value;

use crate::altered::{Altered, altered};

/// Of the suite's kernel.
const SERIES: &str = "6.12";
/// Where the altered modules lie in the image: nothing looks for modules there.
pub const FORCED: &str = "/usr/share/case";
/// Beside the recipe with drivers, which it includes.
const RECIPE: &str = r#"include = ["gpu-node-drivers.toml"]

[[kernel-module]]
name = "sampler"
path = "sampler"
load-early = ["act_sample"]
parameters = { act_sample = "case=1" }
in-tree-modules-to-remove = ["act_sample"]

[[overlay]]
path = "forced"

[tuned]
profiles = ["profiles"]
active = "case"

[tuned.variables.basalt-cpu-isolated]
isolated_cores = "1"
reserved_cores = "0"
hugepages_2m = "64"
"#;
/// The recipe's own profile.
const PROFILE: &str = "[main]\nsummary=Case\ninclude=basalt-cpu-isolated\n[sysctl]\nnet.core.somaxconn=5432\nvm.swappiness=7\n\
                       [bootloader]\ncmdline_case=+case.flag\n";

/// The built image and what is known of it.
pub struct Drivers {
    warm: Warm,
    /// The UEFI variables of a machine whose owner trusts the key.
    variables: PathBuf,
    /// Debian's modules, and the keys that the machine trusts.
    pub stock: StockModules,
    /// What lies in [`FORCED`].
    pub altered: Vec<Altered>,
    /// The kernel's arguments, as the builder says.
    pub args: Vec<String>,
}

impl Drivers {
    pub fn new() -> Result<Self> {
        let warm = Warm::new()?;
        let key = ModuleKey::new(&warm.scratch, "rsa")?;
        let stock = StockModules::new()?.trusting(&key.certificate)?;
        warm.lock_kernel(&stock.package)?;
        let beside = |name: &str| drivers(&warm).with_file_name(name);
        // The same packages.
        for recipe in ["gpu-node-drivers", "case"] {
            fs::copy(warm.recipe.with_extension("lock"), beside(&format!("{recipe}.lock")))?;
        }
        fs::create_dir(beside("modules"))?;
        fs::copy(&key.certificate, beside("modules/module.pem"))?;
        let patch = warm.scratch.path().join("nvidia.patch");
        nvidia_patch(&nvidia_open()?, &patch)?;
        let patch = patch.display().to_string();
        let kernel_source = format!("linux-source-{SERIES}");
        let of_kernel = |name, folder, make| -> Result<()> {
            kmod_build(&warm, &["--source", &kernel_source, "--folder", folder, "--name", name, "--make", make])
        };
        of_kernel("mtty", "samples/vfio-mdev", "CONFIG_SAMPLE_VFIO_MDEV_MTTY=m")?;
        of_kernel("netdevsim", "drivers/net/netdevsim", "CONFIG_NETDEVSIM=m")?;
        kmod_build(&warm, &["--source", "nvidia-open-kernel-dkms", "--component", "contrib", "--patch", &patch])?;

        let path = stock.paths.iter().find(|path| path.display().to_string().contains("/act_sample.ko")).context("act_sample")?;
        fs::create_dir(beside("sampler"))?;
        fs::copy(path, beside("sampler").join(path.file_name().context("a name")?))?;
        fs::create_dir_all(beside("profiles/case"))?;
        fs::write(beside("profiles/case/tuned.conf"), PROFILE)?;
        let altered = altered(&stock, &key, &warm.scratch)?;
        let forced = beside("forced").join(FORCED.trim_start_matches('/'));
        fs::create_dir_all(&forced)?;
        for Altered { name, bytes, .. } in &altered {
            fs::write(forced.join(format!("{name}.ko")), bytes)?;
        }

        let recipe = beside("case.toml");
        fs::write(&recipe, RECIPE)?;
        let out = warm.scratch.folder("out")?;
        let build = warm.basalt(["build", "--format", "raw", "--module-key"]).arg(&key.key).arg("--out").arg(out);
        build.arg(&recipe).run(&warm.scratch)?.exits(0);
        let manifest = warm.manifest("out")?;
        let words = |list: &Value| -> Vec<String> {
            list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let args = words(&manifest["kernel-args"]);
        let modules = manifest["kernel-modules"].as_array().context("no modules")?;
        ensure!(modules.len() == 8, "five of NVIDIA's, mtty, netdevsim, act_sample: {modules:?}");
        let variables = enrolled(&key.certificate, &warm.scratch.path().join("variables.fd"))?;
        Ok(Self { warm, variables, stock, altered, args })
    }

    /// Its machine, turned on.
    pub fn start(&self) -> Result<Running> {
        let disk = Disk { size: Some(6 << 30), ..Disk::new(&self.warm.scratch.path().join("out/gpu-node.raw")) };
        let machine = Machine::new(disk, choose_accel(&self.warm.cache)?).channel().uefi_variables(&self.variables);
        Ok(machine.limit(Some(super::BOOT * 3)).start()?)
    }
}

/// The recipe with drivers.
fn drivers(warm: &Warm) -> PathBuf {
    warm.recipe.with_file_name("drivers").join("gpu-node-drivers.toml")
}

/// NVIDIA's take minutes: they are built once, in the cache of the reference image.
fn kmod_build(warm: &Warm, args: &[&str]) -> Result<()> {
    let recipe = drivers(warm);
    let build = Basalt::new(["kmod", "build", "--kernel"]).cache(&shared_cache()).arg(&recipe);
    let ran = build.arg("--out").arg(recipe.with_file_name("modules")).args(args).run(&warm.scratch)?.exits(0);
    println!("{}", ran.stdout);
    Ok(())
}
