//! The delivery note as a page to print on A4, in English and Chinese.

use chrono::{DateTime, Utc};
use countersign_domain::{
    document::DeliveryNote,
    money::Money,
    order::{Order, TimeWindow},
    place::PostalAddress,
};
use countersign_runtime::config::Company;
use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value, context, value::Serde};

const PAGE: &str = "delivery_note.html";

/// The template with its words, read once.
#[derive(Debug)]
pub(super) struct NotePages {
    environment: Environment<'static>,
    english: Value,
    chinese: Value,
    company: Vec<String>,
}

impl NotePages {
    pub(super) fn load(company: &Company) -> anyhow::Result<Self> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::Html);
        environment.add_template(PAGE, include_str!("../../templates/delivery_note.html"))?;
        let words = |text| -> anyhow::Result<Value> {
            let words: serde_json::Value = serde_json::from_str(text)?;
            Ok(Value::from(Serde(words)))
        };
        Ok(Self {
            environment,
            english: words(include_str!("../../templates/delivery_note.en.json"))?,
            chinese: words(include_str!("../../templates/delivery_note.zh-CN.json"))?,
            company: contacts(company),
        })
    }

    /// A whole HTML page; `language` is a `template_locale()`. Times are told in the customer's zone.
    pub(super) fn render(
        &self,
        note: &DeliveryNote,
        order: &Order,
        language: &str,
    ) -> Result<String, minijinja::Error> {
        let words = if language == "zh-CN" {
            &self.chinese
        } else {
            &self.english
        };
        let lines: Vec<Value> = note
            .lines
            .iter()
            .map(|line| Value::from(Serde(line.clone())))
            .collect();
        let delivery = &note.delivery;
        let collect = Money::new(note.collect_minor, note.total.currency);
        let note = context! {
            number => format!("{}-{}", note.order_number, note.revision),
            order_number => note.order_number.to_string(),
            superseded => note.revision < order.revision,
            consignee => delivery.consignee.clone(),
            phone => phone_of(note, order),
            address => address(&delivery.address),
            window => delivery.requested_window.map(|window| told_window(window, order)),
            promised => note.promised_delivery_time.map(|moment| told(moment, order)),
            wishes => delivery.wishes.clone(),
            payment_method => note.payment_method.as_str(),
            total => note.total.to_string(),
            collect => (!collect.is_zero()).then(|| collect.to_string()),
            lines => lines,
            created => told(note.create_time, order),
            time_zone => order.terms.time_zone.name(),
        };
        self.environment
            .get_template(PAGE)?
            .render(context! { words, note, company => self.company.clone() })
    }
}

/// Name, telephone number and mail address of the company, as far as they are configured.
pub(super) fn contacts(company: &Company) -> Vec<String> {
    [
        Some(&company.name),
        company.phone.as_ref(),
        company.email.as_ref(),
    ]
    .into_iter()
    .flatten()
    .filter(|line| !line.is_empty())
    .cloned()
    .collect()
}

/// The number at the place of delivery, else the contact's; empty when there is none.
pub(super) fn phone_of(note: &DeliveryNote, order: &Order) -> String {
    note.delivery
        .phone
        .as_ref()
        .or(order.terms.contact.phone.as_ref())
        .map(|phone| phone.as_e164().to_owned())
        .unwrap_or_default()
}

fn told(moment: DateTime<Utc>, order: &Order) -> String {
    moment
        .with_timezone(&order.terms.time_zone.tz())
        .format("%Y-%m-%d %H:%M")
        .to_string()
}

fn told_window(window: TimeWindow, order: &Order) -> String {
    format!(
        "{} – {}",
        told(window.start, order),
        told(window.end, order)
    )
}

fn address(address: &PostalAddress) -> Vec<String> {
    let place = [
        address.postal_code.as_str(),
        &address.administrative_area,
        &address.locality,
        &address.sublocality,
    ];
    let place: Vec<&str> = place.into_iter().filter(|it| !it.is_empty()).collect();
    std::iter::once(address.organization.clone())
        .chain(address.address_lines.iter().cloned())
        .chain([place.join(" "), address.region_code.clone()])
        .filter(|line| !line.is_empty())
        .collect()
}
