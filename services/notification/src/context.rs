//! From an order to what a message says about it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use countersign_domain::{
    confirmation::{ConfirmationMode, Round},
    event::MessageKind,
    ids::OrderId,
    message::Delivery,
    money::Money,
    order::{Order, PaymentMethod, TimeWindow},
    place::PostalAddress,
    secrets::{LinkKey, token_hash},
};
use countersign_runtime::config::Company;
use countersign_store::{FIRST_GENERATION, Store, StoreError};

use crate::template::{CompanyText, LineText, Locale, MessageContext, Silence, TotalsText};

/// What every message has in common.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) link_key: LinkKey,
    /// Without a slash at its end.
    pub(crate) public_url: String,
    pub(crate) company: Company,
}

impl Writer {
    /// The tokens of links that were made with a key which makes none any more: the page knows an order by the link that it
    /// was given when it came in. Nothing is asked while there is only one key.
    pub(crate) async fn older_links(
        &self,
        store: &Store,
        orders: &HashSet<OrderId>,
    ) -> Result<HashMap<OrderId, String>, StoreError> {
        if !self.link_key.is_being_changed() {
            return Ok(HashMap::new());
        }
        let mut tokens: HashMap<[u8; 32], String> = HashMap::new();
        for key in self.link_key.each().skip(1) {
            tokens.extend(orders.iter().map(|order| {
                let token = key.link_token(*order, FIRST_GENERATION);
                (token_hash(&token), token)
            }));
        }
        let hashes: Vec<[u8; 32]> = tokens.keys().copied().collect();
        let known = store.find_orders_by_links(&hashes).await?;
        Ok(known
            .into_iter()
            .filter_map(|(hash, order)| Some((order, tokens.remove(&hash)?)))
            .collect())
    }

    /// The customer's order page. `known` is the token of one of [`Self::older_links`].
    fn link(&self, order: &Order, known: Option<&str>) -> String {
        let made = || self.link_key.link_token(order.id, FIRST_GENERATION);
        let token = known.map_or_else(made, str::to_owned);
        format!("{}/o/{token}", self.public_url)
    }

    /// The address that stops letters to the recipient by one click; none while the pages are not behind HTTPS, which
    /// one-click demands.
    pub(crate) fn unsubscribe_link(&self, delivery: &Delivery) -> Option<String> {
        let token = self.link_key.unsubscribe_token(&delivery.recipient_hash);
        self.public_url
            .starts_with("https://")
            .then(|| format!("{}/u/{token}", self.public_url))
    }

    /// Everything that the templates may say. `round` is the one that the delivery asks for, `older_link` one of
    /// [`Self::older_links`].
    pub(crate) fn context(
        &self,
        delivery: &Delivery,
        order: &Order,
        round: Option<&Round>,
        older_link: Option<&str>,
    ) -> MessageContext {
        let locale = language(order);
        let time = |moment: DateTime<Utc>| told(moment, order);
        let reasons = &delivery.details.reasons;
        MessageContext {
            order_number: order.order_number.as_ref().map(ToString::to_string),
            client_reference: Some(order.client_reference.clone()),
            customer_name: order.terms.contact.display_name.clone(),
            lines: lines(order),
            totals: Some(totals(order, locale)),
            address: address(
                &order.terms.delivery.address,
                &order.terms.delivery.consignee,
            ),
            window: order
                .terms
                .delivery
                .requested_window
                .map(|window| told_window(window, order)),
            promised_time: order.promised_delivery_time.map(time),
            delivered_time: order.deliver_time.map(time),
            deadline: round.map(|round| time(round.expire_time)),
            silence: round.map(|round| match round.mode {
                ConfirmationMode::Tacit => Silence::Confirms,
                ConfirmationMode::Explicit => Silence::Expires,
            }),
            link: Some(self.link(order, older_link)),
            code: round.map(|round| {
                self.link_key
                    .stored_code(order.id, round.round, &round.code_hash)
            }),
            reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
            delivery_note_number: (delivery.kind == MessageKind::OrderConfirmed)
                .then(|| {
                    let number = order.order_number.as_ref()?;
                    Some(format!("{number}-{}", order.revision))
                })
                .flatten(),
            carrier: None,
            company: CompanyText {
                name: self.company.name.clone(),
                phone: self.company.phone.clone().unwrap_or_default(),
            },
        }
    }
}

