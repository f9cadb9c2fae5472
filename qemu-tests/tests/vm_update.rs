//! A node and a registry: from the reference image, with `[sign]`, to its next version and back, with what the image ships. The power goes
//! away in the middle of the pull, before the menu is switched and just after; the old version comes back by menu and by command.
//!
//! On its way the node is offered what is unsigned, foreign or altered, and takes none of it: the image's signature counts by the policy
//! that the image ships, the commit's by the stock libostree.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use basalt::vm::{Disk, KEY_NEXT, Machine, Running, choose_accel};
use qemu_tests::{Factory, holds};

/// Under TCG beside others.
const BOOT: Duration = Duration::from_secs(900);
const COMMAND: Duration = Duration::from_secs(400);
const PULL: Duration = Duration::from_secs(900);
/// Of QEMU, all starts together one by one.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// What the next version changes in `/etc`: one file that the node has changed too, one that it has not, and a new one.
const CHANGES: &str = r#"
[[file]]
path = "/etc/motd"
text = "next\n"
replaces = true

[[file]]
path = "/etc/issue"
text = "next\n"
replaces = true

[[file]]
path = "/etc/issue.d/next.issue"
text = "next\n"
"#;
/// As libostree titles the entry of the second deployment.
const SECOND_TITLE: &str = "(ostree:1)";
/// The layers of an image that the node's repository has, a line each.
const LAYERS: &str = "ostree refs --repo=/ostree/repo --list ostree/container/blob";

/// The node, and what it is offered.
struct Node {
    vm: Running,
    factory: Factory,
    /// The commit that it was installed with.
    from: String,
    /// The next version's, as it was built. The node boots a merge of its layers, which has the same tree.
    to: String,
    /// The digest of the next version's manifest.
    digest: String,
    began: Instant,
}

/// The next version's tag, once it is signed.
const SIGNED: &str = "signed";

impl Node {
    /// Runs a script that must succeed.
    fn must(&mut self, script: &str) -> Result<String> {
        Ok(self.vm.must(script, COMMAND)?)
    }

    fn holds(&mut self, rows: &[(&str, &str)]) -> Result<()> {
        holds(&mut self.vm, COMMAND, rows)
    }

    /// Every boot: systemd has started all, Secure Boot is on, libostree reads its deployments, what the node wrote is there. Answers
    /// the commit that is booted.
    fn booted(&mut self) -> Result<String> {
        let state = self.vm.wait_for_boot(BOOT)?;
        ensure!(state == "running", "{state}: {}", self.vm.shell("systemctl --failed --no-pager", COMMAND)?.text());
        self.holds(&[
            ("od -An -tu1 -j4 /sys/firmware/efi/efivars/SecureBoot-* | tr -d ' '", "1"),
            ("cat /etc/motd /var/mine", "mine\nmine"),
            ("ls /etc/issue.net 2>/dev/null || echo removed", "removed"),
        ])?;
        let booted = self.must("ostree admin status | sed -n 's/^\\* gpu-node \\([0-9a-f]*\\)\\..*/\\1/p'")?;
        // Not before it has asked tuned does the agent say anything. What it noted before is read by both versions.
        let status = self.must("basalt-firstboot status --wait; :")?;
        ensure!(status.lines().any(|line| line.split_whitespace().eq(["State", "configured"])), "{status}");
        let property =
            self.must("busctl get-property org.basalt.FirstBoot1 /org/basalt/FirstBoot1 org.basalt.FirstBoot1 Deployment")?;
        ensure!(property == format!("s {booted:?}"), "needed the agent to say {booted}, found {property}");
        self.told(&format!("booted {booted}"));
        Ok(booted)
    }

    /// The old commit is booted.
    fn booted_old(&mut self, why: &str) -> Result<()> {
        let booted = self.booted()?;
        ensure!(booted == self.from, "{why}: needed {}, found {booted}", self.from);
        Ok(())
    }

