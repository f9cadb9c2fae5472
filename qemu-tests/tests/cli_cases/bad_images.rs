//! Bad container images as bases: message and exit code of each, and that nothing stays of the attempt.

use std::fs::{self, File};
use std::path::Path;

use anyhow::Result;
use basalt::failure::Kind;
use qemu_tests::draft::{self, Draft, KERNEL, Member, archive, gzip, record, system};
use qemu_tests::{Basalt, Scratch, assert_whole};
use serde_json::{Value, json};

const INVALID: i32 = Kind::Invalid.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;

/// A base from `image/` beside it, and nothing else.
pub const RECIPE: &str = "name = \"case\"\nversion = \"1\"\n[base]\nkind = \"oci\"\nfrom = \"oci:image\"\nminimal = true\n";

/// What is wrong with the answer to each image; all of it is told at the end.
#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    /// Builds with the image in `scratch`, which must fail with `code` and all of `words`, and leave nothing but blobs.
    fn unless_refused(&mut self, what: &str, scratch: &Scratch, code: i32, words: &[&str]) -> Result<()> {
        let (cache, out) = (scratch.path().join("cache"), scratch.path().join("out"));
        scratch.write("case.toml", RECIPE)?;
        let ran = Basalt::new(["build", "case.toml", "--out", "out"]).folder(scratch.path()).cache(&cache).run(scratch)?;
        let missing: Vec<_> = words.iter().filter(|words| !ran.stderr.contains(**words)).collect();
        let made = fs::read_dir(&out).map_or(0, Iterator::count);
        if ran.code != code || !missing.is_empty() || made > 0 || ran.stderr.contains("panicked") {
            self.0
                .push(format!("{what}: exit code {}, needed {code}; without {missing:?}; made {made}\n{}", ran.code, ran.stderr));
        }
        Ok(())
    }

    /// Fails when anything was wrong.
    fn end(self) -> Result<()> {
        anyhow::ensure!(self.0.is_empty(), "{}", self.0.join("\n"));
        Ok(())
    }
}

/// A system under a layer of these members.
fn over(members: &[Member]) -> Draft {
    Draft::new(&[&archive(&system()), &archive(members)])
}

