//! One program for all readers: `FUZZ_TARGET` names the one that reads. Started by `scripts/fuzz`.
#![no_main]

use std::{alloc::System, sync::OnceLock, time::Duration};

use cap::Cap;
use libfuzzer_sys::fuzz_target;
use rustix::time::{ClockId, clock_gettime};

type Read = fn(&[u8]);

/// What one input may take (RELIABILITY I-11). libFuzzer's own limit of memory works under sanitizers only.
const TIME_MAX: Duration = Duration::from_millis(100);
const MEMORY_MAX: usize = 64 * 1024 * 1024;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

static READ: OnceLock<Read> = OnceLock::new();

fn entries() -> impl Iterator<Item = (&'static str, Read)> {
    countersign_domain::fuzz::ENTRIES
        .into_iter()
        .chain(countersign_runtime::fuzz::ENTRIES)
        .chain(countersign_store::fuzz::ENTRIES)
        .chain(countersign_order::fuzz::ENTRIES)
        .chain(countersign_notification::fuzz::ENTRIES)
        .chain(countersign::fuzz::ENTRIES)
}

/// Finds the reader, or prints the names of all.
fn choose() {
    let wanted = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let found = entries().find(|(name, _)| *name == wanted);
    let Some((_, read)) = found else {
        entries().for_each(|(name, _)| println!("{name}"));
        std::process::exit(0);
    };
    // Telling where it failed takes memory, too, and would wait for itself for ever if that failed in turn.
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        ALLOCATOR.set_limit(usize::MAX).ok();
        tell(info);
    }));
    // What is made once, such as numbering plans, is not this input's.
    read(b"");
    READ.set(read).ok();
}

/// Processor time of this thread: the machine does other things besides.
fn now() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

fn timed(read: Read, bytes: &[u8]) -> Duration {
    let begun = now();
    read(bytes);
    now() - begun
}

fuzz_target!(init: choose(), |bytes: &[u8]| {
    let read = *READ.get().expect("a reader was chosen");
    // More than this fails as if the machine had no more.
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + MEMORY_MAX).ok();
    let mut took = timed(read, bytes);
    if took > TIME_MAX {
        // The first time may have made what is made once.
        took = took.min(timed(read, bytes));
    }
    ALLOCATOR.set_limit(usize::MAX).ok();
    assert!(took <= TIME_MAX, "{} bytes took {took:?}", bytes.len());
});