    /// For who reads the test's output: what took how long.
    fn told(&self, what: &str) {
        println!("{:4} s  {what}", self.began.elapsed().as_secs());
    }

    /// The next version, as the origin of what is installed names images.
    fn reference(&self, tag: &str) -> String {
        format!("ostree-remote-registry:basalt:{}", self.factory.image(tag))
    }

    /// `ostree container image pull`.
    fn pull(&self, tag: &str) -> String {
        format!("ostree container image pull --quiet /ostree/repo {}", self.reference(tag))
    }

    /// A pull of `tag` fails with one of these words.
    fn refuses(&mut self, tag: &str, words: &[&str]) -> Result<()> {
        let done = self.vm.shell(&self.pull(tag), PULL)?;
        let said = format!("{}{}", done.text(), done.error_text());
        ensure!(done.status != 0, "{tag}: the node took it");
        ensure!(words.iter().any(|word| said.contains(word)), "{tag}: needed one of {words:?}, found:\n{said}");
        self.told(&format!("{tag}: refused: {}", said.trim()));
        Ok(())
    }

    /// Pulls what is missing and stages it: the next boot would be the new version.
    fn stage(&mut self) -> Result<()> {
        let script = format!("ostree container image deploy --imgref {}", self.reference(SIGNED));
        self.vm.must(&script, PULL)?;
        self.told("staged");
        self.holds(&[("ostree admin status | grep -c '(staged)$'", "1"), ("grep -c ^title /boot/loader/entries/*.conf", "1")])
    }

    /// Does what the node's shutdown does with a staged deployment, up to where `midway` is true (`$old`: the target of `/boot/loader`
    /// before); then `hold`s, and the power goes away.
    fn cut_while_it_deploys(&mut self, midway: &str, hold: &str) -> Result<()> {
        let script = format!(
            "old=$(readlink /boot/loader)\n\
             ostree admin finalize-staged >/dev/null 2>&1 &\n\
             until {midway}; do kill -0 $! || exit 1; done\n\
             {hold}"
        );
        self.vm.must(&script, PULL)?;
        self.told("cut");
        self.vm.power_cut();
        Ok(self.vm.start_again()?)
    }

    fn menu_has_one_entry_for_each_of_two_deployments(&mut self) -> Result<()> {
        self.holds(&[
            ("ostree admin status | grep -c '^[* ] gpu-node '", "2"),
            ("ls /boot/loader/entries", "ostree-1.conf\nostree-2.conf"),
            ("grep -c '\\(menuentry\\|submenu\\) ' /boot/grub/grub.cfg", "2"),
        ])
    }

    fn only_the_old_deployment_is_there(&mut self) -> Result<()> {
        self.holds(&[
            ("ostree admin status | grep -c '^[* ] gpu-node '", "1"),
            ("cat /boot/loader/entries/* | grep -c ^title", "1"),
        ])
    }
}

/// Builds the node, boots it, and offers it the next version without a signature.
fn installed() -> Result<Node> {
    let began = Instant::now();
    let factory = Factory::new()?;
    let from = factory.build("0.1.0", "", &factory.trusted, &factory.trusted, "node")?;
    factory.sign("node", Some(&factory.trusted), None)?;
    let more = factory.other_initramfs(&from)? + CHANGES;
    let to = factory.build("0.2.0", &more, &factory.trusted, &factory.trusted, "next")?;
    factory.push("next", "unsigned")?;
    let (disk, cache) = factory.disk();
    let disk = Disk { size: Some(4 << 30), ..Disk::new(&disk) };
    let machine = Machine::new(disk, choose_accel(&cache)?).channel().limit(Some(LIMIT));
    let vm = machine.credential("tmpfiles.extra", factory.tmpfiles.as_str()).start()?;
    Ok(Node { vm, factory, from, to, digest: String::new(), began })
}

