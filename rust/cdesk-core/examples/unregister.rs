//! Takes a consumer's name back: no segment is kept for it any more.
//!
//! ```text
//! cargo run --example unregister -- DIR NAME
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;

use cdesk_core::Consumer;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), Some(name)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: unregister DIR NAME");
        return ExitCode::from(2);
    };
    match run(directory.as_ref(), &name.to_string_lossy()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("unregister: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &std::path::Path, name: &str) -> cdesk_core::Result<()> {
    Consumer::open(directory, name)?.unregister()?;
    println!("unregistered");
    Ok(())
}
