//! Which order a cancellation takes goods back from: the nearest earlier one of the same customer that still has enough
//! of the article; where none has enough alone, the nearest earlier ones together. Wholesalers' systems write
//! cancellations as invoices of their own that name no order.

use std::collections::{BTreeMap, HashMap};

use countersign_proto::v1;

use super::reading::moment;

/// Seconds since 1970.
type Seconds = i64;

/// Lines of one order with the same article.
#[derive(Debug)]
struct Bought {
    order: String,
    /// Line number and what is left of it.
    lines: Units,
}

impl Bought {
    fn left(&self) -> i64 {
        self.lines.iter().map(|(_, left)| left).sum()
    }

    /// Takes so much of what is left, from its first lines on.
    fn take(&mut self, wanted: i64) -> (String, Units) {
        let mut open = wanted;
        let mut taken = Vec::new();
        for (number, left) in &mut self.lines {
            let part = open.min(*left);
            if part > 0 {
                *left -= part;
                open -= part;
                taken.push((*number, part));
            }
        }
        (self.order.clone(), taken)
    }
}

/// What customers bought.
#[derive(Debug, Default)]
pub(crate) struct Purchases(HashMap<(String, String), BTreeMap<(Seconds, String), Bought>>);

/// A row of a cancellation that finds no order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unmatched {
    /// Index of the line in the cancellation.
    pub(crate) line: usize,
    /// Why not.
    pub(crate) reason: &'static str,
}

/// Line number and units.
type Units = Vec<(i32, i64)>;

/// Name of the order → what to take back of each line.
pub(crate) type Matches = BTreeMap<String, BTreeMap<i32, i64>>;

impl Purchases {
    /// Adds an order that was taken in under this name.
    pub(crate) fn add(&mut self, name: &str, order: &v1::Order) {
        for (number, line) in (1..).zip(&order.lines) {
            let key = (order.customer.clone(), line.sku.clone());
            let when = (placed(order), order.client_reference.clone());
            self.0
                .entry(key)
                .or_default()
                .entry(when)
                .or_insert_with(|| Bought {
                    order: name.to_owned(),
                    lines: Vec::new(),
                })
                .lines
                .push((number, line.quantity));
        }
    }

    /// Finds the orders that a cancellation takes goods back from, and takes the goods out of what is left.
    pub(crate) fn take_back(&mut self, cancellation: &v1::Order) -> (Matches, Vec<Unmatched>) {
        let mut matches = Matches::new();
        let mut unmatched = Vec::new();
        for (at, line) in cancellation.lines.iter().enumerate() {
            match self.take_line(cancellation, line) {
                Ok(parts) => {
                    for (order, lines) in parts {
                        let target = matches.entry(order).or_default();
                        for (number, quantity) in lines {
                            *target.entry(number).or_default() += quantity;
                        }
                    }
                }
                Err(reason) => unmatched.push(Unmatched { line: at, reason }),
            }
        }
        (matches, unmatched)
    }

    fn take_line(
        &mut self,
        cancellation: &v1::Order,
        line: &v1::OrderLine,
    ) -> Result<Vec<(String, Units)>, &'static str> {
        let wanted = line.quantity.saturating_neg();
        if wanted <= 0 {
            return Err("a cancellation needs a negative quantity");
        }
        if cancellation.customer.is_empty() {
            return Err("the cancellation names no customer");
        }
        let key = (cancellation.customer.clone(), line.sku.clone());
        let bought = self
            .0
            .get_mut(&key)
            .ok_or("the customer has no order with this article")?;
        // The empty reference sorts first: up to and including the second before it, plus everything in that second.
        let until = (placed(cancellation).saturating_add(1), String::new());
        let mut earlier: Vec<&mut Bought> =
            bought.range_mut(..until).rev().map(|(_, it)| it).collect();
        if earlier.is_empty() {
            return Err("the customer ordered this article only later");
        }
        if earlier.iter().map(|it| it.left()).sum::<i64>() < wanted {
            return Err("the earlier orders do not have that much of this article left");
        }
        if let Some(alone) = earlier.iter_mut().find(|it| it.left() >= wanted) {
            return Ok(vec![alone.take(wanted)]);
        }
        let mut open = wanted;
        let mut parts = Vec::new();
        for it in earlier {
            let part = open.min(it.left());
            if part > 0 {
                open -= part;
                parts.push(it.take(part));
            }
        }
        Ok(parts)
    }
}

