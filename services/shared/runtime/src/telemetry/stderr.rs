//! Standard error for log lines: what it does not take is dropped and counted, never an error and never waited for by hand
//! (RELIABILITY, L-07).

use std::{
    io::{self, Write},
    sync::atomic::{AtomicU64, Ordering},
};

use opentelemetry::global;

static LOST: AtomicU64 = AtomicU64::new(0);

/// Takes every line.
#[derive(Debug)]
pub(super) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if io::stderr().lock().write_all(line).is_err() {
            LOST.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Has the number of lost lines exported.
pub(super) fn export_lost_lines() {
    global::meter("countersign-runtime")
        .u64_observable_counter("log_lines_lost_total")
        .with_description("Log lines that standard error did not take")
        .with_callback(|observer| observer.observe(LOST.load(Ordering::Relaxed), &[]))
        .build();
}
