//! Files of other systems: each order in them is there once or refused with a reason, whoever dies meanwhile.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use countersign_e2e::System;
use countersign_store::testing::TestDatabase;
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use super::program::{answers, free_address, program, start};

/// A wholesaler's invoice lines: 1001 is not contiguous, 1003 names no customer, 1004 is a write-off.
const INVOICES: &str = "\
invoice,stock_code,description,quantity,invoice_date,unit_price,customer_id,country
1001,A1,WHITE LIGHTS,12,2009-12-01 07:45:00,6.95,13085,United Kingdom
1001,A2,\"FRAME 7\"\" SINGLE\",10,2009-12-01 07:45:00,2.1,13085,United Kingdom
1002,A1,WHITE LIGHTS,3,2009-12-01 08:00:00,6.95,13086,EIRE
1001,A3,,1,2009-12-01 07:46:00,0,13085,United Kingdom
1003,A1,WHITE LIGHTS,1,2009-12-01 09:00:00,7.5,,United Kingdom
1004,A2,damaged,-7,2009-12-01 09:30:00,0,,United Kingdom
1005,A2,FRAME,1,2009-12-01 09:40:00,0.001,13086,EIRE
C1006,A1,WHITE LIGHTS,-4,2009-12-02 10:00:00,6.95,13085,United Kingdom
C1006,A9,NEVER BOUGHT,-1,2009-12-02 10:00:00,1,13085,United Kingdom
C1007,A1,WHITE LIGHTS,-1,2009-12-02 11:00:00,7.5,,United Kingdom
A1008,B,Adjust bad debt,1,2009-12-02 12:00:00,-53594.36,,United Kingdom
C1009,A1,WHITE LIGHTS,-3,2009-12-02 13:00:00,6.95,13086,EIRE
";

/// Runs the program's import and waits for its end.
pub(crate) async fn import(target: &str, arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command(target, arguments).await.output().await.unwrap();
    let told = String::from_utf8(stdout).unwrap();
    let complaint = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{told}\n{complaint}");
    told
}

async fn command(target: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program().await);
    command
        .arg("import")
        .args(arguments)
        .args(["--target", target])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The numbers before a line of a report.
pub(crate) fn counted(report: &str, what: &str) -> Vec<u64> {
    let line = report
        .lines()
        .rfind(|line| line.trim_end().ends_with(&format!("  {what}")))
        .unwrap_or_else(|| panic!("{what} is not in\n{report}"));
    let numbers = line.trim_end().trim_end_matches(what);
    numbers
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect()
}

/// Results by the sender's number: outcome, code and description.
pub(crate) fn results(path: &Path) -> BTreeMap<String, [String; 3]> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut found = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut cells = line.splitn(6, ',').map(ToOwned::to_owned);
        let mut next = || cells.next().unwrap();
        let (_, reference, outcome, _, code, description) =
            (next(), next(), next(), next(), next(), next());
        let before = found.insert(reference, [outcome, code, description]);
        assert!(before.is_none(), "told twice: {line}");
    }
    found
}

pub(crate) fn target(system: &System) -> String {
    format!("http://{}", system.replicas[0].address)
}

