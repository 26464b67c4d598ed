//! Delivery status notifications (RFC 3464), read by mail-parser.

use countersign_domain::{ids::DeliveryId, reply::BounceKind, secrets::LinkKey};
use mail_parser::{HeaderName, HeaderValue, Message, MessageParser, MimeHeaders as _};

use super::{Told, given_up, read_status};

/// Headers in which mail servers keep the address that a message was delivered to.
const DELIVERED_TO: [&str; 5] = [
    "Delivered-To",
    "X-Original-To",
    "Envelope-To",
    "X-Envelope-To",
    "To",
];
/// Recipients of one report that are looked at. A letter of ours has one.
const RECIPIENTS_MAX: usize = 64;

/// Which letter of ours a message is about and what it says of it. None for whatever is not a report about a letter of
/// ours: an automatic reply, advertising, a report with a token that is not ours.
pub(super) fn read_report(bytes: &[u8], key: &LinkKey) -> Option<(DeliveryId, u32, Told)> {
    let message = MessageParser::default().parse(bytes)?;
    let (delivery, generation) = addressed(&message, key)?;
    let is_report = message.content_type().is_some_and(|kind| {
        kind.ctype().eq_ignore_ascii_case("multipart")
            && kind
                .subtype()
                .is_some_and(|it| it.eq_ignore_ascii_case("report"))
            && kind
                .attribute("report-type")
                .is_some_and(|it| it.eq_ignore_ascii_case("delivery-status"))
    });
    if !is_report {
        return None;
    }
    let status = message.parts.iter().find(|part| {
        part.content_type().is_some_and(|kind| {
            kind.ctype().eq_ignore_ascii_case("message")
                && kind
                    .subtype()
                    .is_some_and(|it| it.eq_ignore_ascii_case("delivery-status"))
        })
    })?;
    let told = worst(&String::from_utf8_lossy(status.contents()))?;
    Some((delivery, generation, told))
}

/// The message behind the address that this one came to.
fn addressed(message: &Message<'_>, key: &LinkKey) -> Option<(DeliveryId, u32)> {
    message
        .headers()
        .iter()
        .filter(|header| {
            DELIVERED_TO
                .iter()
                .any(|name| header.name().eq_ignore_ascii_case(name))
        })
        .find_map(|header| match (&header.name, &header.value) {
            (HeaderName::To, HeaderValue::Address(addresses)) => addresses
                .iter()
                .filter_map(|it| it.address())
                .find_map(|it| token(it, key)),
            (_, HeaderValue::Text(text)) => token(text, key),
            (_, HeaderValue::Address(addresses)) => addresses
                .iter()
                .filter_map(|it| it.address())
                .find_map(|it| token(it, key)),
            _ => None,
        })
}

/// What stands between plus sign and at sign, if it is a token of ours.
pub(super) fn token(address: &str, key: &LinkKey) -> Option<(DeliveryId, u32)> {
    let (local, _) = address.trim().trim_matches(['<', '>']).rsplit_once('@')?;
    let (_, token) = local.rsplit_once('+')?;
    key.read_bounce_token(token)
}

