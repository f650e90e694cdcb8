//! Copies `sql/` into `OUT_DIR`, from where maturin puts it into the wheel as `cdesk/sql/`.

use std::{env, fs, io, path::Path};

fn main() -> io::Result<()> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let source = workspace.join("sql");
    println!("cargo:rerun-if-changed={}", source.display());
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo sets OUT_DIR"))?;
    let target = Path::new(&out).join("sql");
    if target.exists() {
        fs::remove_dir_all(&target)?; // a file that left sql/ must leave the wheel
    }
    if source.is_dir() { copy(&source, &target) } else { Ok(()) }
}

fn copy(source: &Path, target: &Path) -> io::Result<()> {
    fs::create_dir_all(target)?;
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        let (from, to) = (entry.path(), target.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&from, &to)?;
        } else {
            fs::copy(&from, &to)?;
        }
    }
    Ok(())
}
