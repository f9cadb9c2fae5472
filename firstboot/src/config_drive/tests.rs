//! Drives as a whole: which one counts, what is told of the rest, and that nothing is half.

use std::io;

use basalt_contract::placed::Sources;

use super::{ConfigDrive, FOLDER, read};
use crate::backend::{Doing, FileError, Files};

const OPENSTACK: &str = "openstack/openstack/latest";
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8sXfZ6mD2bQ7nW0pTq5rKc3vYh1uLg9eXa4oMs7dBk me@here";

/// A folder of files, by their paths below [`FOLDER`].
struct Folder(Vec<(String, Vec<u8>)>);

fn error<T>(path: &str, doing: Doing) -> Result<T, FileError> {
    Err(FileError { path: path.to_owned(), doing, cause: io::ErrorKind::NotFound.into() })
}

impl Files for Folder {
    fn read(&self, path: &str) -> Result<Vec<u8>, FileError> {
        let found = self.0.iter().find(|(known, _)| format!("{FOLDER}/{known}") == path);
        found.map_or_else(|| error(path, Doing::Read), |(_, bytes)| Ok(bytes.clone()))
    }

    fn read_link(&self, path: &str) -> Result<String, FileError> {
        error(path, Doing::ReadLink)
    }

    fn list(&self, path: &str) -> Result<Vec<String>, FileError> {
        let below = format!("{path}/");
        let paths = self.0.iter().map(|(known, _)| format!("{FOLDER}/{known}"));
        let mut names: Vec<_> =
            paths.filter_map(|known| known.strip_prefix(&below)?.split('/').next().map(str::to_owned)).collect();
        names.dedup();
        if names.is_empty() { error(path, Doing::List) } else { Ok(names) }
    }

    fn remove(&self, path: &str) -> Result<(), FileError> {
        error(path, Doing::Remove)
    }

    fn replace(&self, path: &str, _: &[u8]) -> Result<(), FileError> {
        error(path, Doing::Write)
    }
}

fn drive(files: &[(&str, &str)]) -> ConfigDrive {
    read(&Folder(files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()), FOLDER)
}

/// The drive with one file of NoCloud's.
fn nocloud(name: &str, text: &str) -> ConfigDrive {
    drive(&[(&format!("nocloud/{name}"), text)])
}

fn faults(drive: &ConfigDrive) -> Vec<&str> {
    drive.faults.iter().map(|fault| fault.what.strip_prefix(FOLDER).unwrap_or(&fault.what)).collect()
}

#[test]
fn no_drive_says_nothing() {
    assert_eq!(drive(&[]), ConfigDrive::default());
    assert_eq!(nocloud("meta-data", ""), ConfigDrive::default());
}

#[test]
fn two_drives_are_none() {
    let both = drive(&[("nocloud/meta-data", "hostname: a"), (&format!("{OPENSTACK}/meta_data.json"), "{\"hostname\": \"b\"}")]);
    assert_eq!((&both.host_name, both.faults.len()), (&None, 1));
    assert!(faults(&both)[0].starts_with("needed one config drive, found two"), "{both:?}");
}

#[test]
fn each_value_has_its_place_and_user_data_count_more() {
    let meta =
        format!("{{\n  \"hostname\": \"a\",\n  \"public_keys\": {{\"me\": \"{KEY}\"}},\n  \"admin_pass\": \"hunter2\"\n}}");
    let user =
        format!("#cloud-config\nfqdn: b.example.org\nssh_authorized_keys:\n  - {KEY}\npassword: hunter2\nchpasswd: {{}}\n");
    let files = [(format!("{OPENSTACK}/meta_data.json"), meta), (format!("{OPENSTACK}/user_data"), user)];
    let one = drive(&[(&files[0].0, &files[0].1), (&format!("{OPENSTACK}/vendor_data.json"), "{}")]);
    let name = one.host_name.clone().unwrap();
    assert_eq!((name.value.as_str(), name.position.to_string()), ("a", format!("{FOLDER}/{}:2:15", files[0].0)));
    assert_eq!(
        one.notes,
        [
            format!("{FOLDER}/{}: not honoured: admin_pass", files[0].0),
            format!("{FOLDER}/{OPENSTACK}: not honoured: vendor_data.json"),
        ]
    );
    let both = drive(&[(&files[0].0, &files[0].1), (&files[1].0, &files[1].1)]);
    let name = both.host_name.clone().unwrap();
    assert_eq!((name.value.as_str(), both.ssh_keys.len(), both.ssh_keys[0].value.as_str()), ("b.example.org", 1, KEY));
    assert_eq!(both.notes[1], format!("{FOLDER}/{}: not honoured: password, chpasswd", files[1].0));
    assert!(!format!("{both:?}").contains("hunter2"));
    // Among wishes it has the same place.
    let mut sources = Sources::default();
    sources.add("other.toml", "a = 1\n");
    let (shown, placed) = (name.position.to_string(), name.placed(&mut sources));
    assert_eq!((sources.position(placed.place).to_string(), placed.value.as_str()), (shown, "b.example.org"));
}