#[test]
fn vm_a_node_is_updated_from_a_registry_and_goes_back() -> Result<()> {
    let mut node = installed()?;
    node.vm.ready(BOOT)?;
    node.must("echo mine >/etc/motd && rm /etc/issue.net && echo mine >/var/mine && sync")?;
    node.booted_old("the image has another commit than its manifest")?;
    it_says_who_signed(&mut node)?;
    images_that_nobody_trusted_signed_are_refused(&mut node)?;
    the_power_goes_while_it_pulls(&mut node)?;
    commits_that_nobody_trusted_signed_are_refused(&mut node)?;
    the_power_goes_before_the_menu_is_switched(&mut node)?;
    the_power_goes_after_the_menu_is_switched(&mut node)?;

    node.vm.reboot(BOOT)?;
    it_is_the_new_version(&mut node)?;
    node.must("ostree admin set-default 1")?;
    node.menu_has_one_entry_for_each_of_two_deployments()?;
    node.vm.reboot(BOOT)?;
    node.booted_old("after set-default the old commit must be booted")?;
    node.holds(&[("ostree fsck --repo=/ostree/repo >/dev/null 2>&1 && echo clean", "clean")])
}

/// What the node runs, by its own libostree, remote and keys.
fn it_says_who_signed(node: &mut Node) -> Result<()> {
    let shown = node.must(&format!("ostree show --repo=/ostree/repo --gpg-verify-remote=basalt {}", node.from))?;
    ensure!(shown.contains("Good signature from \"trusted <trusted@example.org>\""), "{shown}");
    let origin = format!("container-image-reference={}", node.reference("stable"));
    node.holds(&[(&format!("grep -h ^container /ostree/deploy/gpu-node/deploy/{}.0.origin", node.from), &origin)])
}

/// By policy.json, before a layer is fetched. A signature is of a manifest, whatever its tag: the next version is unsigned only at first.
fn images_that_nobody_trusted_signed_are_refused(node: &mut Node) -> Result<()> {
    node.refuses("unsigned", &["A signature was required, but no signature exists"])?;
    let factory = &node.factory;
    factory.sign("next", None, Some(&factory.trusted))?;
    factory.push("next", "commit-unsigned")?;
    factory.sign("next", Some(&factory.trusted), Some(&factory.trusted))?;
    node.digest = factory.push("next", SIGNED)?;

    factory.build("0.3.0", "", &factory.foreign, &factory.foreign, "foreign")?;
    factory.sign("foreign", Some(&factory.foreign), Some(&factory.foreign))?;
    factory.push("foreign", "foreign")?;
    factory.build("0.4.0", "", &factory.foreign, &factory.trusted, "other")?;
    let other = factory.push("other", "altered")?;
    factory.copy_signature(&node.digest, &other)?;
    node.told("built");
    node.refuses("foreign", &["signature verification failed", "invalid signature"])?;
    node.refuses("altered", &["does not match"])
}

/// Their images are signed by the key that the node trusts: libostree has the last word. Nothing of them is there afterwards.
fn commits_that_nobody_trusted_signed_are_refused(node: &mut Node) -> Result<()> {
    let factory = &node.factory;
    factory.sign("other", Some(&factory.foreign), Some(&factory.trusted))?;
    factory.push("other", "commit-foreign")?;
    node.refuses("commit-unsigned", &["Expected commitmeta object"])?;
    node.refuses("commit-foreign", &["public key not found"])?;
    let listed = format!("docker://{}", node.factory.image(SIGNED));
    node.holds(&[("ostree container image list --repo /ostree/repo", &listed)])
}

