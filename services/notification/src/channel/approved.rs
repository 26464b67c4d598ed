//! Texts that a carrier sends only when it has approved them beforehand: which approved text stands for which message, and
//! the values that go into its gaps.
//!
//! Carriers in mainland China take no text of ours. They take the code of an approved text and values for its gaps, check
//! the length of each value, and may refuse an address in one. So the customer's link stands in the approved text up to
//! its last part (`https://shop.example/o/${token}`), and only the token of 22 characters is a value.

use std::collections::{BTreeMap, HashMap};

use super::{Outcome, Reason, ReasonCode};
use crate::template::{Locale, MessageKind};

/// What a message is about, beside its rendered text: the kind, the language and the values that an approved text may
/// have gaps for. Carriers that take our own text do not look at it.
#[derive(Clone, PartialEq, Eq)]
pub struct Particulars {
    /// What the message is about.
    pub kind: MessageKind,
    /// The customer's language.
    pub locale: Locale,
    /// By their names of [`VALUES`]; what the message does not have is left out. One line each, without hidden characters.
    pub values: BTreeMap<&'static str, String>,
}

/// Every value that an approved text may have a gap for. The link itself is not among them: see the module.
pub const VALUES: &[&str] = &[
    "carrier",
    "client_reference",
    "code",
    "company_name",
    "company_phone",
    "customer_name",
    "deadline",
    "delivered_time",
    "delivery_note_number",
    "link_token",
    "order",
    "order_number",
    "promised_time",
    "reason",
    "total",
    "window",
];

/// An approved text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApprovedText {
    /// The carrier's code of it.
    pub code: String,
    /// Its gaps: the carrier's name of each (a number where gaps are numbered), and our name of the value that fills it.
    pub gaps: Vec<(String, &'static str)>,
}

/// The approved texts of one account.
#[derive(Clone, Debug)]
pub struct ApprovedTexts {
    texts: HashMap<(MessageKind, Locale), ApprovedText>,
    /// Characters that one value may have.
    value_chars_max: usize,
}

/// An approved text with its gaps filled.
#[derive(PartialEq, Eq)]
pub struct Filled<'a> {
    /// The carrier's code of it.
    pub code: &'a str,
    /// The carrier's name of each gap, and what fills it.
    pub values: Vec<(&'a str, &'a str)>,
}

impl ApprovedTexts {
    /// The texts by what they are for.
    pub const fn new(
        texts: HashMap<(MessageKind, Locale), ApprovedText>,
        value_chars_max: usize,
    ) -> Self {
        Self {
            texts,
            value_chars_max,
        }
    }

    /// Fills the approved text for a message. What is refused here never reaches the carrier: the message goes on to the
    /// next channel.
    pub fn fill<'a>(&'a self, particulars: Option<&'a Particulars>) -> Result<Filled<'a>, Outcome> {
        let invalid =
            |text: String| Outcome::permanent(Reason::new(ReasonCode::MessageInvalid, text));
        let particulars = particulars.ok_or_else(|| {
            invalid("a text of our own cannot go to this carrier, only an approved one".to_owned())
        })?;
        let (kind, locale) = (particulars.kind, particulars.locale);
        let text = self.texts.get(&(kind, locale)).ok_or_else(|| {
            let tag = locale.tag();
            invalid(format!(
                "no approved text for {kind} in {tag} is configured"
            ))
        })?;
        let mut values = Vec::with_capacity(text.gaps.len());
        for (gap, name) in &text.gaps {
            let value = particulars
                .values
                .get(name)
                .map(String::as_str)
                .filter(|value| !value.is_empty())
                .ok_or_else(|| invalid(format!("{kind} has no {name} for the approved text")))?;
            if value.chars().count() > self.value_chars_max {
                let most = self.value_chars_max;
                return Err(invalid(format!(
                    "{name} is longer than the {most} characters of a gap"
                )));
            }
            if has_address(value) {
                return Err(invalid(format!(
                    "{name} holds a web address, which a gap may not"
                )));
            }
            values.push((gap.as_str(), value));
        }
        Ok(Filled {
            code: &text.code,
            values,
        })
    }
}

