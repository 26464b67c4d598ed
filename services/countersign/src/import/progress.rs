//! How far a long command has come: a bar for people, plain lines for a log.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// See the module.
pub(crate) struct Progress {
    bar: ProgressBar,
    what: &'static str,
    plain: Option<Instant>,
}

impl Progress {
    /// Begins; `total` is 0 when nobody knows.
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let watched = io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            (total > 0).then_some(total),
            if watched {
                ProgressDrawTarget::stderr()
            } else {
                ProgressDrawTarget::hidden()
            },
        );
        let style = "{msg:>12} {bar:40} {human_pos}/{human_len} {per_sec} {eta}";
        // The template is ours; were it wrong, indicatif's own look would do.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        bar.set_message(what);
        Self {
            bar,
            what,
            plain: (!watched).then(Instant::now),
        }
    }

    /// Some more are done.
    pub(crate) fn add(&mut self, count: u64) {
        self.bar.inc(count);
        if self.plain.is_some_and(|last| last.elapsed() >= LINE_EVERY) {
            self.plain = Some(Instant::now());
            self.line();
        }
    }

    fn line(&self) {
        let of = self
            .bar
            .length()
            .map(|total| format!(" of {total}"))
            .unwrap_or_default();
        writeln!(
            io::stderr().lock(),
            "{}: {}{of}",
            self.what,
            self.bar.position()
        )
        .ok();
    }

    /// All are done.
    pub(crate) fn finish(self) {
        if self.plain.is_some() {
            self.line();
        }
        self.bar.finish_and_clear();
    }
}
