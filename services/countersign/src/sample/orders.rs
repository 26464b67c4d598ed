//! The sample's orders: number N is the same each time.

use countersign_proto::v1::{Delivery, Order, OrderLine, PaymentMethod, ShortagePolicy};

use super::{
    parts::{contact, customized, line_of},
    play::{COURSES, Player},
};
use crate::import::{orders::price_of, reading::Amount};

impl Player<'_> {
    /// Order number `number`, the same each time.
    pub(super) fn order(&self, number: u32) -> Order {
        let course = number % COURSES;
        // A course of its own sends an earlier order again under another number.
        let like = if course == 13 { number - 11 } else { number };
        let at = like as usize;
        // A course of its own orders once more for the customer before.
        let whose = if course == 21 { at - 1 } else { at };
        let customer = &self.shop.customers[(whose * 3 + whose / 40) % self.shop.customers.len()];
        let currency = customer
            .credit_limit
            .as_ref()
            .map(|it| it.currency_code.as_str())
            .unwrap_or_default();
        let articles = self
            .shop
            .articles
            .get(currency)
            .map(Vec::as_slice)
            .unwrap_or_default();
        // The last article runs out, so that the others do not.
        let (scarce, articles) = articles
            .split_last()
            .map_or((None, articles), |(last, rest)| (Some(last), rest));
        let mut lines: Vec<OrderLine> = (0..=at % 3)
            .filter_map(|line| articles.get((at * 7 + line * 5 + at / 120) % articles.len().max(1)))
            .zip(1..)
            .map(|(article, nth)| line_of(article, 1 + i64::from(like / 120 + nth) % 4))
            .collect();
        let many = match course {
            10 | 14 | 15 => 30_000,
            16 => 300,
            _ => 0,
        };
        if course == 15 {
            lines.truncate(1);
        }
        if let Some(article) = scarce.filter(|_| many > 0) {
            lines.pop();
            lines.push(line_of(article, many));
        }
        if course == 14
            && let Some(article) = articles.first()
        {
            lines.insert(0, line_of(article, 1));
        }
        let goods: i128 = lines.iter().map(price_of).sum();
        let off = if course == 11 { 1_000_000_000 } else { 0 };
        let mut address = customer.address.clone().unwrap_or_default();
        if course == 12 {
            address.address_lines.clear();
            "0".clone_into(&mut address.postal_code);
        }
        let wholesale = matches!(course, 16 | 17);
        Order {
            client_reference: format!("SAMPLE-{number:05}"),
            order_type: match course {
                16 | 17 => "WHOLESALE",
                18 => "CUSTOM",
                4 => "STORE",
                _ => "ECOMMERCE",
            }
            .to_owned(),
            source_channel: ["web", "app", "phone", "store"][at % 4].to_owned(),
            customer: customer.name.clone(),
            contact: Some(contact(customer)),
            lines: lines
                .into_iter()
                .map(|line| customized(line, course == 18))
                .collect(),
            delivery: Some(Delivery {
                address: Some(address),
                wishes: customer.unloading_conditions.clone(),
                ..Delivery::default()
            }),
            payment_method: if wholesale {
                PaymentMethod::OnAccount
            } else {
                PaymentMethod::Card
            }
            .into(),
            total: Some(Amount(goods + off).money(currency)),
            shortage_policy: match course {
                14 => ShortagePolicy::PartialNow.into(),
                15 => ShortagePolicy::WaitAll.into(),
                _ => 0,
            },
            ..Order::default()
        }
    }
}
