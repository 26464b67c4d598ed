//! Feedback as rows for other programs.

use countersign_domain::feedback::Feedback;
use countersign_proto::v1::ExportFormat;

/// The first row of CSV.
const HEADER: [&str; 15] = [
    "name",
    "order",
    "create_time",
    "answer_time",
    "stars",
    "tags",
    "words",
    "lines",
    "warehouses",
    "source",
    "follow_up",
    "resolution",
    "customer",
    "order_type",
    "source_channel",
];

/// The row before the first, where the format has one.
pub(super) fn header(format: ExportFormat) -> Option<String> {
    (format == ExportFormat::Csv).then(|| csv(&HEADER.map(str::to_owned)))
}

/// One row with its line end.
pub(super) fn row(feedback: &Feedback, format: ExportFormat) -> String {
    if format == ExportFormat::Csv {
        csv(&cells(feedback))
    } else {
        let fields = HEADER.iter().zip(cells(feedback));
        let object: serde_json::Map<String, serde_json::Value> = fields
            .map(|(name, cell)| {
                let value = match *name {
                    "stars" => feedback.answer.stars.into(),
                    _ => cell.into(),
                };
                ((*name).to_owned(), value)
            })
            .collect();
        format!("{}\n", serde_json::Value::Object(object))
    }
}

fn cells(feedback: &Feedback) -> [String; 15] {
    let answer = &feedback.answer;
    let tags: Vec<&str> = answer.tags.iter().map(|tag| tag.as_str()).collect();
    let lines: Vec<String> = feedback
        .lines
        .iter()
        .map(|line| format!("{}={}", line.sku, line.stars))
        .collect();
    let mut warehouses: Vec<&str> = feedback
        .lines
        .iter()
        .filter_map(|line| line.warehouse.as_deref())
        .collect();
    warehouses.sort_unstable();
    warehouses.dedup();
    let time =
        |at: chrono::DateTime<chrono::Utc>| at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
    [
        feedback.id.resource_name(),
        feedback.order_id.resource_name(),
        time(feedback.create_time),
        time(feedback.answer_time),
        answer.stars.to_string(),
        tags.join(" "),
        answer.words.clone(),
        lines.join(" "),
        warehouses.join(" "),
        answer.source.to_string(),
        feedback.follow_up.to_string(),
        feedback
            .resolution
            .as_ref()
            .map(|it| it.text.clone())
            .unwrap_or_default(),
        feedback.customer.clone(),
        feedback.order_type.clone(),
        feedback.source_channel.clone(),
    ]
}

/// Cells of RFC 4180, each in quotation marks.
fn csv(cells: &[String]) -> String {
    let quoted: Vec<String> = cells
        .iter()
        .map(|cell| format!("\"{}\"", harmless(cell).replace('"', "\"\"")))
        .collect();
    format!("{}\r\n", quoted.join(","))
}

/// A cell that no spreadsheet takes for a formula, whichever way the sign that begins one is written and whatever white
/// space stands before it.
fn harmless(cell: &str) -> String {
    let begins = cell.trim_start().chars().next();
    let formula = matches!(
        begins,
        Some('=' | '+' | '-' | '@' | '|' | '%' | '＝' | '＋' | '－' | '＠')
    ) || cell.starts_with(['\t', '\r', '\n']);
    if formula {
        format!("'{cell}")
    } else {
        cell.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_begins_a_formula_or_ends_its_row() {
        for (cell, written) in [
            ("=HYPERLINK(\"x\")", "\"'=HYPERLINK(\"\"x\"\")\"\r\n"),
            ("+1", "\"'+1\"\r\n"),
            ("-1", "\"'-1\"\r\n"),
            ("@SUM(A1)", "\"'@SUM(A1)\"\r\n"),
            ("\t=1", "\"'\t=1\"\r\n"),
            (" \n=1", "\"' \n=1\"\r\n"),
            ("＝1", "\"'＝1\"\r\n"),
            ("a,\"b\"\nc", "\"a,\"\"b\"\"\nc\"\r\n"),
            ("5 - 4", "\"5 - 4\"\r\n"),
            ("", "\"\"\r\n"),
        ] {
            assert_eq!(csv(&[cell.to_owned()]), written);
        }
    }
}
