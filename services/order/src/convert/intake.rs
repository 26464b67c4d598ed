//! Orders on their way in: every field checked for itself, everything that is wrong named at once.

mod lines;

use countersign_domain::{
    decide::{Given, NewOrder},
    email::EmailAddress,
    locale::{Locale, TimeZone},
    money::{Currency, Money},
    order::{Channel, Contact, Delivery, PaymentMethod, ShortagePolicy, Terms, TransactionType},
    phone::PhoneNumber,
    place::{CountryCode, PostalAddress},
    text::{Key, TextKind, checked_text},
};
use countersign_proto::v1;

pub(crate) use lines::lines;

use super::{money, place, time, word};
use crate::error::Violations;

/// Entries and characters of annotations at most.
const ANNOTATIONS_MAX: usize = 64;
const ANNOTATION_CHARS_MAX: usize = 1_024;

/// What the checks need to know besides the order.
pub(crate) struct Sender<'a> {
    /// Who calls.
    pub(crate) caller: &'a str,
    /// Country of phone numbers without one, where the address names none.
    pub(crate) default_region: Option<CountryCode>,
}

/// Checks an order; what is wrong stands in `violations`, each under `path`.
pub(crate) fn new_order(
    order: &v1::Order,
    path: &str,
    sender: &Sender<'_>,
    violations: &mut Violations,
) -> Option<NewOrder> {
    let at = |field: &str| format!("{path}.{field}");
    let client_reference = key(&order.client_reference, &at("client_reference"), violations);
    let order_type = key(&order.order_type, &at("order_type"), violations);
    let customer = order
        .customer
        .strip_prefix("customers/")
        .unwrap_or(&order.customer);
    let customer = key(customer, &at("customer"), violations);
    let source_channel = short(
        &order.source_channel,
        1,
        32,
        &at("source_channel"),
        violations,
    );
    let handler = short(&order.handler, 0, 64, &at("handler"), violations);
    let total = match &order.total {
        Some(total) => amount(total, &at("total"), violations),
        None => violations.require(at("total"), None),
    };
    let currency = total.map(|total| total.currency);
    let (terms, given) = terms(order, path, currency, sender, violations);
    let lines = lines(&order.lines, &at("lines"), currency, violations);
    let promised_delivery_time = order
        .promised_delivery_time
        .as_ref()
        .and_then(|promised| time::from_proto(promised, &at("promised_delivery_time"), violations));
    Some(NewOrder {
        caller: sender.caller.to_owned(),
        client_reference: client_reference?,
        order_type: order_type?,
        customer: customer?,
        source_channel: source_channel?,
        handler: handler.filter(|handler| !handler.is_empty()),
        total: total?,
        promised_delivery_time,
        terms: terms?,
        lines: lines?,
        given,
    })
}

/// Everything but the lines and the total. None when something was wrong.
pub(crate) fn terms(
    order: &v1::Order,
    path: &str,
    currency: Option<Currency>,
    sender: &Sender<'_>,
    violations: &mut Violations,
) -> (Option<Terms>, Given) {
    let at = |field: &str| format!("{path}.{field}");
    let entered_by = short(&order.entered_by, 0, 64, &at("entered_by"), violations);
    let transaction_type = match order.transaction_type {
        0 => Some(TransactionType::General),
        value => {
            word::from_proto::<v1::TransactionType, _>(value, &at("transaction_type"), violations)
        }
    };
    let payment_method = word::from_proto::<v1::PaymentMethod, PaymentMethod>(
        order.payment_method,
        &at("payment_method"),
        violations,
    );
    let shortage = match order.shortage_policy {
        0 => Some(ShortagePolicy::WaitAll),
        value => {
            word::from_proto::<v1::ShortagePolicy, _>(value, &at("shortage_policy"), violations)
        }
    };
    let delivery = match &order.delivery {
        Some(delivery) => self::delivery(delivery, order, &at("delivery"), sender, violations),
        None => violations.require(at("delivery"), None),
    };
    let country = delivery
        .as_ref()
        .and_then(|delivery| delivery.address.country())
        .or(sender.default_region);
    let contact = match &order.contact {
        Some(contact) => self::contact(contact, &at("contact"), country, violations),
        None => violations.require(at("contact"), None),
    };
    let locale = if order.locale.is_empty() {
        Some(country.map_or_else(Locale::english, |country| country.default_locale()))
    } else {
        violations.take(at("locale"), Locale::parse(&order.locale))
    };
    let time_zone = if order.time_zone.is_empty() {
        Some(country.map_or(TimeZone::UTC, |country| country.default_time_zone()))
    } else {
        violations.take(at("time_zone"), TimeZone::parse(&order.time_zone))
    };
    let freight = part_of_total(order.freight.as_ref(), &at("freight"), currency, violations);
    let discount = part_of_total(
        order.discount.as_ref(),
        &at("discount"),
        currency,
        violations,
    );
    let annotations_fit = annotations(order, &at("annotations"), violations);
    let place_time = order
        .place_time
        .as_ref()
        .and_then(|placed| time::from_proto(placed, &at("place_time"), violations));
    let given = Given {
        locale: !order.locale.is_empty(),
        time_zone: !order.time_zone.is_empty(),
        shortage_policy: order.shortage_policy != 0,
    };
    let terms = (|| {
        Some(Terms {
            transaction_type: transaction_type?,
            entered_by: entered_by?,
            customer_tier: None,
            locale: locale?,
            time_zone: time_zone?,
            contact: contact?,
            delivery: delivery?,
            payment_method: payment_method?,
            freight_minor: freight?,
            discount_minor: discount?,
            shortage_policy: shortage?,
            annotations: annotations_fit.then(|| order.annotations.clone())?,
            place_time,
        })
    })();
    (terms, given)
}

