//! Prints what waits for a consumer, remembers that it did, and deletes the segments that nobody needs any more.
//!
//! ```text
//! cargo run --example consume -- DIR NAME
//! ```

#![expect(clippy::print_stderr, reason = "a program for people")]

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use cdesk_core::{BatchLimits, Consumer};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), Some(name)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: consume DIR NAME");
        return ExitCode::from(2);
    };
    match run(directory.as_ref(), &name.to_string_lossy()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("consume: {error}");
            ExitCode::FAILURE
        }
    }
}

/// For people, in one piece: standard output is for the lines.
fn tell(text: &str) -> io::Result<()> {
    io::stderr().write_all(text.as_bytes())
}

fn run(directory: &std::path::Path, name: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut consumer = Consumer::open(directory, name)?;
    let mut out = io::stdout().lock();
    tell("registered\n")?;
    while let Some(batch) = consumer.next_batch(BatchLimits::default())? {
        out.write_all(&batch.ndjson)?;
        consumer.commit(&batch.position)?;
        tell(&format!("committed {}\n", batch.lines))?;
    }
    let committed = consumer.position().clone();
    let pruned = consumer.prune(&committed, Duration::ZERO)?;
    tell(&format!("pruned {pruned}\n"))?;
    for trouble in consumer.troubles() {
        eprintln!("{} waits: {}", trouble.segment, trouble.error);
    }
    Ok(())
}
