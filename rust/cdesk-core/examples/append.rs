//! Appends each line of standard input as one JSON object, and prints its number once it is durable.
//!
//! ```text
//! printf '{"n":1}\n{"n":2}\n' | cargo run --example append -- DIR
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people")]

use std::io::{self, BufRead, Write};
use std::process::ExitCode;

use cdesk_core::{Queue, QueueOptions};

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: append DIR < LINES");
        return ExitCode::from(2);
    };
    match run(directory.as_ref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("append: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(directory: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
    let queue = Queue::open(directory, QueueOptions::default())?;
    for (number, line) in io::stdin().lock().lines().enumerate() {
        queue.append(line?.as_bytes())?;
        println!("durable {number}");
        io::stdout().flush()?;
    }
    queue.close()?;
    println!("sealed");
    Ok(())
}