fn contact(
    contact: &v1::Contact,
    path: &str,
    country: Option<CountryCode>,
    violations: &mut Violations,
) -> Option<Contact> {
    let display_name = short(
        &contact.display_name,
        1,
        200,
        &format!("{path}.display_name"),
        violations,
    );
    let email = optional(&contact.email, |text| {
        violations.take(format!("{path}.email"), EmailAddress::parse(text))
    });
    let phone = optional(&contact.phone, |text| {
        violations.take(format!("{path}.phone"), PhoneNumber::parse(text, country))
    });
    let preferred = match contact.preferred_channel {
        0 => Some(None),
        value => word::from_proto::<v1::Channel, Channel>(
            value,
            &format!("{path}.preferred_channel"),
            violations,
        )
        .map(Some),
    };
    Some(Contact {
        display_name: display_name?,
        email: email?,
        phone: phone?,
        preferred_channel: preferred?,
    })
}

fn delivery(
    delivery: &v1::Delivery,
    order: &v1::Order,
    path: &str,
    sender: &Sender<'_>,
    violations: &mut Violations,
) -> Option<Delivery> {
    let address = match &delivery.address {
        Some(address) => place::from_proto(address, &format!("{path}.address"), violations),
        None => violations.require(format!("{path}.address"), None),
    };
    let country = address
        .as_ref()
        .and_then(PostalAddress::country)
        .or(sender.default_region);
    let consignee = if delivery.consignee.is_empty() {
        order
            .contact
            .as_ref()
            .map(|contact| contact.display_name.clone())
            .or_else(|| Some(String::new()))
    } else {
        short(
            &delivery.consignee,
            1,
            200,
            &format!("{path}.consignee"),
            violations,
        )
    };
    let phone = optional(&delivery.phone, |text| {
        violations.take(format!("{path}.phone"), PhoneNumber::parse(text, country))
    });
    let window = match &delivery.requested_window {
        Some(window) => {
            time::window_from_proto(window, &format!("{path}.requested_window"), violations)
                .map(Some)
        }
        None => Some(None),
    };
    let wishes = violations.take(
        format!("{path}.wishes"),
        checked_text(&delivery.wishes, 0, 1_000, TextKind::MultiLine),
    );
    Some(Delivery {
        address: address?,
        consignee: consignee?,
        phone: phone?,
        requested_window: window?,
        wishes: wishes?,
    })
}

/// A key of ours or the sender's: 1 to 64 characters, no white space at the ends.
pub(crate) fn key(text: &str, field: &str, violations: &mut Violations) -> Option<String> {
    violations
        .take(field, Key::parse(text))
        .map(|key| key.as_str().to_owned())
}

/// A text of one line.
pub(crate) fn short(
    text: &str,
    min: usize,
    max: usize,
    field: &str,
    violations: &mut Violations,
) -> Option<String> {
    violations.take(field, checked_text(text, min, max, TextKind::SingleLine))
}

/// An amount that is not negative.
pub(crate) fn amount(
    value: &countersign_proto::common::Money,
    field: &str,
    violations: &mut Violations,
) -> Option<Money> {
    let money = money::from_proto(value, field, violations)?;
    if money.is_negative() {
        violations.add(field, "must not be negative");
        return None;
    }
    Some(money)
}

/// Freight or discount, minor units of the total's currency; zero when left out.
fn part_of_total(
    part: Option<&countersign_proto::common::Money>,
    field: &str,
    currency: Option<Currency>,
    violations: &mut Violations,
) -> Option<i64> {
    let Some(part) = part else { return Some(0) };
    let part = amount(part, field, violations)?;
    same_currency(Some(part), currency, field, violations);
    Some(part.minor)
}

fn same_currency(
    money: Option<Money>,
    currency: Option<Currency>,
    field: &str,
    violations: &mut Violations,
) {
    if let (Some(money), Some(currency)) = (money, currency)
        && money.currency != currency
    {
        violations.add(
            field,
            format!("must be in {}, the currency of the total", currency.code()),
        );
    }
}

fn annotations(order: &v1::Order, path: &str, violations: &mut Violations) -> bool {
    let before = violations.len();
    if order.annotations.len() > ANNOTATIONS_MAX {
        violations.add(path, format!("must be at most {ANNOTATIONS_MAX} entries"));
    }
    for (name, value) in order.annotations.iter().take(ANNOTATIONS_MAX) {
        let field = format!("{path}[{:?}]", name.chars().take(64).collect::<String>());
        violations.take(
            field.as_str(),
            checked_text(name, 1, 64, TextKind::SingleLine),
        );
        violations.take(
            field.as_str(),
            checked_text(value, 0, ANNOTATION_CHARS_MAX, TextKind::MultiLine),
        );
    }
    violations.len() == before
}

/// Nothing when empty, else what the check says; the outer option is whether it may go on.
#[expect(clippy::option_option, reason = "absent is right, wrong is not")]
fn optional<T>(text: &str, check: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() {
        Some(None)
    } else {
        check(text).map(Some)
    }
}
