//! The OCI image: built, inspected, sent to a registry with TLS and a login, and read by skopeo.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use basalt::failure::Kind;
use qemu_tests::{Ran, Registry, Warm, auth_file, free_port};
use serde_json::Value;

const FAILED: i32 = Kind::Failed.exit_code() as i32;
const USAGE: i32 = Kind::Usage.exit_code() as i32;
const INPUT: i32 = Kind::Input.exit_code() as i32;
const VERIFICATION: i32 = Kind::Verification.exit_code() as i32;

const FILE: &str = "\n[[file]]\npath = \"/usr/lib/case/file\"\ntext = \"VERSION\"\nmode = \"0640\"\n";

/// The last line of standard output.
fn result(ran: &Ran) -> Result<Value> {
    Ok(serde_json::from_str(ran.stdout.lines().last().context("no result")?)?)
}

fn skopeo(registry: &Registry, verb: &str, args: &[&str]) -> Result<String> {
    let output = Command::new("skopeo")
        .args(["--insecure-policy", verb])
        .args([
            format!("--{}", if verb == "copy" { "src-cert-dir" } else { "cert-dir" }),
            registry.certificates.display().to_string(),
        ])
        .arg("--authfile")
        .arg(&registry.auth_file)
        .args(args)
        .output()
        .context("skopeo (apt install skopeo)")?;
    ensure!(output.status.success(), "skopeo {verb} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn cli_oci_goes_to_a_registry_and_a_small_change_moves_little() -> Result<()> {
    let warm = Warm::new()?;
    let registry = Registry::start(&warm.scratch)?;
    let recipe = fs::read_to_string(&warm.recipe)?;
    let build = |version: &str, out: &str| -> Result<()> {
        fs::write(&warm.recipe, recipe.clone() + &FILE.replace("VERSION", version))?;
        warm.build(out)?.args(["--format", "oci"]).run(&warm.scratch)?.exits(0);
        Ok(())
    };
    let push = |out: &str, tag: &str| -> Result<Value> {
        let image = format!("{}/hosts/gpu-node{tag}", registry.host);
        let ran = warm
            .basalt(["push", "--json", "--authfile"])
            .arg(&registry.auth_file)
            .arg("--cert-dir")
            .arg(&registry.certificates)
            .arg(warm.scratch.path().join(out))
            .arg(image)
            .run(&warm.scratch)?
            .exits(0);
        result(&ran)
    };
    build("one", "one")?;
    let first = push("one", ":1")?;
    assert_eq!(first["layers-sent"], first["layers"], "{first}");
    assert_eq!(first["bytes-sent"], first["bytes"], "{first}");
    let again = push("one", ":again")?;
    assert_eq!((again["layers-sent"].as_u64(), again["digest"].as_str()), (Some(0), first["digest"].as_str()), "{again}");

    // skopeo has the same image, whole: it reads every blob and compares its digest.
    let inspected: Value =
        serde_json::from_str(&skopeo(&registry, "inspect", &[&format!("docker://{}/hosts/gpu-node:1", registry.host)])?)?;
    assert_eq!(inspected["Digest"], first["digest"]);
    let manifest = warm.manifest("one")?;
    assert_eq!(inspected["Labels"]["ostree.commit"], manifest["commit"]);
    assert_eq!(inspected["Labels"]["org.basalt.plan"], manifest["plan"]);
    let folder = warm.scratch.folder("pulled")?;
    let from = format!("docker://{}/hosts/gpu-node@{}", registry.host, first["digest"].as_str().unwrap_or_default());
    skopeo(&registry, "copy", &[&from, &format!("oci:{}:pulled", folder.display())])?;
    let inspect = |path: &std::path::Path| -> Result<Value> {
        let ran = warm.basalt(["inspect", "--json"]).arg(path).run(&warm.scratch)?.exits(0);
        Ok(serde_json::from_str(&ran.stdout)?)
    };
    let (pulled, ours) = (inspect(&folder)?, inspect(&warm.scratch.path().join("one/gpu-node.oci"))?);
    for key in ["digest", "commit", "plan", "kernel", "layers", "size"] {
        assert_eq!(pulled["images"][0][key], ours["images"][0][key], "{key}");
    }

    build("two", "two")?;
    let update = push("two", "")?;
    println!("one changed file: {} of {} bytes sent", update["bytes-sent"], update["bytes"]);
    // The commit with its folders, the file, and what says which image it is.
    assert_eq!(update["layers-sent"], 3, "{update}");
    let (sent, all) = (update["bytes-sent"].as_u64().context("no bytes")?, update["bytes"].as_u64().context("no bytes")?);
    assert!(sent * 20 < all, "{update}");
    assert!(update["image"].as_str().is_some_and(|image| image.ends_with(":0.1.0")), "the tag is the version: {update}");

    let at = |out: &str| warm.scratch.path().join(out).join("gpu-node.oci");
    let differ = warm.basalt(["diff", "--json"]).arg(at("one")).arg(at("two")).run(&warm.scratch)?.exits(0);
    let differ: Value = serde_json::from_str(&differ.stdout)?;
    let files = differ["files"].as_array().context("no files")?;
    let paths: Vec<_> = files.iter().filter_map(|file| file["path"].as_str()).collect();
    // The plan's identity is in the image.
    assert_eq!(paths, ["/usr/lib/basalt/image.json", "/usr/lib/case/file"], "{differ}");
    Ok(())
}

#[test]
fn cli_oci_that_is_altered_is_named_by_its_layer() -> Result<()> {
    let warm = Warm::new()?;
    warm.build("out")?.args(["--format", "oci"]).run(&warm.scratch)?.exits(0);
    let image = warm.scratch.path().join("out/gpu-node.oci");
    let verify = || warm.basalt(["verify"]).arg(&image).run(&warm.scratch);
    assert_eq!(verify()?.exits(0).stdout, "manifest.json: good\ngpu-node.oci: good\n");
    let out = warm.scratch.path().join("out");
    let sums = Command::new("sha256sum").args(["--check", "--strict", "SHA256SUMS"]).current_dir(out).output()?;
    ensure!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stdout));
    // Built again from the same inputs, compressed layers and all.
    fs::remove_dir_all(warm.cache.join("oci-layer"))?;
    let rebuild = || warm.basalt(["verify", "--offline", "--rebuild"]).arg(&warm.recipe).arg(&image).run(&warm.scratch);
    assert!(rebuild()?.exits(0).stdout.ends_with("gpu-node.oci built again: good\n"));

    let found: Value = serde_json::from_str(&warm.basalt(["inspect", "--json"]).arg(&image).run(&warm.scratch)?.exits(0).stdout)?;
    let layers = found["images"][0]["layers"].as_array().context("no layers")?;
    let kernel = layers.iter().find(|layer| layer["comment"] == "linux-signed-amd64").context("no layer of the kernel")?;
    let digest = kernel["digest"].as_str().and_then(|digest| digest.strip_prefix("sha256:")).context("no digest")?;
    let blob = File::options().read(true).write(true).open(image.join("blobs/sha256").join(digest))?;
    let mut byte = [0];
    blob.read_exact_at(&mut byte, 20 << 20)?;
    blob.write_all_at(&[byte[0] ^ 1], 20 << 20)?;
    let words = format!("layer linux-signed-amd64 (blobs/sha256/{digest}): needed ");
    assert!(verify()?.exits(VERIFICATION).stdout.contains(&words));
    assert!(rebuild()?.exits(VERIFICATION).stdout.contains(&words));
    // The next build mends it.
    warm.build("out")?.args(["--format", "oci"]).run(&warm.scratch)?.exits(0);
    verify()?.exits(0);

    let archive = warm.scratch.path().join("whole.tar");
    let (from, to) = (format!("oci:{}", image.display()), format!("oci-archive:{}", archive.display()));
    let copied = Command::new("skopeo").args(["--insecure-policy", "copy", &from, &to]).output()?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let from_archive: Value =
        serde_json::from_str(&warm.basalt(["inspect", "--json"]).arg(&archive).run(&warm.scratch)?.exits(0).stdout)?;
    assert_eq!(from_archive["format"], "oci-archive");
    assert_eq!(from_archive["images"][0]["layers"], found["images"][0]["layers"]);
    File::options().write(true).open(&archive)?.set_len(15 << 20)?;
    warm.basalt(["inspect"]).arg(&archive).run(&warm.scratch)?.exits(INPUT).says("whole.tar: ").says("next: ");
    Ok(())
}

