//! A small shop to try decisions in: reference data, orders and stock, all in memory.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    audit::{AuditInput, AuditRule, Duplicate, Finding, LineFacts, RuleSet, default_rules},
    catalog::{Product, ProductProfile},
    customer::{Customer, CustomerProfile},
    decide::{Given, NewLine, NewOrder},
    email::EmailAddress,
    ids::OrderId,
    line::{LineCounters, LineExtras, OrderLine},
    locale::{Locale, TimeZone},
    money::{Currency, Money},
    order::{
        Contact, Delivery, Order, OrderState, PaymentMethod, Progress, ShortagePolicy, Terms,
        TimeWindow, TransactionType,
    },
    phone::PhoneNumber,
    place::PostalAddress,
    policy::{OrderPolicy, default_policies},
    priority::Priority,
};

/// Noon of a day on which all these tests happen.
pub(crate) fn noon() -> DateTime<Utc> {
    "2026-11-23T12:00:00Z".parse().unwrap()
}

pub(crate) fn cny(minor: i64) -> Money {
    Money::new(minor, Currency::parse("CNY").unwrap())
}

pub(crate) fn policy(order_type: &str) -> OrderPolicy {
    default_policies()
        .into_iter()
        .find(|policy| policy.order_type == order_type)
        .unwrap()
}

pub(crate) fn address() -> PostalAddress {
    PostalAddress {
        region_code: "CN".into(),
        postal_code: "310000".into(),
        administrative_area: "浙江省".into(),
        locality: "杭州市".into(),
        address_lines: vec!["文一西路 969 号".into()],
        ..PostalAddress::default()
    }
}

pub(crate) fn terms() -> Terms {
    Terms {
        transaction_type: TransactionType::General,
        entered_by: "shop".into(),
        customer_tier: Some("B".into()),
        locale: Locale::parse("zh-CN").unwrap(),
        time_zone: TimeZone::parse("Asia/Shanghai").unwrap(),
        contact: Contact {
            display_name: "王芳".into(),
            email: Some(EmailAddress::parse("wang.fang@example.com").unwrap()),
            phone: Some(PhoneNumber::from_e164("+8613800138000").unwrap()),
            preferred_channel: None,
        },
        delivery: Delivery {
            address: address(),
            consignee: "王芳".into(),
            phone: None,
            requested_window: Some(TimeWindow {
                start: noon() + TimeDelta::days(2),
                end: noon() + TimeDelta::days(2) + TimeDelta::hours(4),
            }),
            wishes: String::new(),
        },
        payment_method: PaymentMethod::Prepaid,
        freight_minor: 1000,
        discount_minor: 500,
        shortage_policy: ShortagePolicy::WaitAll,
        annotations: BTreeMap::new(),
        place_time: None,
    }
}

pub(crate) fn new_line(sku: &str, quantity: i64, price_minor: i64) -> NewLine {
    NewLine {
        sku: sku.into(),
        goods_name: format!("goods {sku}"),
        specification: "500 ml, blue".into(),
        quantity,
        unit: "piece".into(),
        unit_price: cny(price_minor),
        extras: LineExtras::default(),
    }
}

/// What freight less discount of [`terms`] come to.
pub(crate) const FREIGHT_LESS_DISCOUNT: i64 = 500;

pub(crate) fn total_of(lines: &[NewLine]) -> Money {
    let goods: i64 = lines
        .iter()
        .map(|line| line.quantity * line.unit_price.minor)
        .sum();
    cny(goods + FREIGHT_LESS_DISCOUNT)
}

pub(crate) fn new_order(order_type: &str, lines: Vec<NewLine>) -> NewOrder {
    NewOrder {
        caller: "shop".into(),
        client_reference: "W-1".into(),
        order_type: order_type.into(),
        customer: "C-1".into(),
        source_channel: "web".into(),
        handler: Some("li.na".into()),
        total: total_of(&lines),
        promised_delivery_time: None,
        terms: terms(),
        lines,
        given: Given::default(),
    }
}

