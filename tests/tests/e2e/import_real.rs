//! The beginning of real files, where they lie beside the project: counts of the service against counts of the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
};

use countersign_e2e::{System, data::shared_data};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::import::{counted, import, results, target};

/// Copies the first lines of a packed file.
fn beginning(file: &str, lines: usize, to: &Path) -> Option<(PathBuf, Vec<String>)> {
    let packed = File::open(shared_data(file)?).unwrap();
    let lines: Vec<String> = BufReader::new(GzDecoder::new(packed))
        .lines()
        .take(lines)
        .collect::<Result<_, _>>()
        .unwrap();
    let name = Path::new(file).file_stem().unwrap();
    let path = to.join(name);
    let mut copy = File::create(&path).unwrap();
    for line in &lines {
        writeln!(copy, "{line}").unwrap();
    }
    Some((path, lines))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_thousand_real_invoice_lines_are_orders_or_refused_or_cancellations() {
    let folder = tempfile::tempdir().unwrap();
    let file = "orders/uci_online_retail_2009-2010.csv.gz";
    let Some((path, lines)) = beginning(file, 2_001, folder.path()) else {
        return;
    };
    let invoices: BTreeSet<&str> = lines[1..]
        .iter()
        .map(|line| line.split(',').next().unwrap())
        .collect();
    let system = System::sqlite().await;
    let told = folder.path().join("results.csv");

    let arguments = [
        "orders",
        path.to_str().unwrap(),
        "--mapping",
        "uci-online-retail",
        "--register",
        "--results",
        told.to_str().unwrap(),
        "--report",
    ];
    let report = import(&target(&system), &arguments).await;

    let results = results(&told);
    assert_eq!(
        results.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        invoices
    );
    let held: BTreeSet<String> = system
        .all_orders()
        .await
        .into_iter()
        .map(|order| order.client_reference)
        .collect();
    for (invoice, [outcome, _, description]) in &results {
        assert_eq!(held.contains(invoice), outcome == "taken", "{invoice}");
        assert_eq!(
            invoice.starts_with('C'),
            outcome.starts_with("cancellation"),
            "{invoice}"
        );
        assert!(outcome != "refused" || !description.is_empty(), "{invoice}");
    }
    assert_eq!(
        counted(&report, "amount agrees exactly"),
        [held.len() as u64]
    );
}

/// What a correct service finds in these orders, counted from the file alone.
fn truth(orders: &[Value]) -> BTreeMap<&'static str, u64> {
    let cents = |value: &Value| {
        let text = value.as_str().unwrap();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        format!("{whole}{fraction:0<2}").parse::<i64>().unwrap()
    };
    let sum = |order: &Value, list: &str, fields: &[&str]| -> i64 {
        let entries = order[list].as_array().unwrap().iter();
        entries
            .flat_map(|entry| fields.iter().map(|field| cents(&entry[*field])))
            .sum()
    };
    let mut counts = BTreeMap::new();
    let mut add = |what, holds| *counts.entry(what).or_default() += u64::from(holds);
    for order in orders {
        let times: Vec<&str> = ["purchased_at", "approved_at", "carrier_at", "delivered_at"]
            .iter()
            .filter_map(|name| order[*name].as_str())
            .collect();
        let due = sum(order, "items", &["price", "freight_value"]);
        let off = (due - sum(order, "payments", &["value"])).abs();
        let goods = !order["items"].as_array().unwrap().is_empty();
        let delivered = order["delivered_at"].as_str();
        add("orders with goods and an amount to pay", goods);
        add(
            "amount agrees with goods, freight and discount to the cent",
            goods && off <= 1,
        );
        add("total-matches", goods && off > 0);
        add(
            "delivered later than promised",
            goods && delivered > order["promised_at"].as_str(),
        );
        add(
            "said to be delivered, without a time",
            goods && order["status"] == "delivered" && delivered.is_none(),
        );
        add("times out of order", goods && !times.is_sorted());
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_marketplace_orders_come_to_the_counts_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let Some((path, lines)) = beginning("orders/olist_dev.jsonl.gz", 400, folder.path()) else {
        return;
    };
    let orders: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let system = System::sqlite().await;
    let file = path.to_str().unwrap();

    let taken = ["orders", file, "--mapping", "olist", "--register"];
    import(&target(&system), &taken).await;
    let tracked = ["tracking", file, "--mapping", "olist", "--report"];
    let report = import(&target(&system), &tracked).await;

    for (what, count) in truth(&orders) {
        let found = if report.contains(&format!("  {what}\n")) {
            counted(&report, what)
        } else {
            vec![0]
        };
        assert_eq!(found, [count], "{what}\n{report}");
    }
}
