//! What the service knows about the orders of one source, counted from its own answers.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::Path,
};

use anyhow::{Context as _, bail};
use countersign_proto::{
    common,
    v1::{
        ListOrdersRequest, ListTrackingEventsRequest, Order, OrderLine, TrackingEvent,
        TrackingStatus, order_service_client::OrderServiceClient,
    },
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    grouping::Plan,
    mapping::{Mapping, Orders, text},
    orders::price_of,
    reading::{Amount, moment},
    results::table,
    send::{self, Connection},
};
use crate::console::say;

/// Orders on a page.
const PAGE: i32 = 500;

/// Orders whose tracking is asked for at the same time.
const AT_ONCE: usize = 32;

/// Two amounts that differ by no more than this agree to the cent: what was paid is rounded once for each payment.
const CENT: i128 = 10_000_000;

/// Hands on every order that came by this source channel.
async fn each_order(
    connection: &Connection,
    source: &str,
    mut take: impl AsyncFnMut(Vec<Order>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut request = ListOrdersRequest {
        page_size: PAGE,
        filter: format!("source_channel = \"{source}\""),
        order_by: "create_time".to_owned(),
        ..ListOrdersRequest::default()
    };
    loop {
        let page = send::call(|| {
            let mut client = OrderServiceClient::new(connection.clone())
                .max_decoding_message_size(64 * 1024 * 1024);
            let request = request.clone();
            async move { client.list_orders(request).await }
        })
        .await
        .context("list the orders of this source")?;
        let mut orders = page.orders;
        orders.retain(|order| order.source_channel == source);
        take(orders).await?;
        if page.next_page_token.is_empty() {
            return Ok(());
        }
        request.page_token = page.next_page_token;
    }
}

/// Sender's own number → name, of every order of a source.
pub(crate) async fn names(
    connection: &Connection,
    source: &str,
) -> anyhow::Result<HashMap<String, String>> {
    let mut names = HashMap::new();
    each_order(connection, source, async |orders| {
        names.extend(
            orders
                .into_iter()
                .map(|order| (order.client_reference, order.name)),
        );
        Ok(())
    })
    .await?;
    Ok(names)
}

/// What was counted.
#[derive(Debug, Default)]
struct Counts {
    checks: BTreeMap<String, u64>,
    states: BTreeMap<String, u64>,
    rules: BTreeMap<String, u64>,
    anomalies: BTreeMap<String, u64>,
    annotations: BTreeMap<String, u64>,
}

/// What of the file the service does not hold as orders.
#[derive(Debug, Default)]
struct Absent {
    kinds: BTreeMap<String, u64>,
    annotations: BTreeMap<String, u64>,
}

/// Asks for everything and tells the counts. Fails when an order of the file is there twice.
pub(crate) async fn run(
    connection: &Connection,
    mapping: &Mapping,
    orders: &Orders,
    file: &Path,
) -> anyhow::Result<()> {
    let mut counts = Counts::default();
    let mut known = HashSet::new();
    let mut twice = BTreeSet::new();
    let tracked = mapping.tracking.is_some();
    each_order(connection, &mapping.source, async |page| {
        let page: Vec<(Order, Vec<TrackingEvent>)> = stream::iter(page)
            .map(|order| async move {
                let events = if tracked {
                    events(connection, &order.name).await?
                } else {
                    Vec::new()
                };
                anyhow::Ok((order, events))
            })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        for (order, events) in page {
            counts.add(&order, &events);
            if let Some(reference) = known.replace(order.client_reference) {
                twice.insert(reference);
            }
        }
        Ok(())
    })
    .await?;
    let absent = absent(orders, file, &known)?;
    say(&format!(
        "the service holds {} orders of {}, {} of them twice",
        known.len(),
        mapping.source,
        twice.len()
    ));
    table("checks", &counts.checks);
    table("states", &counts.states);
    table("findings by rule", &counts.rules);
    table("what does not fit in tracking", &counts.anomalies);
    table("of the file, but no orders of the service", &absent.kinds);
    let mut annotations: BTreeMap<&String, (u64, u64)> = BTreeMap::new();
    for (name, count) in &counts.annotations {
        annotations.entry(name).or_default().0 = *count;
    }
    for (name, count) in &absent.annotations {
        annotations.entry(name).or_default().1 = *count;
    }
    if !annotations.is_empty() {
        say("  as the sender had them (orders of the service, others, all)");
    }
    for (name, (held, others)) in annotations {
        let all = held + others;
        say(&format!("  {held:>9} {others:>9} {all:>9}  {name}"));
    }
    if twice.is_empty() {
        return Ok(());
    }
    let some: Vec<String> = twice.iter().take(10).cloned().collect();
    bail!(
        "the service holds orders twice, such as {}",
        some.join(", ")
    )
}

fn absent(orders: &Orders, file: &Path, known: &HashSet<String>) -> anyhow::Result<Absent> {
    let mut absent = Absent::default();
    for group in Plan::new(file, orders.group_by.as_deref())?.groups()? {
        let group = group?;
        let Some(head) = group.records.first() else {
            continue;
        };
        if known.contains(&text(orders.fields.client_reference.as_ref(), head)) {
            continue;
        }
        let cancels = orders.cancellations.as_ref();
        let kind = if cancels.is_some_and(|it| it.when.holds(head)) {
            "cancellations of their own"
        } else {
            orders
                .refused
                .iter()
                .find(|it| it.when.holds(head))
                .map_or("refused", |it| it.reason.as_str())
        };
        *absent.kinds.entry(kind.to_owned()).or_default() += 1;
        for (name, field) in &orders.annotations {
            *absent
                .annotations
                .entry(format!("{name} {}", field.text(head)))
                .or_default() += 1;
        }
    }
    Ok(absent)
}

async fn events(connection: &Connection, order: &str) -> anyhow::Result<Vec<TrackingEvent>> {
    let request = ListTrackingEventsRequest {
        parent: order.to_owned(),
    };
    let answer = send::call(|| {
        let mut client = OrderServiceClient::new(connection.clone());
        let request = request.clone();
        async move { client.list_tracking_events(request).await }
    })
    .await
    .with_context(|| format!("list the tracking of {order}"))?;
    Ok(answer.events)
}

impl Counts {
    fn check(&mut self, name: &str, holds: bool) {
        *self.checks.entry(name.to_owned()).or_default() += u64::from(holds);
    }

    fn add(&mut self, order: &Order, events: &[TrackingEvent]) {
        let state = order
            .state()
            .as_str_name()
            .trim_start_matches("ORDER_STATE_");
        *self.states.entry(state.to_owned()).or_default() += 1;
        let mut rules: Vec<&str> = order.findings.iter().map(|it| it.rule.as_str()).collect();
        rules.sort_unstable();
        rules.dedup();
        for rule in rules {
            *self.rules.entry(rule.to_owned()).or_default() += 1;
        }
        let mut anomalies: Vec<&str> = events
            .iter()
            .flat_map(|it| &it.anomalies)
            .map(String::as_str)
            .collect();
        anomalies.sort_unstable();
        anomalies.dedup();
        for anomaly in &anomalies {
            *self.anomalies.entry((*anomaly).to_owned()).or_default() += 1;
        }
        for (name, value) in &order.annotations {
            *self
                .annotations
                .entry(format!("{name} {value}"))
                .or_default() += 1;
        }
        let off = difference(order);
        self.check("orders with goods and an amount to pay", off.is_some());
        self.check(
            "amount agrees with goods, freight and discount to the cent",
            off.is_some_and(|it| it <= CENT),
        );
        self.check("amount agrees exactly", off == Some(0));
        let delivered = events
            .iter()
            .filter(|it| it.status() == TrackingStatus::Delivered)
            .filter_map(|it| moment(it.report_time.as_ref()?))
            .max();
        let promised = order.promised_delivery_time.as_ref().and_then(moment);
        let late = delivered
            .zip(promised)
            .is_some_and(|(delivered, promised)| delivered > promised);
        self.check("delivered later than promised", late);
        let said_delivered = order.annotations.values().any(|value| value == "delivered");
        self.check(
            "said to be delivered, without a time",
            said_delivered && delivered.is_none(),
        );
        let lines = |test: fn(&OrderLine) -> bool| order.lines.iter().any(test);
        self.check("goods were cancelled", lines(|line| cancelled(line) > 0));
        self.check(
            "a unit price is 0 or less",
            lines(|line| price_of(line) <= 0),
        );
        let disordered = anomalies
            .iter()
            .any(|it| ["before_order", "out_of_sequence"].contains(it));
        self.check("times out of order", disordered);
    }
}

/// By how much the total differs from goods plus freight less discount; nothing without goods. The total follows when
/// lines are cancelled; when all goods are it may be that of the order as it was.
fn difference(order: &Order) -> Option<i128> {
    let total = Amount::of(order.total.as_ref()?).0;
    let part = |money: Option<&common::Money>| money.map_or(0, |it| Amount::of(it).0);
    let beside = part(order.freight.as_ref()) - part(order.discount.as_ref());
    let was: i128 = order.lines.iter().map(price_of).sum();
    let off: i128 = order
        .lines
        .iter()
        .filter_map(|line| {
            Some(
                Amount::of(line.unit_price.as_ref()?)
                    .times(cancelled(line))
                    .0,
            )
        })
        .sum();
    let differs = |goods: i128| (total - goods - beside).abs();
    let gone = order
        .lines
        .iter()
        .all(|line| cancelled(line) == line.quantity);
    (!order.lines.is_empty()).then(|| {
        let now = differs(was - off);
        if gone { now.min(differs(was)) } else { now }
    })
}

fn cancelled(line: &OrderLine) -> i64 {
    line.counters.as_ref().map_or(0, |it| it.cancelled)
}

#[cfg(test)]
mod tests {
    use countersign_proto::v1::LineCounters;

    use super::*;

    fn order(total: &str, cancelled: [i64; 2]) -> Order {
        let money = |text: &str| Amount::parse(text, '.').unwrap().money("GBP");
        let line = |price: &str, quantity, cancelled| OrderLine {
            quantity,
            unit_price: Some(money(price)),
            counters: Some(LineCounters {
                ordered: quantity,
                cancelled,
                ..LineCounters::default()
            }),
            ..OrderLine::default()
        };
        Order {
            total: Some(money(total)),
            freight: Some(money("3")),
            lines: vec![line("2.5", 4, cancelled[0]), line("1.1", 10, cancelled[1])],
            ..Order::default()
        }
    }

    #[test]
    fn the_total_agrees_with_what_is_left_of_the_goods() {
        let cent = 10_000_000;
        let cases = [
            (order("24", [0, 0]), Some(0)),
            (order("24.01", [0, 0]), Some(cent)),
            (order("20.1", [2, 0]), Some(110 * cent)),
            (order("19", [2, 0]), Some(0)),
            // all taken back line by line, or the whole order
            (order("3", [4, 10]), Some(0)),
            (order("24", [4, 10]), Some(0)),
            (Order::default(), None),
        ];
        for (order, expected) in cases {
            assert_eq!(difference(&order), expected, "{:?}", order.total);
        }
    }
}
