//! Prints query tags, each of which no other process with the same directory prints.
//!
//! ```text
//! cargo run --features tags --example tag -- DIR COUNT
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::process::ExitCode;

use cdesk_core::QueryTags;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let count = |text: std::ffi::OsString| text.to_str()?.parse().ok();
    let (Some(directory), Some(count)) = (arguments.next(), arguments.next().and_then(count)) else {
        eprintln!("usage: tag DIR COUNT");
        return ExitCode::from(2);
    };
    match run(directory.as_ref(), count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tag: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &std::path::Path, count: u64) -> cdesk_core::Result<()> {
    let tags = QueryTags::open(directory)?;
    for _ in 0..count {
        println!("{}", tags.next_tag()?);
    }
    Ok(())
}
