//! Users, their homes and their keys: sysusers.d(5) and tmpfiles.d(5), with every value escaped for its format.

use std::fmt::Write as _;

use anyhow::Result;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::put_text;
use crate::plan::{Settings, User};
use crate::tree::Tree;

/// The shell of a user of whom the recipe says nothing else.
const SHELL: &str = "/bin/bash";

/// Adds the files that make the users of `settings`. Passwords never stand in an image: systemd-sysusers takes
/// `passwd.hashed-password.NAME` from the node's credentials.
pub(super) fn put(settings: &Settings, tree: &mut Tree) -> Result<()> {
    let mut users = String::new();
    let mut files = String::new();
    for (name, user) in &settings.users {
        add_user(&mut users, name, user);
        add_home(&mut files, name, user);
    }
    if !settings.root_ssh_keys.is_empty() {
        files += "d /root/.ssh 0700 root root -\n";
        add_keys(&mut files, "/root/.ssh", "root", &settings.root_ssh_keys);
    }
    if !users.is_empty() {
        put_text(tree, "/usr/lib/sysusers.d/basalt-recipe.conf", &users)?;
    }
    if !files.is_empty() {
        put_text(tree, "/usr/lib/tmpfiles.d/basalt-recipe.conf", &files)?;
    }
    Ok(())
}

fn add_user(text: &mut String, name: &str, user: &User) {
    let shell = user.shell.as_deref().unwrap_or(SHELL);
    let _ = writeln!(text, "u {name} {} \"{name}\" /var/home/{name} {shell}", user.uid);
    for group in &user.groups {
        let _ = writeln!(text, "m {name} {group}");
    }
}

fn add_home(text: &mut String, name: &str, user: &User) {
    let _ = writeln!(text, "C /var/home/{name} 0700 {name} {name} - /etc/skel");
    let _ = writeln!(text, "z /var/home/{name} 0700 {name} {name} -");
    if !user.ssh_keys.is_empty() {
        let _ = writeln!(text, "d /var/home/{name}/.ssh 0700 {name} {name} -");
        add_keys(text, &format!("/var/home/{name}/.ssh"), name, &user.ssh_keys);
    }
}

/// `f~`: written once, when the file does not exist, from base64.
fn add_keys(text: &mut String, folder: &str, owner: &str, keys: &[String]) {
    let lines: String = keys.iter().map(|key| format!("{}\n", key.trim())).collect();
    let _ = writeln!(text, "f~ {folder}/authorized_keys 0600 {owner} {owner} - {}", STANDARD.encode(lines));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::tree::TreePath;

    #[test]
    fn a_user_gets_a_home_groups_and_keys() {
        let user = User { uid: 1000, groups: vec!["sudo".into()], shell: None, ssh_keys: vec!["ssh-ed25519 AAAA a%b".into()] };
        let settings = Settings { users: BTreeMap::from([("admin".into(), user)]), ..Settings::default() };
        let mut tree = Tree::new();
        put(&settings, &mut tree).unwrap();
        let text = |path: &str| String::from_utf8(tree.file(&TreePath::parse(path).unwrap()).unwrap().bytes().unwrap()).unwrap();
        assert_eq!(
            text("/usr/lib/sysusers.d/basalt-recipe.conf"),
            "u admin 1000 \"admin\" /var/home/admin /bin/bash\nm admin sudo\n"
        );
        assert_eq!(
            text("/usr/lib/tmpfiles.d/basalt-recipe.conf"),
            "C /var/home/admin 0700 admin admin - /etc/skel\n\
             z /var/home/admin 0700 admin admin -\n\
             d /var/home/admin/.ssh 0700 admin admin -\n\
             f~ /var/home/admin/.ssh/authorized_keys 0600 admin admin - c3NoLWVkMjU1MTkgQUFBQSBhJWIK\n"
        );
    }
}
