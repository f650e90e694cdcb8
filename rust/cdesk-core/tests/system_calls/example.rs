//! The programs that are watched.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

/// The program, of this source: cargo builds it with all tests, and not with this one alone.
pub(crate) fn path(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let tests = std::env::current_exe().unwrap();
    let profile = tests.ancestors().nth(2).unwrap();
    BUILT.call_once(|| {
        let is_release = profile.ends_with("release");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "cdesk-core", "--examples"]);
        cargo.arg("--target-dir").arg(profile.parent().unwrap());
        let built = cargo.args(is_release.then_some("--release")).status().unwrap();
        assert!(built.success());
    });
    profile.join("examples").join(name)
}
