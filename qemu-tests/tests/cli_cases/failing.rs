//! A simulator of registries that fail. It speaks TLS and as much of a registry's language as a client needs to fetch the one image of
//! an OCI folder, until it does what it was asked to do wrong. It is no registry: for a real one see [`qemu_tests::Registry`].
//!
//! Protocol: the OCI distribution specification 1.1, "Pull".

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use qemu_tests::Registry;

/// Arguments: what goes wrong, certificate, key, folder. Prints its port. The layer is the longest blob.
const PROGRAM: &str = r#"
import glob, http.server, json, os, ssl, sys, time
fault, _, detail = sys.argv[1].partition("=")
folder = sys.argv[4]
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
blobs = folder + "/blobs/sha256/"
longest = max(glob.glob(blobs + "*"), key=os.path.getsize, default="")
seen = set()
class Failing(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        new = self.path not in seen
        seen.add(self.path)
        if fault == "silent":
            time.sleep(3600)
        if fault == "status" or (fault == "once" and new):
            return self.head(int(detail), 0)
        what, _, name = self.path.rpartition("/")
        if name == "":
            return self.head(200, 0)
        if not name.startswith("sha256:"):
            name = json.load(open(folder + "/index.json"))["manifests"][0]["digest"]
        path = blobs + name.removeprefix("sha256:")
        body = open(path, "rb").read()
        kind = json.loads(body).get("mediaType", MANIFEST) if what.endswith("manifests") else "application/octet-stream"
        self.head(200, len(body), kind, name)
        if self.command == "HEAD":
            return
        if path == longest:
            self.layer(body)
        else:
            self.wfile.write(body)
    def layer(self, body):
        half = len(body) // 2
        if fault == "stalls":
            self.wfile.write(body[:half]); self.wfile.flush(); time.sleep(3600)
        elif fault == "cut":
            self.wfile.write(body[:half]); self.close_connection = True
        elif fault == "trickles":
            for part in range(0, len(body), half // 4):
                self.wfile.write(body[part:part + half // 4]); self.wfile.flush(); time.sleep(0.5)
        else:
            self.wfile.write(body)
    def head(self, status, length, kind="text/plain", digest=""):
        self.send_response(status)
        for name, value in [("Content-Length", length), ("Content-Type", kind), ("Docker-Content-Digest", digest), ("Retry-After", "0")]:
            if value != "":
                self.send_header(name, str(value))
        self.end_headers()
    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer
    def log_message(self, *args): pass
class Quiet(http.server.ThreadingHTTPServer):
    daemon_threads = True
    def handle_error(self, *args): pass
server = Quiet(("127.0.0.1", 0), Failing)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[2], sys.argv[3])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
"#;

/// The running simulator; it ends with this value.
pub struct Simulator {
    child: Child,
    /// `localhost:PORT`.
    pub host: String,
}

/// Starts one with the certificate of `registry`, for the image in the OCI folder `image`. `fault` is one of: `status=N` (each request
/// is answered so), `once=N` (the first of each kind is), `silent` (none is answered), and of the layer `stalls` (half of it, then
/// nothing), `cut` (half of it, then the end), `trickles` (all of it, in pieces).
pub fn failing(registry: &Registry, fault: &str, image: &Path) -> Result<Simulator> {
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM, fault])
        .arg(registry.certificates.join("ca.crt"))
        .arg(registry.key())
        .arg(image)
        .stdout(Stdio::piped())
        .spawn()
        .context("python3")?;
    let mut port = String::new();
    let read = child.stdout.take().map(|out| BufReader::new(out).read_line(&mut port));
    let simulator = Simulator { child, host: format!("localhost:{}", port.trim()) };
    read.context("no output")??;
    anyhow::ensure!(!port.is_empty(), "the simulator of a failing registry does not listen");
    Ok(simulator)
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
