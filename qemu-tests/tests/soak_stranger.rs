//! The README's own example, as it stands there: a stranger's ten lines build, boot, and let the stranger in.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use basalt::vm::{Disk, Machine, Network, SectorSize, choose_accel};
use qemu_tests::{Basalt, Scratch, SshKey, free_port, reference_image, repository};

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const NAME: &str = "my-node.toml";
/// The one line that no two strangers share.
const KEY: &str = "ssh-ed25519 AAAA... me@example";
const CHECK: &str = r#"
[[check]]
name = "it is what its recipe says"
run = ["cat", "/etc/motd"]
stdout = "built by Basalt"
"#;

#[test]
fn soak_the_recipe_of_the_readme_builds_and_boots() -> Result<()> {
    let (recipe, commands) = readme()?;
    let (scratch, image) = (Scratch::new()?, reference_image()?);
    let key = SshKey::new(&scratch)?;
    ensure!(recipe.contains(KEY), "the README's recipe has no {KEY:?}");
    let recipe = recipe.replace(KEY, &key.public);

    for sector_size in [SectorSize::B512, SectorSize::B4096] {
        let disk = format!("\n[disk]\nsector-size = {}\n", sector_size.bytes());
        scratch.write(NAME, format!("{recipe}{disk}{CHECK}"))?;
        for command in &commands {
            let words: Vec<_> = command.split_whitespace().collect();
            let (verb, last) = (*words.first().context("an empty command")?, *words.last().context("an empty command")?);
            if verb == "boot" {
                // Needs a terminal; the machine below is the same.
                let path = scratch.path().join(last);
                log_in(&path, sector_size, &key, &image.cache)?;
            } else {
                Basalt::new(words).cache(&image.cache).folder(scratch.path()).run(&scratch)?.exits(0);
            }
        }
    }
    Ok(())
}

/// The recipe and the arguments of each `basalt` in the README's chapter on them.
fn readme() -> Result<(String, Vec<String>)> {
    let text = fs::read_to_string(repository().join("README.md"))?;
    let chapter = text.split("\n## ").find(|chapter| chapter.starts_with("A recipe of your own\n"));
    let chapter = chapter.context("README.md: no chapter \"A recipe of your own\"")?;
    let recipe = chapter.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).context("README.md: no recipe")?;
    ensure!(recipe.starts_with(&format!("# {NAME}\n")), "README.md: the recipe is not called {NAME}");
    let commands: Vec<_> = chapter
        .lines()
        .filter_map(|line| line.strip_prefix("basalt "))
        .map(|line| line.split('#').next().unwrap_or(line).trim().to_owned())
        .collect();
    let verbs: Vec<_> = commands.iter().filter_map(|command| command.split_whitespace().next()).collect();
    ensure!(verbs == ["check", "build", "boot", "test"], "README.md: the commands are {verbs:?}");
    Ok((recipe.to_owned(), commands))
}

/// Nothing but the recipe lets the stranger in: its key, its network, its console.
fn log_in(path: &std::path::Path, sector_size: SectorSize, key: &SshKey, cache: &std::path::Path) -> Result<()> {
    let host_port = free_port()?;
    let disk = Disk { sector_size, ..Disk::new(path) };
    let mut vm = Machine::new(disk, choose_accel(cache)?).network(Network::Ssh { host_port }).channel().start()?;
    vm.expect(" login: ", BOOT)?;
    vm.must("/usr/lib/systemd/systemd-networkd-wait-online --any --ipv4 --timeout=120", COMMAND)?;
    vm.wait_for_boot(BOOT)?;
    let sectors = key.root(host_port, "cat /sys/class/block/vda/queue/logical_block_size")?;
    ensure!(sectors == sector_size.bytes().to_string(), "sectors of {sectors} bytes, needed {sector_size:?}");
    Ok(())
}
