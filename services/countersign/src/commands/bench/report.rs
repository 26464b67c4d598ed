//! Tables for people and JSON for programs.

use std::{collections::BTreeMap, fs};

use serde_json::{Value, json};

use super::{IntakeArgs, load::Figures};
use crate::console;

/// What `bench intake` measured.
#[derive(Debug)]
pub(super) struct IntakeReport {
    args: IntakeArgs,
    yardstick: Vec<Figures>,
    service: BTreeMap<usize, Vec<Figures>>,
    open: Vec<Figures>,
}

impl IntakeReport {
    pub(super) fn new(args: &IntakeArgs) -> Self {
        Self {
            args: args.clone(),
            yardstick: Vec::new(),
            service: BTreeMap::new(),
            open: Vec::new(),
        }
    }

    /// A line of progress.
    pub(super) fn say(line: &str) {
        console::say(line);
    }

    pub(super) fn yardstick(&mut self, figures: Figures) {
        console::say(&one_line(&figures));
        self.yardstick.push(figures);
    }

    pub(super) fn service(&mut self, callers: usize, figures: Figures) {
        console::say(&one_line(&figures));
        self.service.entry(callers).or_default().push(figures);
    }

    pub(super) fn open_loop(&mut self, figures: Figures) {
        console::say(&one_line(&figures));
        self.open.push(figures);
    }

    /// The medians, and how often the yardstick goes into them.
    pub(super) fn print(&self) -> anyhow::Result<()> {
        let mut rows = vec![row("yardstick, 32 connections", &self.yardstick, None)];
        let base = median(&self.yardstick, Figures::per_second);
        for (callers, figures) in self.service.iter().rev() {
            rows.push(row(
                &format!("service, {callers} callers"),
                figures,
                Some(base),
            ));
        }
        if !self.open.is_empty() {
            rows.push(row("service, open loop", &self.open, None));
        }
        console::say(&format!(
            "{:<28} {:>10} {:>8} {:>9} {:>9} {:>9} {:>7}",
            if self.args.hot {
                "intake, one hot article"
            } else {
                "intake, 3 lines, 5,000 SKUs"
            },
            "orders/s",
            "×",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "failed"
        ));
        for row in &rows {
            let times = row["times"]
                .as_f64()
                .map_or_else(String::new, |times| format!("{times:.2}"));
            console::say(&format!(
                "{:<28} {:>10.0} {:>8} {:>9.1} {:>9.1} {:>9.1} {:>7}",
                row["what"].as_str().unwrap_or_default(),
                row["orders_per_second"].as_f64().unwrap_or(0.0),
                times,
                row["p50_ms"].as_f64().unwrap_or(0.0),
                row["p99_ms"].as_f64().unwrap_or(0.0),
                row["p999_ms"].as_f64().unwrap_or(0.0),
                row["failed"],
            ));
        }
        if let Some(path) = &self.args.json {
            let document = json!({ "bench": "intake", "hot": self.args.hot, "rounds": self.args.rounds, "rows": rows });
            fs::write(path, serde_json::to_string_pretty(&document)?)?;
        }
        Ok(())
    }
}

fn row(what: &str, figures: &[Figures], base: Option<f64>) -> Value {
    let per_second = median(figures, Figures::per_second);
    json!({
        "what": what,
        "orders_per_second": per_second,
        "times": base.map(|base| per_second / base),
        "p50_ms": median(figures, |figures| figures.percentile_ms(50.0)),
        "p99_ms": median(figures, |figures| figures.percentile_ms(99.0)),
        "p999_ms": median(figures, |figures| figures.percentile_ms(99.9)),
        "failed": figures.iter().map(|figures| figures.failed).sum::<u64>(),
    })
}

fn median(figures: &[Figures], value: impl Fn(&Figures) -> f64) -> f64 {
    let mut values: Vec<f64> = figures.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// One measurement.
pub(super) fn one_line(figures: &Figures) -> String {
    format!(
        "  {:.0} orders/s, p50 {:.1} ms, p99 {:.1} ms, {} failed",
        figures.per_second(),
        figures.percentile_ms(50.0),
        figures.percentile_ms(99.0),
        figures.failed
    )
}