/// Each of these layers over a system; the message names the layer and the member.
#[test]
fn cli_a_layer_with_a_member_that_no_image_can_have_is_refused() -> Result<()> {
    let file = |name: &str| Member::file(name, "x");
    let named = |name: &'static [u8]| Member::raw(|header| header.as_old_mut().name[..name.len()].copy_from_slice(name), &[]);
    let kind = |name: &str, kind: u8| {
        let name = name.as_bytes().to_vec();
        let change = move |header: &mut tar::Header| {
            header.as_old_mut().name = [0; 100];
            header.as_old_mut().name[..name.len()].copy_from_slice(&name);
            header.as_old_mut().linkflag = [kind];
        };
        Member::raw(change, &[])
    };
    let pax = |key: &str, value: &[u8]| Member::pax(&record(key, value), &file("etc/x"));
    let rows: Vec<(&str, Member, &[&str])> = vec![
        ("climbs", file("etc/../../x"), &["member \"etc/../../x\"", "\"..\""]),
        ("climbs by pax", pax("path", b"../x"), &["member \"../x\"", "\"..\""]),
        ("absolute", file("/etc/x"), &["member \"/etc/x\"", "absolute"]),
        ("not UTF-8", named(b"etc/\xff\0"), &["member \"etc/\u{fffd}\"", "the name is not UTF-8"]),
        ("not UTF-8 by pax", pax("path", b"etc/\xff"), &["member \"etc/\u{fffd}\"", "the name is not UTF-8"]),
        (
            "a link not UTF-8",
            Member::pax(&record("linkpath", b"\xff"), &Member::link("etc/x", "y")),
            &["the target is not UTF-8"],
        ),
        ("an empty name", named(&[0; 8]), &["member \"\""]),
        ("a name too long", pax("path", &[b'a'; 300]), &["member \"aaa"]),
        ("a path too long", pax("path", &b"a/".repeat(3000)), &["member \"a/a/"]),
        ("a hard link to nothing", Member::hard("etc/x", "etc/none"), &["member \"etc/x\"", "a hard link to \"etc/none\""]),
        (
            "a hard link out",
            Member::hard("etc/x", "../../etc/passwd"),
            &["member \"etc/x\"", "a hard link to \"../../etc/passwd\""],
        ),
        ("a hard link to a folder", Member::hard("etc/x", "usr/lib"), &["member \"etc/x\"", "a hard link to \"usr/lib\""]),
        ("through a link", file("lib/x"), &["/lib/x\"", "leads through /lib"]),
        ("a whiteout through a link", file("lib/.wh.systemd"), &["leads through /lib"]),
        ("through a file", file("etc/passwd/x"), &["/etc/passwd/x\"", "leads through /etc/passwd"]),
        ("a whiteout of nothing", file("etc/.wh."), &["member \"etc/.wh.\"", "a whiteout of nothing"]),
        ("a whiteout of the folder itself", file("etc/.wh.."), &["member \"etc/.wh..\""]),
        ("a whiteout of the folder above", file("etc/.wh..."), &["member \"etc/.wh...\""]),
        ("a character device", kind("etc/null", b'3'), &["member \"etc/null\"", "character device"]),
        ("a block device", kind("usr/disk", b'4'), &["member \"usr/disk\"", "block device"]),
        ("a pipe", kind("usr/pipe", b'6'), &["member \"usr/pipe\"", "named pipe"]),
        ("a sparse file", kind("etc/sparse", b'S'), &["member \"etc/sparse\"", "sparse"]),
        ("a sparse file by pax", pax("GNU.sparse.major", b"1"), &["member \"etc/x\"", "sparse"]),
        ("an unknown kind", kind("etc/x", b'V'), &["member \"etc/x\"", "'V'"]),
        ("a pax record of a wrong length", Member::pax(b"99 path=x\n", &file("etc/x")), &["member \"etc/x\"", "extended header"]),
        ("a pax record without a length", Member::pax(b"path=x\n", &file("etc/x")), &["member \"etc/x\"", "extended header"]),
        ("a pax size that is none", pax("size", b"-1"), &["member \"etc/x\"", "size"]),
        ("an owner over 32 bits", pax("uid", b"4294967296"), &["member \"etc/x\"", "its owner is over 4294967295"]),
        ("an access list", pax("SCHILY.acl.access", b"user::rwx"), &["member \"etc/x\"", "access control list"]),
    ];
    let mut wrong = Wrong::default();
    for (what, member, words) in rows {
        let scratch = Scratch::new()?;
        over(&[member]).write(&scratch.path().join("image"))?;
        wrong.unless_refused(what, &scratch, INVALID, &[&["oci:image: layer 2 of 2 (", "next: "][..], words].concat())?;
        assert_whole(&scratch.path().join("cache"), &["blobs"]);
    }
    wrong.end()
}

/// Headers that no program writes.
#[test]
fn cli_a_layer_with_a_damaged_header_is_refused() -> Result<()> {
    let pax = |key: &str, value: &[u8]| Member::pax(&record(key, value), &Member::file("etc/x", "x"));
    let rows: Vec<(&str, Member, &[&str])> = vec![
        ("a pax size of 16 EiB", pax("size", b"18446744073709551615"), &["cut off"]),
        ("a size of 8 EiB", Member::raw(|header| header.set_size(1 << 62), &[]), &["cut off"]),
        ("a size below zero", Member::raw(|header| header.as_old_mut().size = [0xff; 12], &[]), &["cut off"]),
        ("a size that is text", Member::raw(|header| header.as_old_mut().size = *b"twelve bytes", &[]), &["header at byte "]),
        ("a wrong checksum", Member::Raw([&[b'x'; 512][..]].concat()), &["header at byte "]),
        (
            "an extended header of 1 GiB",
            Member::raw(
                |header| {
                    header.set_entry_type(tar::EntryType::XHeader);
                    header.set_size(1 << 30);
                },
                &[],
            ),
            &["an extended header of 1073741824 bytes"],
        ),
    ];
    let mut wrong = Wrong::default();
    for (what, member, words) in rows {
        let scratch = Scratch::new()?;
        over(&[member]).write(&scratch.path().join("image"))?;
        wrong.unless_refused(what, &scratch, INPUT, &[&["oci:image: layer 2 of 2 (", "next: "][..], words].concat())?;
        assert_whole(&scratch.path().join("cache"), &["blobs"]);
    }
    wrong.end()
}