pub(crate) fn product(sku: &str) -> Arc<Product> {
    Arc::new(Product {
        sku: sku.into(),
        version: 1,
        profile: ProductProfile {
            display_name: format!("goods {sku}"),
            usual_quantity_max: 100,
            ..ProductProfile::default()
        },
    })
}

pub(crate) fn customer() -> Customer {
    Customer {
        code: "C-1".into(),
        version: 1,
        credit_limit: Some(cny(100_000)),
        credit_exposure_minor: 0,
        blocked: false,
        profile: CustomerProfile {
            tier: Some("B".into()),
            ..CustomerProfile::default()
        },
    }
}

/// An order in which no default rule finds anything, with all that is known about it. A test breaks what it is about.
pub(crate) struct Case {
    pub(crate) order: Order,
    pub(crate) customer: Option<Customer>,
    pub(crate) policy: OrderPolicy,
    pub(crate) lines: Vec<LineFacts>,
    pub(crate) duplicate_of: Option<Duplicate>,
    pub(crate) now: DateTime<Utc>,
}

impl Case {
    /// Three lines of goods that are listed and in stock.
    pub(crate) fn clean(order_type: &str) -> Self {
        let lines = vec![
            new_line("TEA", 2, 4500),
            new_line("CUP", 4, 1250),
            new_line("POT", 1, 19900),
        ];
        let total = total_of(&lines);
        let order_lines: Vec<OrderLine> = (1_u32..)
            .zip(&lines)
            .map(|(line_number, line)| OrderLine {
                line_number,
                sku: line.sku.clone(),
                goods_name: line.goods_name.clone(),
                specification: line.specification.clone(),
                unit: line.unit.clone(),
                unit_price: line.unit_price,
                extras: LineExtras {
                    customization: "engraved".into(),
                    ..LineExtras::default()
                },
                warehouse: Some("HZ".into()),
                counters: LineCounters {
                    ordered: line.quantity,
                    reserved: line.quantity,
                    ..LineCounters::default()
                },
            })
            .collect();
        let policy = policy(order_type);
        Self {
            lines: lines
                .iter()
                .map(|line| LineFacts {
                    product: Some(product(&line.sku)),
                    list_price: Some(line.unit_price),
                    stocked: true,
                    available: 1000,
                })
                .collect(),
            order: Order {
                id: OrderId::from_uuid("019aa000-0000-7000-8000-000000000001".parse().unwrap()),
                caller: "shop".into(),
                client_reference: "W-1".into(),
                order_number: None,
                revision: 1,
                version: 0,
                state: OrderState::Received,
                order_type: order_type.into(),
                policy_version: policy.identity(),
                customer: "C-1".into(),
                source_channel: "web".into(),
                handler: Some("li.na".into()),
                total,
                priority: Priority::default(),
                promised_delivery_time: None,
                terms: terms(),
                progress: Progress::default(),
                lines: order_lines,
                create_time: noon(),
                update_time: noon(),
                confirm_time: None,
                deliver_time: None,
            },
            customer: Some(customer()),
            policy,
            duplicate_of: None,
            now: noon(),
        }
    }

    pub(crate) fn input(&self) -> AuditInput<'_> {
        AuditInput {
            order: &self.order,
            customer: self.customer.as_ref(),
            policy: &self.policy,
            lines: &self.lines,
            duplicate_of: self.duplicate_of,
            now: self.now,
        }
    }

    /// What the default rules find.
    pub(crate) fn findings(&self) -> Vec<Finding> {
        self.findings_of(&default_rules())
    }

    pub(crate) fn findings_of(&self, rules: &[AuditRule]) -> Vec<Finding> {
        RuleSet::compile(rules).unwrap().evaluate(&self.input())
    }

    /// Ids of the rules that find something, each once.
    pub(crate) fn broken(&self) -> Vec<String> {
        let mut rules: Vec<String> = self
            .findings()
            .into_iter()
            .map(|finding| finding.rule)
            .collect();
        rules.dedup();
        rules
    }
}