/// A simulator of registries that fail: it answers every request with one status. It speaks TLS, knows no image, and is no registry.
const FAILING: &str = r#"
import http.server, ssl, sys
class Failing(http.server.BaseHTTPRequestHandler):
    def answer(self):
        self.send_response(int(sys.argv[2])); self.send_header("Content-Length", "0"); self.end_headers()
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Failing)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[3], sys.argv[4])
server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
"#;

struct Simulator(Child);

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn failing(warm: &Warm, status: u16) -> Result<(Simulator, u16)> {
    let port = free_port()?;
    let mut child = Command::new("python3")
        .args(["-c", FAILING, &port.to_string(), &status.to_string()])
        .arg(warm.scratch.path().join("registry-ca/ca.crt"))
        .arg(warm.scratch.path().join("registry/key.pem"))
        .stdout(Stdio::piped())
        .spawn()
        .context("python3")?;
    let mut ready = [0; 5];
    std::io::Read::read_exact(child.stdout.as_mut().context("no output")?, &mut ready)?;
    Ok((Simulator(child), port))
}

#[test]
fn cli_oci_push_says_why_a_registry_refuses() -> Result<()> {
    let warm = Warm::new()?;
    let registry = Registry::start(&warm.scratch)?;
    // A small image will do: what fails does so before the first layer.
    let archive = warm.scratch.path().join("small.ociarchive");
    let folder = warm.scratch.folder("small")?;
    small_image(&folder)?;
    let copied = Command::new("skopeo")
        .args(["--insecure-policy", "copy", &format!("dir:{}", folder.display()), &format!("oci-archive:{}", archive.display())])
        .output()?;
    ensure!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    let push = |host: &str, args: &[&str]| {
        warm.basalt(["push", "--retry", "0"]).args(args).arg(&archive).arg(format!("{host}/x:1")).run(&warm.scratch)
    };
    let certificates = registry.certificates.display().to_string();
    let known = ["--cert-dir", certificates.as_str()];
    let login = registry.auth_file.display().to_string();
    let wrong = auth_file(&warm.scratch, &registry.host, "case:wrong")?.display().to_string();

    push(&registry.host, &["--authfile", &login])?
        .exits(FAILED)
        .says("authority that this machine does not know")
        .says("--cert-dir");
    push(&registry.host, &known)?.exits(FAILED).says("it wants a login").says("--authfile");
    push(&registry.host, &[&known[..], &["--authfile", &wrong]].concat())?.exits(FAILED).says("it wants a login");
    push(&format!("localhost:{}", free_port()?), &known)?.exits(FAILED).says("it cannot be reached").says("next: ");
    for (status, words) in [(429, "it takes no more requests for now"), (500, "it failed by itself")] {
        let (_simulator, port) = failing(&warm, status)?;
        push(&format!("localhost:{port}"), &known)?.exits(FAILED).says(words).says("next: ");
    }
    push(&registry.host, &[&known[..], &["--authfile", &login]].concat())?.exits(0);
    push("x", &[])?.exits(USAGE).says("needed a registry's host").says("next: ");
    warm.basalt(["push"]).arg(warm.scratch.path().join("none")).arg("localhost:1/x").run(&warm.scratch)?.exits(INPUT);
    warm.basalt(["push"])
        .arg(warm.scratch.folder("empty")?)
        .arg("localhost:1/x")
        .run(&warm.scratch)?
        .exits(INPUT)
        .says("--format oci");
    Ok(())
}

/// An image of one empty layer, in skopeo's folder form, made here by hand.
fn small_image(folder: &std::path::Path) -> Result<()> {
    let sha256 = |path: &std::path::Path| -> Result<String> {
        let output = Command::new("sha256sum").arg(path).output()?;
        Ok(String::from_utf8(output.stdout)?.split(' ').next().unwrap_or_default().to_owned())
    };
    let keep = |name: &str, bytes: &[u8]| -> Result<(String, usize)> {
        let path = folder.join(name);
        fs::write(&path, bytes)?;
        let digest = sha256(&path)?;
        fs::rename(&path, folder.join(&digest))?;
        Ok((digest, bytes.len()))
    };
    let (layer, layer_size) = keep("layer", &[0; 1024])?;
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "config": {}, "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
    });
    let (config, config_size) = keep("config", config.to_string().as_bytes())?;
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": format!("sha256:{config}"), "size": config_size },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": format!("sha256:{layer}"), "size": layer_size }],
    });
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n")?;
    Ok(())
}
