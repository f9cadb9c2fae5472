//! A key that signs kernel modules and its certificate, made by openssl, and a PKCS#11 token (softhsm2) that has it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::Scratch;
use crate::tool::run;

/// `openssl req` makes these kinds.
pub const KEYS: [(&str, &[&str]); 3] = [
    ("rsa", &["-newkey", "rsa:3072"]),
    ("p256", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    ("p384", &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
];
const PIN: &str = "123456";
const LIBRARY: &str = "/usr/lib/softhsm/libsofthsm2.so";

/// Somebody who signs modules.
#[derive(Debug)]
pub struct ModuleKey {
    folder: PathBuf,
    /// In PEM.
    pub key: PathBuf,
    /// In PEM.
    pub certificate: PathBuf,
}

impl ModuleKey {
    /// A key of the kind `kind` of [`KEYS`], with files in the folder of this name of `scratch`.
    pub fn new(scratch: &Scratch, kind: &str) -> Result<Self> {
        let folder = scratch.folder(&format!("key-{kind}"))?;
        let (key, certificate) = (folder.join("key.pem"), folder.join("key.crt"));
        let (_, arguments) = KEYS.into_iter().find(|(name, _)| *name == kind).context("no such kind of key")?;
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-nodes", "-days", "9999", "-subj", "/O=Example/CN=module signing"]).args(arguments);
        run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        Ok(Self { folder, key, certificate })
    }

    /// What of the private key may be nowhere: lines of its file, and its number.
    pub fn secrets(&self) -> Result<Vec<Vec<u8>>> {
        let text = fs::read_to_string(&self.key)?;
        let line = text.lines().filter(|line| !line.starts_with('-')).nth(1).context("a key of one line")?;
        let shown = run(Command::new("openssl").args(["pkey", "-noout", "-text", "-in"]).arg(&self.key))?;
        let number = shown.split_once("rivateExponent:").or_else(|| shown.split_once("priv:")).context("no number")?.1;
        let number = number.lines().skip(1).take_while(|line| line.starts_with("    ")).collect::<String>();
        let digits: Vec<_> = number.split(':').map(str::trim).filter(|digits| !digits.is_empty()).collect();
        let bytes: Result<Vec<_>, _> = digits.iter().map(|digits| u8::from_str_radix(digits, 16)).collect();
        // A leading zero may be there or not.
        Ok(vec![line.as_bytes().to_vec(), bytes?.split_off(1).into_iter().take(24).collect()])
    }

    /// A token with the key: what sets its environment, and a command that signs standard input by it.
    pub fn token(&self) -> Result<Token> {
        let tokens = self.folder.join("tokens");
        fs::create_dir_all(&tokens)?;
        let configuration = self.folder.join("softhsm2.conf");
        fs::write(&configuration, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()))?;
        let env = [("SOFTHSM2_CONF", configuration.display().to_string()), ("BASALT_TEST_PIN", PIN.to_owned())];
        let util = |args: &[&str]| {
            let (name, value) = &env[0];
            run(Command::new("softhsm2-util").args(args).args(["--pin", PIN]).env(name, value))
        };
        util(&["--init-token", "--free", "--label", "modules", "--so-pin", "654321"])?;
        let der = self.folder.join("key.p8").display().to_string();
        run(Command::new("openssl").args(["pkcs8", "-topk8", "-nocrypt", "-out", &der, "-in"]).arg(&self.key))?;
        util(&["--import", &der, "--token", "modules", "--label", "modules", "--id", "01"])?;
        let sign =
            format!("pkcs11-tool --module {LIBRARY} --token-label modules --login --pin env:BASALT_TEST_PIN --sign --id 01");
        Ok(Token { env, sign, folder: self.folder.clone() })
    }
}

/// A token that has a key.
#[derive(Debug)]
pub struct Token {
    /// For who uses it.
    pub env: [(&'static str, String); 2],
    sign: String,
    folder: PathBuf,
}

impl Token {
    /// Signs by RSA over SHA-256.
    pub fn by_rsa(&self) -> String {
        format!("{} --mechanism SHA256-RSA-PKCS", self.sign)
    }

    /// Signs by ECDSA over SHA-256: this token wants the hash, so that it takes two programs.
    pub fn by_ecdsa(&self) -> Result<String> {
        let script = self.folder.join("sign");
        fs::write(&script, format!("openssl dgst -sha256 -binary | {} --mechanism ECDSA\n", self.sign))?;
        Ok(format!("sh {}", script.display()))
    }
}