/// Bytes that are not those of their digests, or no layer at all.
#[test]
fn cli_a_layer_that_is_altered_cut_off_or_a_bomb_is_refused() -> Result<()> {
    type Row<'a> = (&'a str, Draft, &'a dyn Fn(&Path) -> Result<()>, i32, &'a [&'a str]);
    let system = archive(&system());
    let good = || Draft::new(&[&system]);
    let one = || Draft::new(&[]);
    let blob = |image: &Path| -> Result<std::path::PathBuf> {
        let index: Value = serde_json::from_slice(&fs::read(image.join("index.json"))?)?;
        let at = |digest: &Value| image.join("blobs/sha256").join(digest.as_str().unwrap_or_default().replace("sha256:", ""));
        let manifest: Value = serde_json::from_slice(&fs::read(at(&index["manifests"][0]["digest"]))?)?;
        Ok(at(&manifest["layers"][0]["digest"]))
    };
    let altered = |image: &Path| -> Result<()> {
        let mut bytes = fs::read(blob(image)?)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Ok(fs::write(blob(image)?, bytes)?)
    };
    let cut = |image: &Path| -> Result<()> {
        let file = File::options().write(true).open(blob(image)?)?;
        Ok(file.set_len(file.metadata()?.len() / 2)?)
    };
    let longer = |image: &Path| -> Result<()> {
        let bytes = fs::read(blob(image)?)?;
        Ok(fs::write(blob(image)?, [&bytes[..], b"more"].concat())?)
    };
    let gone = |image: &Path| -> Result<()> { Ok(fs::remove_file(blob(image)?)?) };
    let nothing = |_: &Path| -> Result<()> { Ok(()) };
    // Its second kilobyte says nothing about its third: what is cut there is noticed only by the end of the stream.
    let half = gzip(&system)[..gzip(&system).len() / 2].to_vec();
    // A gzip stream may have several members: this one of a megabyte is there many times.
    let zeros = gzip(&vec![0; 1 << 20]);
    let bomb = zeros.repeat(200);
    let rows: [Row<'_>; 10] = [
        ("altered", good(), &altered, INPUT, &["oci:image", "needed ", "found sha256 "]),
        ("cut", good(), &cut, INPUT, &["oci:image", "needed ", "found "]),
        ("longer", good(), &longer, INPUT, &["oci:image", "needed ", "found more bytes"]),
        ("gone", good(), &gone, INPUT, &["image: blobs/sha256/", "cannot be read: No such file"]),
        (
            "other bytes than the configuration says",
            one().stored(draft::GZIP, gzip(&system), b"other"),
            &nothing,
            INPUT,
            &["layer 1", "needed ", "unpacked", "found "],
        ),
        ("half a gzip stream", one().stored(draft::GZIP, half, &system), &nothing, INPUT, &["layer 1"]),
        (
            "no tar",
            one().stored(draft::PLAIN, vec![b'x'; 2000], &[b'x'; 2000]),
            &nothing,
            INPUT,
            &["layer 1", "header at byte 0"],
        ),
        ("half a tar", Draft::new(&[&system[..system.len() / 2 + 100]]), &nothing, INPUT, &["layer 1", "cut off"]),
        ("a gzip bomb", one().stored(draft::GZIP, bomb, &[]), &nothing, INPUT, &["layer 1", "needed at most ", "bytes unpacked"]),
        (
            "a layer by xz",
            one().stored("application/vnd.oci.image.layer.v1.tar+xz", system.clone(), &system),
            &nothing,
            INVALID,
            &["layer 1: needed a tar (plain, gzip or zstd), found application/vnd.oci.image.layer.v1.tar+xz"],
        ),
    ];
    let mut wrong = Wrong::default();
    for (what, draft, change, code, words) in rows {
        let scratch = Scratch::new()?;
        let image = scratch.path().join("image");
        draft.write(&image)?;
        change(&image)?;
        wrong.unless_refused(what, &scratch, code, words)?;
        assert_whole(&scratch.path().join("cache"), &["blobs"]);
    }
    wrong.end()
}

/// Documents that say something else than the image, or nothing.
#[test]
fn cli_an_image_whose_documents_are_wrong_is_refused() -> Result<()> {
    type Change<'a> = &'a dyn Fn(&mut Value);
    let rows: [(&str, &str, Change<'_>, i32, &[&str]); 15] = [
        (
            "a list of nothing",
            "index",
            &|index| index["manifests"] = json!([]),
            INPUT,
            &["needed an image for linux/amd64, found none"],
        ),
        ("an index that is text", "index", &|index| *index = json!("x"), INPUT, &["index.json: "]),
        (
            "a digest that climbs",
            "index",
            &|index| index["manifests"][0]["digest"] = json!("sha256:../../../etc/passwd"),
            INPUT,
            &["needed a digest \"sha256:...\", found \"sha256:../../../etc/passwd\""],
        ),
        (
            "a digest of another kind",
            "manifest",
            &|manifest| manifest["config"]["digest"] = json!("md5:00"),
            INVALID,
            &["needed a digest \"sha256:...\", found \"md5:00\""],
        ),
        (
            "a manifest of another digest",
            "index",
            &|index| index["manifests"][0]["digest"] = json!(format!("sha256:{}", "0".repeat(64))),
            INPUT,
            &["cannot be read"],
        ),
        (
            "a manifest without layers",
            "manifest",
            &|manifest| manifest["layers"] = json!([]),
            INVALID,
            &["needed layers, found none"],
        ),
        (
            "something that is no image of a system",
            "manifest",
            &|manifest| manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"),
            INVALID,
            &["needed the configuration of a container image, found application/vnd.cncf.helm.config.v1+json"],
        ),
        (
            "a size that is less",
            "manifest",
            &|manifest| manifest["layers"][0]["size"] = json!(10),
            INPUT,
            &["needed 10 bytes", "found more bytes"],
        ),
        (
            "a size that is more",
            "manifest",
            &|manifest| manifest["layers"][0]["size"] = json!(u64::MAX),
            INPUT,
            &["needed 18446744073709551615 bytes"],
        ),
        ("a size below zero", "manifest", &|manifest| manifest["layers"][0]["size"] = json!(-1), INPUT, &["blobs/sha256/"]),
        (
            "for another machine",
            "config",
            &|config| config["architecture"] = json!("arm64"),
            INPUT,
            &["needed an image for linux/amd64, found linux/arm64"],
        ),
        (
            "for another system",
            "config",
            &|config| config["os"] = json!("windows"),
            INPUT,
            &["needed an image for linux/amd64, found windows/amd64"],
        ),
        (
            "more layers than the configuration knows",
            "config",
            &|config| config["rootfs"]["diff_ids"] = json!([]),
            INPUT,
            &["needed ", "1", "0"],
        ),
        ("a time that is none", "config", &|config| config["created"] = json!("yesterday"), INVALID, &["created: \"yesterday\""]),
        (
            "two tags",
            "index",
            &|index| {
                let mut other = index["manifests"][0].clone();
                other["annotations"]["org.opencontainers.image.ref.name"] = json!("other");
                index["manifests"].as_array_mut().expect("a list").push(other);
            },
            INPUT,
            &["needed one image for amd64, found 2: latest, other", "add its tag"],
        ),
    ];
    let mut wrong = Wrong::default();
    for (what, of, change, code, words) in rows {
        let scratch = Scratch::new()?;
        let changing = |name: &str, document: &mut Value| {
            if name == of {
                change(document);
            }
        };
        Draft::new(&[&archive(&system())]).write_with(&scratch.path().join("image"), &changing)?;
        wrong.unless_refused(what, &scratch, code, words)?;
    }
    wrong.end()
}

/// A list that has none for our machines, and a folder that is no layout.
#[test]
fn cli_a_folder_without_our_image_is_refused() -> Result<()> {
    let scratch = Scratch::new()?;
    let arm64 = Draft::new(&[&archive(&system())]).on("arm64");
    let riscv64 = arm64.clone().on("riscv64");
    let image = scratch.path().join("image");
    let mut wrong = Wrong::default();
    Draft::write_list(&[arm64, riscv64], &image)?;
    let found = "oci:image: needed an image for linux/amd64, found linux/arm64, linux/riscv64";
    wrong.unless_refused("a list", &scratch, INPUT, &[found, "next: "])?;
    fs::remove_dir_all(&image)?;
    fs::create_dir(&image)?;
    wrong.unless_refused("an empty folder", &scratch, INPUT, &["index.json: cannot be read", "oci-layout"])?;
    fs::remove_dir(&image)?;
    wrong.unless_refused("nothing", &scratch, INVALID, &["case.toml:5:8: ", "\"image\": needed a folder with an OCI layout"])?;
    wrong.end()
}

/// What lies in the image is no system that can boot.
#[test]
fn cli_an_image_that_is_no_system_is_refused() -> Result<()> {
    let vmlinuz = format!("usr/lib/modules/{KERNEL}/vmlinuz");
    let without = |name: &str| {
        let (folder, name) = name.rsplit_once('/').unwrap_or_default();
        Member::file(&format!("{folder}/.wh.{name}"), "")
    };
    let rows: Vec<(&str, Vec<Member>, &[&str])> = vec![
        ("no kernel", vec![without(&vmlinuz)], &["kernel"]),
        (
            "two kernels",
            vec![
                Member::folder("usr/lib/modules/7.0-other/"),
                Member::file("usr/lib/modules/7.0-other/vmlinuz", draft::efi(0x8664)),
            ],
            &["needed one kernel, found 2: ", KERNEL, "7.0-other"],
        ),
        ("no initramfs", vec![without(&format!("usr/lib/modules/{KERNEL}/initramfs.img"))], &["initramfs"]),
        (
            "a kernel for another machine",
            vec![Member::file(&vmlinuz, draft::efi(0xaa64))],
            &["vmlinuz: needed a program for amd64, found EFI machine 0xaa64"],
        ),
        (
            "a kernel that is none",
            vec![Member::file(&vmlinuz, "text")],
            &["vmlinuz: needed a program for amd64, found no EFI program"],
        ),
        ("no systemd", vec![without("usr/lib/systemd/systemd")], &["/usr/lib/systemd/systemd is missing"]),
        ("no os-release", vec![without("usr/lib/os-release")], &["/usr/lib/os-release is missing"]),
        ("no shim", vec![without("usr/lib/shim/shimx64.efi.signed")], &["/usr/lib/shim/shimx64.efi.signed is missing"]),
        (
            "not merged",
            vec![Member::file(".wh.lib", ""), Member::folder("lib64/"), Member::file("lib64/x", "")],
            &["/lib64: needed a link to usr/lib64, found a directory"],
        ),
        ("nothing", vec![Member::file(".wh..wh..opq", "")], &["kernel"]),
    ];
    let mut wrong = Wrong::default();
    for (what, members, words) in rows {
        let scratch = Scratch::new()?;
        over(&members).write(&scratch.path().join("image"))?;
        wrong.unless_refused(what, &scratch, INVALID, &[&["next: "][..], words].concat())?;
    }
    wrong.end()
}