async fn invoices_come_in(database: TestDatabase) {
    let system = System::start(database).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("invoices.csv");
    std::fs::write(&file, INVOICES).unwrap();
    let told = folder.path().join("results.csv");
    let arguments = [
        "orders",
        file.to_str().unwrap(),
        "--mapping",
        "uci-online-retail",
        "--register",
        "--report",
        "--results",
        told.to_str().unwrap(),
    ];

    let report = import(&target(&system), &arguments).await;

    let is = |reference: &str, outcome: &str, code: &str, words: &str| {
        let found = &results(&told)[reference];
        assert_eq!([&found[0], &found[1]], [outcome, code], "{reference}");
        assert!(found[2].contains(words), "{reference}: {}", found[2]);
    };
    assert_eq!(results(&told).len(), 9);
    is("1001", "taken", "UNDER_AUDIT", "price-given");
    is("1002", "taken", "UNDER_AUDIT", "credit-agreed");
    is("1003", "taken", "UNDER_AUDIT", "customer-known");
    is(
        "1004",
        "refused",
        "INVALID_ARGUMENT",
        "order.lines[0].quantity: must be 1",
    );
    is(
        "1005",
        "refused",
        "INVALID_ARGUMENT",
        "must have at most 2 decimals in GBP",
    );
    is(
        "C1006",
        "cancellation_matched_in_part",
        "",
        "lines[1] A9: the customer has no order",
    );
    is("C1007", "cancellation_unmatched", "", "names no customer");
    is("A1008", "refused", "NOT_AN_ORDER", "bad-debt");
    is("C1009", "cancellation_matched", "", "");
    assert_eq!(counted(&report, "taken back of an earlier order"), [2]);
    assert_eq!(counted(&report, "the cancellation names no customer"), [1]);
    assert_eq!(counted(&report, "amount agrees exactly"), [3]);

    let look = async || {
        let orders: BTreeMap<String, (String, i64, Vec<i64>)> = system
            .all_orders()
            .await
            .into_iter()
            .map(|order| {
                let cancelled = order.lines.iter();
                let cancelled = cancelled.map(|it| it.counters.unwrap().cancelled).collect();
                let total = order.total.as_ref().unwrap();
                let minor = total.units * 100 + i64::from(total.nanos / 10_000_000);
                let state = order.state().as_str_name().to_owned();
                (order.client_reference, (state, minor, cancelled))
            })
            .collect();
        assert_eq!(system.stock_agrees_with_orders().await, orders.len());
        orders
    };
    let orders = look().await;
    let expected =
        |state: &str, minor, cancelled| (format!("ORDER_STATE_{state}"), minor, cancelled);
    assert_eq!(orders.len(), 3);
    assert_eq!(
        orders["1001"],
        expected("UNDER_AUDIT", 7_660, vec![4, 0, 0])
    );
    assert_eq!(orders["1002"], expected("CANCELLED", 0, vec![3]));
    assert_eq!(orders["1003"], expected("UNDER_AUDIT", 750, vec![0]));

    // once more: the same answers, and nothing changes
    let again = import(&target(&system), &arguments).await;
    assert_eq!(counted(&again, "replayed"), [3]);
    assert_eq!(counted(&again, "cancellation_matched"), [1]);
    assert_eq!(look().await, orders);

    // the calls are forgotten after some days, the sender's numbers are not
    system.database.execute("DELETE FROM requests").await;
    let later = import(&target(&system), &arguments[..5]).await;
    assert_eq!(counted(&later, "replayed"), [3]);
    assert_eq!(look().await.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invoices_are_taken_once_or_refused_with_a_reason_and_cancellations_find_their_orders() {
    for database in TestDatabase::all().await {
        invoices_come_in(database).await;
    }
}

/// A marketplace's order of one article with freight.
fn sale(id: &str, status: &str, paid: &str, times: [Option<&str>; 3]) -> Value {
    json!({
        "order_id": id, "status": status, "purchased_at": "2017-03-01T10:00:00",
        "approved_at": times[0], "carrier_at": times[1], "delivered_at": times[2],
        "promised_at": "2017-03-20T00:00:00",
        "customer": {"unique_id": format!("u-{id}"), "zip": "69309", "city": "boa vista", "state": "RR"},
        "items": [{"product_id": "p1", "price": "39.9", "freight_value": "10.1", "category": null}],
        "payments": [{"type": "voucher", "value": "20"}, {"type": "credit_card", "value": paid}],
    })
}

fn sales() -> Vec<Value> {
    let approved = Some("2017-03-01T10:05:00");
    let carrier = Some("2017-03-03T10:00:00");
    let mut empty = sale("s8", "unavailable", "30", [approved, None, None]);
    empty["items"] = json!([]);
    vec![
        sale(
            "s1",
            "delivered",
            "30",
            [approved, carrier, Some("2017-03-10T10:00:00")],
        ),
        sale(
            "s2",
            "delivered",
            "30.01",
            [approved, carrier, Some("2017-03-20T10:00:00")],
        ),
        sale(
            "s3",
            "delivered",
            "30",
            [
                approved,
                Some("2017-02-28T10:00:00"),
                Some("2017-03-09T10:00:00"),
            ],
        ),
        sale("s4", "delivered", "30", [approved, carrier, None]),
        sale("s5", "shipped", "33", [approved, carrier, None]),
        sale("s6", "canceled", "30", [approved, None, None]),
        sale("s7", "created", "30", [None, None, None]),
        empty,
        sale("s9", "unavailable", "30", [approved, None, None]),
    ]
}

async fn sales_come_in(database: TestDatabase) {
    let system = System::start(database).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sales.jsonl");
    let lines = sales().iter().fold(String::new(), |mut text, sale| {
        writeln!(text, "{sale}").unwrap();
        text
    });
    std::fs::write(&file, lines).unwrap();
    let told = folder.path().join("results.csv");
    let file = file.to_str().unwrap();
    let orders = [
        "orders",
        file,
        "--mapping",
        "olist",
        "--register",
        "--results",
        told.to_str().unwrap(),
    ];

    import(&target(&system), &orders).await;
    let tracking = ["tracking", file, "--mapping", "olist", "--report"];
    let report = import(&target(&system), &tracking).await;

    let results = results(&told);
    let states = ["s1", "s5", "s6", "s7", "s8", "s9"].map(|id| results[id][1].as_str());
    assert_eq!(
        states,
        [
            "ALLOCATED",
            "ALLOCATED",
            "CANCELLED",
            "UNDER_AUDIT",
            "INVALID_ARGUMENT",
            "CANCELLED"
        ]
    );
    for (what, count) in [
        ("orders with goods and an amount to pay", 8),
        (
            "amount agrees with goods, freight and discount to the cent",
            7,
        ),
        ("amount agrees exactly", 6),
        ("delivered later than promised", 1),
        ("times out of order", 1),
        ("said to be delivered, without a time", 1),
        ("total-matches", 2),
    ] {
        assert_eq!(counted(&report, what), [count], "{what}\n{report}");
    }
    assert_eq!(counted(&report, "status delivered"), [4, 0, 4]);
    assert_eq!(counted(&report, "status unavailable"), [1, 1, 2]);
    assert_eq!(counted(&report, "DISPATCHED"), [2]);

    // once more, both: nothing changes
    import(&target(&system), &orders).await;
    assert_eq!(import(&target(&system), &tracking).await, report);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marketplaces_orders_pass_audit_confirmation_and_tracking_and_are_counted() {
    for database in TestDatabase::all().await {
        sales_come_in(database).await;
    }
}

/// Many invoices of two lines; every tenth is taken back by a cancellation.
fn many(folder: &Path, count: u64) -> PathBuf {
    let mut text = INVOICES.lines().next().unwrap().to_owned();
    for number in 0..count {
        let minute = number % 60;
        for article in ["A1", "A2"] {
            write!(
                text,
                "\n{},{article},GOODS,2,2009-12-01 08:{minute:02}:00,1.5,{},France",
                200_000 + number,
                number % 50
            )
            .unwrap();
        }
    }
    for number in (0..count).step_by(10) {
        write!(
            text,
            "\nC{},A1,GOODS,-1,2009-12-05 08:00:00,1.5,{},France",
            300_000 + number,
            number % 50
        )
        .unwrap();
    }
    let path = folder.join("many.csv");
    std::fs::write(&path, text).unwrap();
    path
}

async fn until_orders(database: &TestDatabase, at_least: i64) {
    let began = Instant::now();
    while database.number("SELECT COUNT(*) AS n FROM orders").await < at_least {
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "orders do not come in"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn killed_half_way(database: TestDatabase) {
    const COUNT: u64 = 3_000;
    let program = program().await;
    let folder = tempfile::tempdir().unwrap();
    let system = System::start(database).await;
    let url = system.database.url.clone();
    let address = free_address();
    let mut service = start(&program, &url, address, folder.path());
    answers(address).await;
    let file = many(folder.path(), COUNT);
    let target = format!("http://{address}");
    let arguments = [
        "orders",
        file.to_str().unwrap(),
        "--mapping",
        "uci-online-retail",
        "--report",
    ];

    // the importer dies
    let mut first: Child = command(&target, &arguments).await.spawn().unwrap();
    until_orders(&system.database, 300).await;
    first.kill().await.unwrap();
    let there = system
        .database
        .number("SELECT COUNT(*) AS n FROM orders")
        .await;
    assert!(
        there < i64::try_from(COUNT).unwrap(),
        "the kill came too late"
    );
    // it runs again, and the service dies
    let killing = async {
        until_orders(&system.database, there + 300).await;
        service.kill().await.unwrap();
        service = start(&program, &url, address, folder.path());
    };
    let (report, ()) = tokio::join!(import(&target, &arguments), killing);

    let taken: u64 = ["taken", "replayed"]
        .iter()
        .map(|kind| counted(&report, kind)[0])
        .sum();
    assert_eq!(taken, COUNT);
    assert!(counted(&report, "replayed")[0] >= u64::try_from(there).unwrap());
    assert_eq!(counted(&report, "cancellation_matched"), [COUNT / 10]);
    let number = |sql: &'static str| system.database.number(sql);
    let count = i64::try_from(COUNT).unwrap();
    assert_eq!(number("SELECT COUNT(*) AS n FROM orders").await, count);
    assert_eq!(
        number("SELECT COUNT(DISTINCT client_reference) AS n FROM orders").await,
        count
    );
    assert_eq!(
        number("SELECT COUNT(*) AS n FROM order_lines").await,
        2 * count
    );
    assert_eq!(
        number("SELECT CAST(SUM(cancelled) AS SIGNED) AS n FROM order_lines").await,
        count / 10
    );
    service.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_importer_and_service_are_killed_half_way() {
    for database in TestDatabase::all().await {
        killed_half_way(database).await;
    }
}