fn placed(order: &v1::Order) -> Seconds {
    order
        .place_time
        .as_ref()
        .and_then(moment)
        .map_or(Seconds::MAX - 1, |time| time.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(reference: &str, day: i64, lines: &[(&str, i64)]) -> v1::Order {
        v1::Order {
            client_reference: reference.to_owned(),
            customer: "c".to_owned(),
            place_time: Some(prost_types::Timestamp {
                seconds: day * 86_400,
                nanos: 0,
            }),
            lines: lines
                .iter()
                .map(|(sku, quantity)| v1::OrderLine {
                    sku: (*sku).to_owned(),
                    quantity: *quantity,
                    ..v1::OrderLine::default()
                })
                .collect(),
            ..v1::Order::default()
        }
    }

    fn purchases() -> Purchases {
        let mut purchases = Purchases::default();
        purchases.add("orders/1", &order("1", 1, &[("a", 10), ("b", 5)]));
        purchases.add("orders/2", &order("2", 2, &[("a", 2), ("x", 1), ("a", 3)]));
        purchases.add("orders/3", &order("3", 9, &[("a", 99), ("late", 1)]));
        purchases
    }

    fn matched(order: &str, lines: &[(i32, i64)]) -> Matches {
        [(order.to_owned(), lines.iter().copied().collect())].into()
    }

    #[test]
    fn the_nearest_earlier_order_with_enough_left_is_found() {
        let mut purchases = purchases();

        // of order 2, over both of its lines
        let (matches, unmatched) = purchases.take_back(&order("C1", 5, &[("a", -4)]));
        assert_eq!(
            (matches, unmatched),
            (matched("orders/2", &[(1, 2), (3, 2)]), vec![])
        );
        // order 2 has one left, so it is order 1 …
        let (matches, _) = purchases.take_back(&order("C2", 5, &[("a", -2)]));
        assert_eq!(matches, matched("orders/1", &[(1, 2)]));
        // … while a single one still comes from order 2
        let (matches, _) = purchases.take_back(&order("C3", 5, &[("a", -1)]));
        assert_eq!(matches, matched("orders/2", &[(3, 1)]));
    }

    #[test]
    fn what_no_order_has_alone_comes_from_the_nearest_ones_together() {
        let mut purchases = purchases();
        let (matches, unmatched) = purchases.take_back(&order("C1", 5, &[("a", -12)]));

        assert_eq!(unmatched, []);
        assert_eq!(matches["orders/2"], [(1, 2), (3, 3)].into());
        assert_eq!(matches["orders/1"], [(1, 7)].into());
        // Not the later order 3, and three are left of the earlier ones.
        let (matches, unmatched) = purchases.take_back(&order("C2", 5, &[("a", -4)]));
        assert!(matches.is_empty());
        assert_eq!(unmatched.len(), 1);
    }

    #[test]
    fn lines_of_one_cancellation_may_go_to_several_orders() {
        let (matches, unmatched) = purchases().take_back(&order("C1", 5, &[("b", -5), ("x", -1)]));

        assert_eq!(unmatched, []);
        assert_eq!(matches["orders/1"], [(2, 5)].into());
        assert_eq!(matches["orders/2"], [(2, 1)].into());
    }

    #[test]
    fn what_finds_no_order_is_told_with_the_reason() {
        let mut purchases = purchases();
        let reason = |purchases: &mut Purchases, sku, quantity| {
            let (matches, unmatched) = purchases.take_back(&order("C", 5, &[(sku, quantity)]));
            assert!(matches.is_empty());
            unmatched[0].reason
        };
        assert_eq!(
            reason(&mut purchases, "z", -1),
            "the customer has no order with this article"
        );
        assert_eq!(
            reason(&mut purchases, "late", -1),
            "the customer ordered this article only later"
        );
        assert_eq!(
            reason(&mut purchases, "b", -6),
            "the earlier orders do not have that much of this article left"
        );
        assert_eq!(
            reason(&mut purchases, "b", 6),
            "a cancellation needs a negative quantity"
        );
        let nobody = v1::Order {
            customer: String::new(),
            ..order("C", 5, &[("b", -1)])
        };
        assert_eq!(
            purchases.take_back(&nobody).1[0].reason,
            "the cancellation names no customer"
        );
    }
}
