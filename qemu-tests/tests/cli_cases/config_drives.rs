//! Config drives that others make, unpacked and read by the agent's reader.

use anyhow::Result;
use basalt_firstboot::backend::real::Root;
use basalt_firstboot::config_drive::{ConfigDrive, FOLDER, read};
use qemu_tests::{OpenStack, Scratch, label, nocloud_drive, unpack};
use serde_json::json;

const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ8sXfZ6mD2bQ7nW0pTq5rKc3vYh1uLg9eXa4oMs7dBk case";

/// What the drive says when it is mounted where the agent looks.
fn said(scratch: &Scratch, drive: &std::path::Path, place: &str) -> Result<ConfigDrive> {
    let root = scratch.folder("root")?;
    unpack(drive, &root.join(FOLDER.trim_start_matches('/')).join(place))?;
    Ok(read(&Root::open(&root)?, FOLDER))
}

#[test]
fn cli_a_drive_made_by_openstacks_library_is_read() -> Result<()> {
    let scratch = Scratch::new()?;
    let drive = OpenStack {
        meta_data: json!({ "uuid": "6c1f0a55", "hostname": "case.example.org", "public_keys": { "0": KEY } }),
        network_data: json!({
            "links": [{ "id": "port0", "type": "phy", "ethernet_mac_address": "52:54:00:12:34:56", "mtu": 1442 }],
            "networks": [{
                "id": "net0", "link": "port0", "type": "ipv4", "ip_address": "192.0.2.7", "netmask": "255.255.255.0",
                "routes": [{ "network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1" }],
            }],
            "services": [{ "type": "dns", "address": "192.0.2.53" }],
        }),
        user_data: "#cloud-config\npassword: hunter2\n".to_owned(),
    };
    let drive = drive.drive(&scratch, "config-2.iso")?;
    assert_eq!(label(&drive)?, "config-2");
    let said = said(&scratch, &drive, "openstack")?;
    assert_eq!(said.faults, []);
    assert_eq!(said.host_name.map(|name| name.value).as_deref(), Some("case.example.org"));
    assert_eq!(said.ssh_keys.iter().map(|key| key.value.as_str()).collect::<Vec<_>>(), [KEY]);
    let [network] = &said.network[..] else { panic!("{:?}", said.network) };
    for line in
        ["PermanentMACAddress=52:54:00:12:34:56", "MTUBytes=1442", "Address=192.0.2.7/24", "Gateway=192.0.2.1", "DNS=192.0.2.53"]
    {
        assert!(network.text.lines().any(|found| found == line), "{line}: {}", network.text);
    }
    let latest = format!("{FOLDER}/openstack/openstack/latest");
    assert_eq!(
        said.notes,
        [format!("{latest}/meta_data.json: not honoured: uuid"), format!("{latest}/user_data: not honoured: password")]
    );
    Ok(())
}

#[test]
fn cli_a_drive_of_nocloud_is_read() -> Result<()> {
    let scratch = Scratch::new()?;
    let user_data = format!("#cloud-config\nssh_authorized_keys:\n- {KEY}\n");
    let files = [
        ("meta-data", "instance-id: iid-case\nlocal-hostname: case\n"),
        ("user-data", user_data.as_str()),
        ("network-config", "version: 2\nethernets:\n  eno1:\n    dhcp4: true\n"),
    ];
    let drive = nocloud_drive(&scratch, "cidata.img", &files)?;
    assert_eq!(label(&drive)?, "cidata");
    let said = said(&scratch, &drive, "nocloud")?;
    assert_eq!((said.faults, said.notes), (vec![], vec![]));
    assert_eq!(said.host_name.map(|name| name.value).as_deref(), Some("case"));
    assert_eq!((said.ssh_keys.len(), said.network.len()), (1, 1));
    assert!(said.network[0].text.contains("[Match]\nName=eno1\n"), "{}", said.network[0].text);
    Ok(())
}
