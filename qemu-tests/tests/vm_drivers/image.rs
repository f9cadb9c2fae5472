//! The image: the reference recipe with modules, a profile, and a folder of modules that the builder would refuse.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Running, choose_accel};
use qemu_tests::{Basalt, ModuleKey, StockModules, Warm, enrolled, shared_cache};
use serde_json::Value;

use crate::altered::{Altered, altered};

/// NVIDIA's modules, on a busy machine.
const BUILDS: Duration = Duration::from_secs(2400);
/// Where the altered modules lie in the image: nothing looks for modules there.
pub const FORCED: &str = "/usr/share/case";
/// The reference image, and what the case has beside it.
const RECIPE: &str = r#"include = ["gpu-node.toml"]

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
        let beside = |name: &str| warm.recipe.with_file_name(name);
        // The same packages.
        for recipe in ["gpu-node", "case"] {
            fs::copy(warm.recipe.with_extension("lock"), beside(&format!("{recipe}.lock")))?;
        }
        build_drivers(&warm, &key)?;

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

/// What `make image` does first. NVIDIA's take minutes: they are built once, in the cache of the reference image.
fn build_drivers(warm: &Warm, key: &ModuleKey) -> Result<()> {
    let script = warm.recipe.with_file_name("drivers/build.sh");
    let run = Basalt::new([script, key.key.clone()])
        .under(["bash", "-c", "BASALT=$0 exec \"$@\""])
        .cache(&shared_cache())
        .limit(BUILDS);
    println!("{}", run.run(&warm.scratch)?.exits(0).stdout);
    Ok(())
}