#[test]
fn a_mistake_in_the_network_leaves_none_of_it_and_all_else() {
    let good = "{version: 2, ethernets: {eno1: {dhcp4: true}, eno2: {addresses: [192.0.2.7/24]}}}";
    assert_eq!(nocloud("network-config", good).network.len(), 2);
    let bad = good.replace("192.0.2.7/24", "192.0.2.256/24");
    let drive = drive(&[("nocloud/network-config", &bad), ("nocloud/meta-data", "local-hostname: a")]);
    assert_eq!((drive.network.len(), drive.host_name.is_some()), (0, true));
    assert_eq!(
        faults(&drive),
        ["/nocloud/network-config:1:66: ethernets.eno2.addresses[0]: needed an address of a host with its prefix, like \
          192.0.2.10/24, found \"192.0.2.256/24\""]
    );
}

#[test]
fn every_mistake_in_a_network_is_told_with_its_place() {
    let v2 = |inner: &str| format!("version: 2\n{inner}");
    let v1 = |inner: &str| format!("version: 1\nconfig:\n- {inner}");
    let mut wrong = Vec::new();
    let physical = "{type: physical, name: a, mac_address: '52:54:00:12:34:56'}";
    for (text, fault) in [
        ("version: 3\n".to_owned(), ":1:10: version: needed 1 or 2, found \"3\""),
        ("ethernets: {}\n".to_owned(), ":1:1: version: needed 1 or 2, found none"),
        (v2("ethernets: [a]"), ":2:12: ethernets: needed a table, found a list"),
        (v2("ethernets: {a: {match: {macaddress: '52:54'}}}"), ":2:37: ethernets.a.match.macaddress: needed a hardware"),
        (v2("ethernets: {a: {match: {}}}"), ":2:24: ethernets.a.match: needed macaddress, name or driver, found none"),
        (v2("ethernets: {a: {match: {name: a, path: x}}}"), ":2:40: ethernets.a.match.path: needed only what is honoured"),
        (v2("ethernets: {a: {set-name: a/b}}"), ":2:27: ethernets.a.set-name: needed an interface's name"),
        (v2("ethernets: {a: {mtu: 20}}"), ":2:22: ethernets.a.mtu: needed an MTU from 68 to 65536, found \"20\""),
        (v2("ethernets: {a: {dhcp4: maybe}}"), ":2:24: ethernets.a.dhcp4: needed true or false, found \"maybe\""),
        (v2("ethernets: {a: {addresses: [192.0.2.0/24]}}"), ":2:29: ethernets.a.addresses[0]: needed an address of a host"),
        (v2("ethernets: {a: {gateway4: '2001:db8::1'}}"), ":2:27: ethernets.a.gateway4: needed an IPv4 address"),
        (v2("ethernets: {a: {routes: [{to: default}]}}"), ":2:31: ethernets.a.routes[0].to: needed \"default\" or"),
        (
            v2("ethernets: {a: {routes: [{to: 10.0.0.0/8, via: 192.0.2.1, type: x}]}}"),
            ":2:65: ethernets.a.routes[0].type: needed only",
        ),
        (
            v2("bonds: {b: {interfaces: [x]}}"),
            ":2:26: bonds.b.interfaces[0]: needed a link that this file describes, found \"x\"",
        ),
        (v2("vlans: {v: {id: 4095, link: v}}"), ":2:17: vlans.v.id: needed the number of a VLAN, from 1 to 4094"),
        (v2("vlans: {v: {id: 7}}"), ":2:12: vlans.v.link: needed one, found none"),
        (v2("vlans: {v: {id: 7, link: v}}"), ":2:12: vlans.v: needed a link that is no part of itself"),
        (
            v2("ethernets: {a: {mtu: 1500}}\nvlans: {v: {id: 7, link: a, mtu: 9000}}"),
            ":3:12: vlans.v: needed an MTU of at most 1500",
        ),
        (
            v2("ethernets: {a: {}}\nbonds: {b: {interfaces: [a], parameters: {primary: c}}}"),
            ":3:52: bonds.b.parameters.primary: needed a port of",
        ),
        (
            v2("ethernets: {a: {}}\nbonds: {b: {interfaces: [a]}, c: {interfaces: [a]}}"),
            ":3:48: bonds.c.interfaces[0]: needed a link that is no",
        ),
        (v2("ethernets: {a: {}}\nbonds: {a: {}}"), ":3:12: bonds.a: needed a name of its own, found \"a\""),
        (v1("{type: physical}"), ":3:3: config[0].name: needed one, found none"),
        (
            v1(&format!("{physical}\n- {}", physical.replace("name: a", "name: b"))),
            ":4:3: config[1]: needed an interface that no other",
        ),
        (
            v1("{type: physical, name: a, subnets: [{type: static, address: 192.0.2.7}]}"),
            ":3:63: config[0].subnets[0].address: needed",
        ),
        (v1("{type: physical, name: a, subnets: [{type: dynamic}]}"), ":3:46: config[0].subnets[0].type: needed dhcp"),
        (v1("{type: route, destination: 10.0.0.0/8, gateway: 192.0.2.1}"), ":3:3: config[0]: needed a link with an address that"),
        (v1("{type: nameserver, address: 192.0.2.1, interface: a}"), ":3:53: config[0].interface: needed a link that this"),
    ] {
        let drive = nocloud("network-config", &text);
        let faults = faults(&drive);
        let told = faults.len() == 1 && faults[0].starts_with(&format!("/nocloud/network-config{fault}"));
        if !told || !drive.network.is_empty() {
            wrong.push(format!("{text}\n  needed {fault}\n  found {faults:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn openstack_mistakes_are_told_too() {
    let mut wrong = Vec::new();
    let link = r#"{"id": "a", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56"}"#;
    for (links, networks, fault) in [
        (r#"{"id": "a", "type": "phy"}"#, "", ":1:12: links[0].ethernet_mac_address: needed one, found none"),
        (link.replace("56", "5x").as_str(), "", ":1:63: links[0].ethernet_mac_address: needed a hardware address"),
        (r#"{"id": "b", "type": "bond", "bond_links": [], "bond_mode": "fast"}"#, "", ":1:71: links[0].bond_mode: needed one of"),
        (r#"{"id": "v", "type": "vlan", "vlan_id": 5000, "vlan_link": "a"}"#, "", ":1:51: links[0].vlan_id: needed the number"),
        (link, r#"{"link": "x", "type": "ipv4_dhcp"}"#, ":1:108: networks[0].link: needed a link that"),
        (link, r#"{"link": "a", "type": "ipv5"}"#, ":1:121: networks[0].type: needed ipv4,"),
        (
            link,
            r#"{"link": "a", "type": "ipv4", "ip_address": "192.0.2.7", "netmask": "255.0.255.0"}"#,
            ":1:143: networks[0].ip_address: needed",
        ),
        (
            link,
            r#"{"link": "a", "type": "ipv4", "ip_address": "2001:db8::7/64"}"#,
            ":1:143: networks[0].ip_address: needed an IPv4",
        ),
        (
            link,
            r#"{"link": "a", "type": "ipv4_dhcp", "routes": [{"network": "10.0.0.0", "netmask": "255.0.0.0"}]}"#,
            ":1:145: networks[0].routes[0].gateway",
        ),
    ] {
        let text = format!("{{\"links\": [{links}], \"networks\": [{networks}], \"services\": []}}");
        let drive = drive(&[(&format!("{OPENSTACK}/network_data.json"), &text)]);
        let faults = faults(&drive);
        let told = faults.len() == 1 && faults[0].starts_with(&format!("/{OPENSTACK}/network_data.json{fault}"));
        if !told || !drive.network.is_empty() {
            wrong.push(format!("{text}\n  needed {fault}\n  found {faults:?}\n"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.concat());
}

#[test]
fn what_is_not_honoured_is_told_by_its_name() {
    let text = "network:\n  version: 2\n  renderer: NetworkManager\n  wifis: {w: {password: hunter2}}\n  ethernets:\n    a: {wakeonlan: true, \
                routing-policy: [{from: 10.0.0.1}]}\n";
    let drive = nocloud("network-config", text);
    let left = "network.ethernets.a.wakeonlan, network.ethernets.a.routing-policy, network.wifis";
    assert_eq!(
        (drive.notes.clone(), drive.faults.len(), drive.network.len()),
        (vec![format!("{FOLDER}/nocloud/network-config: not honoured: network.renderer (\"NetworkManager\"), {left}")], 0, 1)
    );
    let script = nocloud("user-data", "#!/bin/sh\necho hunter2\n");
    assert_eq!(script.notes, [format!("{FOLDER}/nocloud/user-data: not honoured: a script")]);
    let disabled = nocloud("network-config", "network: {config: disabled}\n");
    assert_eq!(
        disabled.notes,
        [format!("{FOLDER}/nocloud/network-config:1:19: network.config: the drive leaves the network as it is")]
    );
}