/// The language that the customer is written to in.
pub(crate) fn language(order: &Order) -> Locale {
    Locale::nearest(order.terms.locale.as_str())
}

/// A moment in the customer's zone.
fn told(moment: DateTime<Utc>, order: &Order) -> String {
    moment
        .with_timezone(&order.terms.time_zone.tz())
        .format("%Y-%m-%d %H:%M")
        .to_string()
}

fn told_window(window: TimeWindow, order: &Order) -> String {
    let tz = order.terms.time_zone.tz();
    let (start, end) = (
        window.start.with_timezone(&tz),
        window.end.with_timezone(&tz),
    );
    let end_format = if start.date_naive() == end.date_naive() {
        "%H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    format!(
        "{} – {}",
        start.format("%Y-%m-%d %H:%M"),
        end.format(end_format)
    )
}

fn lines(order: &Order) -> Vec<LineText> {
    order
        .lines
        .iter()
        .filter(|line| line.counters.wanted() > 0)
        .map(|line| {
            let quantity = line.counters.wanted();
            LineText {
                goods_name: line.goods_name.clone(),
                specification: Some(line.specification.clone()).filter(|text| !text.is_empty()),
                quantity: format!("{quantity} {}", line.unit).trim().to_owned(),
                unit_price: Some(line.unit_price.to_string()),
                amount: line
                    .unit_price
                    .checked_mul(quantity)
                    .ok()
                    .map(|amount| amount.to_string()),
            }
        })
        .collect()
}

fn totals(order: &Order, locale: Locale) -> TotalsText {
    let money = |minor: i64| Money::new(minor, order.total.currency).to_string();
    let terms = &order.terms;
    let goods = order
        .total
        .minor
        .checked_sub(terms.freight_minor)
        .and_then(|minor| minor.checked_add(terms.discount_minor));
    TotalsText {
        goods: goods.map(money),
        delivery: (terms.freight_minor != 0).then(|| money(terms.freight_minor)),
        discount: (terms.discount_minor != 0).then(|| money(terms.discount_minor)),
        total: order.total.to_string(),
        payment: Some(payment(terms.payment_method, locale).to_owned()),
    }
}

const fn payment(method: PaymentMethod, locale: Locale) -> &'static str {
    match (method, locale) {
        (PaymentMethod::Prepaid, Locale::En) => "prepaid",
        (PaymentMethod::Prepaid, Locale::ZhCn) => "已预付",
        (PaymentMethod::CashOnDelivery, Locale::En) => "cash on delivery",
        (PaymentMethod::CashOnDelivery, Locale::ZhCn) => "货到付款",
        (PaymentMethod::OnAccount, Locale::En) => "on account",
        (PaymentMethod::OnAccount, Locale::ZhCn) => "挂账月结",
        (PaymentMethod::Card, Locale::En) => "card",
        (PaymentMethod::Card, Locale::ZhCn) => "银行卡",
        (PaymentMethod::BankTransfer, Locale::En) => "bank transfer",
        (PaymentMethod::BankTransfer, Locale::ZhCn) => "银行转账",
        (PaymentMethod::Voucher, Locale::En) => "voucher",
        (PaymentMethod::Voucher, Locale::ZhCn) => "代金券",
    }
}

fn address(address: &PostalAddress, consignee: &str) -> Vec<String> {
    let place = [
        address.postal_code.as_str(),
        &address.administrative_area,
        &address.locality,
        &address.sublocality,
    ];
    let place: Vec<&str> = place.into_iter().filter(|it| !it.is_empty()).collect();
    std::iter::once(consignee.to_owned())
        .chain(std::iter::once(address.organization.clone()))
        .chain(address.address_lines.iter().cloned())
        .chain([place.join(" "), address.region_code.clone()])
        .filter(|line| !line.is_empty())
        .collect()
}