/// Our own spelling of a value's name.
pub fn value_name(name: &str) -> Option<&'static str> {
    VALUES.iter().copied().find(|known| *known == name)
}

/// Whether carriers would take this for a web address.
fn has_address(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.contains("://")
        || value.contains("www.")
        || value.split_whitespace().any(is_host_with_path)
}

/// `shop.example/o/k3` and the like.
fn is_host_with_path(word: &str) -> bool {
    let Some((host, _)) = word.split_once('/') else {
        return false;
    };
    host.rsplit_once('.').is_some_and(|(name, top)| {
        name.ends_with(|c: char| c.is_ascii_alphanumeric())
            && top.len() >= 2
            && top.bytes().all(|byte| byte.is_ascii_alphabetic())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> ApprovedTexts {
        let text = ApprovedText {
            code: "SMS_1".to_owned(),
            gaps: vec![
                ("no".to_owned(), "order"),
                ("who".to_owned(), "customer_name"),
            ],
        };
        let key = (MessageKind::ConfirmationRequest, Locale::ZhCn);
        ApprovedTexts::new(HashMap::from([(key, text)]), 35)
    }

    fn particulars(name: &str) -> Particulars {
        Particulars {
            kind: MessageKind::ConfirmationRequest,
            locale: Locale::ZhCn,
            values: BTreeMap::from([
                ("order", "CS-1".to_owned()),
                ("customer_name", name.to_owned()),
            ]),
        }
    }

    fn refusal(particulars: Option<&Particulars>) -> String {
        match texts().fill(particulars) {
            Err(Outcome::Permanent {
                reason,
                bad_recipient: false,
            }) => {
                assert_eq!(reason.code, ReasonCode::MessageInvalid);
                reason.text.into_owned()
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("not refused"),
        }
    }

    #[test]
    fn gaps_are_filled_in_their_sequence() {
        let texts = texts();
        let li = particulars("李伟");
        let Ok(filled) = texts.fill(Some(&li)) else {
            panic!("refused")
        };
        assert_eq!(filled.code, "SMS_1");
        assert_eq!(filled.values, [("no", "CS-1"), ("who", "李伟")]);
    }

    #[test]
    fn i_06_a_value_may_fill_its_gap_and_no_more() {
        assert!(texts().fill(Some(&particulars(&"字".repeat(35)))).is_ok());
        let text = refusal(Some(&particulars(&"字".repeat(36))));
        assert_eq!(
            text,
            "customer_name is longer than the 35 characters of a gap"
        );
        assert!(refusal(Some(&particulars(""))).contains("has no customer_name"));
    }

    #[test]
    fn i_06_an_address_in_a_value_is_refused_before_sending() {
        for name in [
            "http://evil.example",
            "HTTPS://x",
            "see WWW.evil.example",
            "evil.cn/x",
            "go to evil.example/?a",
        ] {
            let text = refusal(Some(&particulars(name)));
            assert_eq!(
                text,
                "customer_name holds a web address, which a gap may not"
            );
        }
        for name in ["Li Wei Co.,Ltd.", "CNY 3.50/box", "24/7", "A/B", "12:30"] {
            assert!(texts().fill(Some(&particulars(name))).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_message_without_an_approved_text_goes_to_the_next_channel() {
        let other = Particulars {
            locale: Locale::En,
            ..particulars("Li")
        };
        assert_eq!(
            refusal(Some(&other)),
            "no approved text for CONFIRMATION_REQUEST in en is configured"
        );
        assert!(refusal(None).contains("only an approved one"));
    }

    #[test]
    fn names_of_values_are_known_and_the_link_is_none_of_them() {
        assert_eq!(value_name("link_token"), Some("link_token"));
        assert_eq!(value_name("link"), None);
    }
}