/// The node knows the layers that it was installed with. One of those that it lacks is whole and the next is on its way: nothing of it
/// is an image, and the next pull goes on from there.
fn the_power_goes_while_it_pulls(node: &mut Node) -> Result<()> {
    let held: usize = node.must(&format!("{LAYERS} | wc -l"))?.parse()?;
    ensure!(held > 20, "the node was installed with {held} layers");
    let script = format!(
        "{} >/run/pull 2>&1 &\n\
         until [ $({LAYERS} 2>/dev/null | wc -l) -gt {held} ]; do kill -0 $! || {{ cat /run/pull >&2; exit 1; }}; sleep 0.1; done\n\
         kill -STOP $!; sync",
        node.pull(SIGNED)
    );
    node.vm.must(&script, PULL)?;
    node.told("cut");
    node.vm.power_cut();
    node.vm.start_again()?;
    node.booted_old("after a power cut while it pulls")?;
    node.only_the_old_deployment_is_there()?;
    node.holds(&[("ostree container image list --repo /ostree/repo", "")])?;
    let listed = node.must(LAYERS)?;
    let whole: BTreeSet<_> = listed.lines().map(|name| name.rsplit('/').next().unwrap_or(name).to_owned()).collect();
    ensure!(whole.len() > held, "{} layers after the power cut, {held} before", whole.len());
    let there = node.factory.layers("next")?.intersection(&whole).count();
    let said = node.vm.must(&node.pull(SIGNED), PULL)?;
    node.told(&format!("pulled: {}", said.trim()));
    ensure!(
        there > 20 && said.contains(&format!("layers already present: {there};")),
        "needed {there} to be there already:\n{said}"
    );
    let listed = format!("docker://{}", node.factory.image(SIGNED));
    node.holds(&[("ostree container image list --repo /ostree/repo", &listed)])
}

/// The staged deployment waits, then its kernel is copied: the new folder is made before the kernel and its initramfs are in it.
fn the_power_goes_before_the_menu_is_switched(node: &mut Node) -> Result<()> {
    node.stage()?;
    node.cut_while_it_deploys("set -- /boot/ostree/*; [ $# = 2 ]", "kill -STOP $!")?;
    node.booted_old("after a power cut before the menu is switched")?;
    node.only_the_old_deployment_is_there()
}

/// The menu offers both; the second entry is the old version.
fn the_power_goes_after_the_menu_is_switched(node: &mut Node) -> Result<()> {
    node.stage()?;
    node.cut_while_it_deploys("[ ! /boot/loader -ef /boot/$old ]", "sync")?;
    let shown = node.vm.expect(SECOND_TITLE, BOOT)?;
    node.vm.console()?.send(&format!("{KEY_NEXT}\r"))?;
    ensure!(!shown.contains("error:"), "GRUB has something to complain about:\n{shown}");
    node.booted_old("the menu's second entry")?;
    node.menu_has_one_entry_for_each_of_two_deployments()?;
    node.holds(&[
        ("ls /etc/issue.d/next.issue 2>/dev/null || echo none", "none"),
        (
            // In KiB: what one kernel takes is still free.
            "used=$(du -sk /boot/ostree/* | sort -n | sed -n '$s/\\t.*//p'); free=$(df -k --output=avail /boot | tail -n 1)\n\
             [ $free -gt $used ] && echo room || echo needed $used, found $free",
            "room",
        ),
    ])
}

/// What is booted has the tree that was built, and says which image it is and where the next comes from.
fn it_is_the_new_version(node: &mut Node) -> Result<()> {
    let booted = node.booted()?;
    let (to, digest) = (&node.to, &node.digest);
    ensure!(booted != node.from, "after a reboot the new version must be booted");
    let (diff, key) = (format!("ostree diff --repo=/ostree/repo {to} {booted}"), "--print-metadata-key=ostree.manifest-digest");
    let (manifest, origin) = (
        format!("'{digest}'"),
        format!("container-image-reference=ostree-remote-image:basalt:docker://{}", node.factory.image(SIGNED)),
    );
    node.holds(&[
        (&diff, ""),
        (&format!("ostree show --repo=/ostree/repo {key} {booted}"), &manifest),
        (&format!("grep -h ^container /ostree/deploy/gpu-node/deploy/{booted}.*.origin"), &origin),
        ("cat /etc/issue /etc/issue.d/next.issue /usr/etc/motd", "next\nnext\nnext"),
        ("sed -n 's/^IMAGE_VERSION=//p' /etc/os-release", "\"0.2.0\""),
    ])
}
