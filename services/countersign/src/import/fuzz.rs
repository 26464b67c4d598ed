//! Files that are imported, as a function of bytes; see [`countersign_domain::fuzz`].

use std::sync::LazyLock;

use countersign_domain::fuzz::Entry;

use super::{grouping::Group, mapping::Mapping, orders, reference, rows::Rows, tracking};

/// The readers of this crate.
pub const ENTRIES: [Entry; 1] = [("import_row", import_row)];

/// Those that ship with the program.
static MAPPINGS: LazyLock<Vec<Mapping>> = LazyLock::new(|| {
    ["countersign", "uci-online-retail", "olist"]
        .iter()
        .filter_map(|name| Mapping::load(name).ok())
        .collect()
});

/// Rows that are looked at of one input.
const ROWS_MAX: usize = 8;

/// A file of each format, its rows as orders and tracking reports by each mapping that ships with the program.
fn import_row(bytes: &[u8]) {
    for name in ["a.jsonl", "a.csv", "a.tsv", "a.jsonl.gz", "a.csv.gz"] {
        let Ok(rows) = Rows::of_bytes(bytes.to_vec(), name) else {
            continue;
        };
        for (line, record) in rows.take(ROWS_MAX).flatten() {
            let group = Group {
                line,
                records: vec![record.clone(), record],
            };
            for mapping in MAPPINGS.iter() {
                if let Some(orders) = &mapping.orders {
                    orders::order(mapping, orders, &group);
                }
                let Some(row) = group.records.first() else {
                    continue;
                };
                if let Some(fields) = &mapping.tracking {
                    tracking::reports(mapping, fields, "REF-1", row);
                }
                if let Some(fields) = &mapping.customers {
                    reference::customer(mapping, fields, row);
                }
                if let Some(fields) = &mapping.products {
                    reference::product(mapping, fields, row);
                }
                if let Some(fields) = &mapping.prices {
                    reference::price(mapping, fields, row);
                }
                if let Some(fields) = &mapping.stock {
                    reference::stock(mapping, fields, row);
                }
            }
        }
    }
}