/// The worst that is said of any recipient.
fn worst(status: &str) -> Option<Told> {
    let mut told = Vec::new();
    // Blocks of fields, the first about the report itself.
    let text = status.replace("\r\n", "\n");
    for block in text.split("\n\n").take(RECIPIENTS_MAX) {
        let field = |name: &str| {
            block.lines().find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
            })
        };
        let Some(action) = field("Action") else {
            continue;
        };
        // Comments may follow.
        let word = |text: &str| {
            text.split([' ', '(', '\t'])
                .next()
                .unwrap_or_default()
                .to_ascii_lowercase()
        };
        let code = field("Status").and_then(|text| read_status(&word(text)));
        match word(action).as_str() {
            "failed" => told.push(given_up(code)),
            "delayed" => told.push(Told::new(BounceKind::Delayed, code)),
            _ => {}
        }
    }
    told.into_iter().max()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::testkit::bounce_report;

    fn key() -> LinkKey {
        LinkKey::new(&[7; 32]).unwrap()
    }

    fn id() -> DeliveryId {
        DeliveryId::from_uuid(Uuid::from_u128(77))
    }

    fn to() -> String {
        format!("bounce+{}@hua.example", key().bounce_token(id(), 2))
    }

    #[test]
    fn a_report_tells_its_letter_and_the_worst_of_what_it_says() {
        for (recipients, bounce, code) in [
            (&[("failed", "5.1.1")][..], BounceKind::BadAddress, "5.1.1"),
            (&[("failed", "5.7.1")], BounceKind::Failed, "5.7.1"),
            (&[("delayed", "4.4.1")], BounceKind::Delayed, "4.4.1"),
            (
                &[
                    ("delivered", "2.0.0"),
                    ("delayed", "4.4.1"),
                    ("failed", "5.1.1"),
                ],
                BounceKind::BadAddress,
                "5.1.1",
            ),
            (
                &[("Failed", "5.2.2 (mailbox full)"), ("relayed", "2.0.0")],
                BounceKind::Failed,
                "5.2.2",
            ),
        ] {
            let report = bounce_report(&to(), recipients);
            let (delivery, generation, told) = read_report(report.as_bytes(), &key()).unwrap();
            assert_eq!((delivery, generation), (id(), 2));
            assert_eq!((told.bounce, told.code.as_deref()), (bounce, Some(code)));
            // A mail server may end lines its own way, and shout.
            let unix = report.replace("\r\n", "\n");
            assert!(read_report(unix.as_bytes(), &key()).is_some());
            let shouted = report.replace(&to(), &to().to_ascii_uppercase());
            assert!(read_report(shouted.as_bytes(), &key()).is_some());
        }
    }

    #[test]
    fn e_16_a_report_without_a_token_of_ours_tells_nothing() {
        let forged = LinkKey::new(&[8; 32]).unwrap().bounce_token(id(), 2);
        for to in [
            "bounce@hua.example".to_owned(),
            format!("bounce+{forged}@hua.example"),
            format!("bounce+{}@hua.example", id()),
            String::new(),
        ] {
            let report = bounce_report(&to, &[("failed", "5.1.1")]);
            assert_eq!(read_report(report.as_bytes(), &key()), None, "{to}");
        }
        // The token counts where the message was delivered to, not where somebody quotes it.
        let quoted = bounce_report("bounce@hua.example", &[("failed", "5.1.1")])
            .replace("Subject: ", &format!("Subject: {} ", to()));
        assert_eq!(read_report(quoted.as_bytes(), &key()), None);
    }

    #[test]
    fn e_19_an_automatic_reply_is_no_report() {
        for kind in [
            "text/plain",
            "multipart/mixed; boundary=b",
            "multipart/report; report-type=disposition-notification; boundary=b",
        ] {
            let reply = format!(
                "Delivered-To: {}\r\nFrom: li.wei@customer.example\r\nAuto-Submitted: auto-replied\r\nSubject: yes, confirmed\r\nContent-Type: {kind}\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nYES 1\r\n--b--\r\n",
                to()
            );
            assert_eq!(read_report(reply.as_bytes(), &key()), None, "{kind}");
        }
    }

    #[test]
    fn i_11_no_bytes_make_the_reader_fail() {
        let report = bounce_report(&to(), &[("failed", "5.1.1")]).into_bytes();
        for end in 0..report.len() {
            read_report(&report[..end], &key());
            let mut bent = report.clone();
            bent[end] ^= 0xff;
            read_report(&bent, &key());
        }
        assert_eq!(read_report(b"", &key()), None);
        assert_eq!(read_report(&vec![b'('; 200_000], &key()), None);
        let deep = "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n".repeat(2_000);
        assert_eq!(read_report(deep.as_bytes(), &key()), None);
    }
}
