//! Makes the bytes of a letter. The same message gives the same bytes on every attempt, so that whoever deduplicates
//! by Message-ID or content can.
//!
//! lettre builds the MIME structure. Both bodies are base64: whatever the text holds, a line is never too long, never
//! begins with a dot and never carries a bare CR or LF. The finished bytes are checked all the same.

use lettre::{
    Address, Message,
    address::Envelope,
    message::{
        Mailbox, MultiPart, SinglePart,
        header::{ContentTransferEncoding, ContentType, HeaderName, HeaderValue},
    },
};
use secrecy::ExposeSecret;
use std::time::{Duration, SystemTime};

use countersign_domain::{ids::DeliveryId, secrets::LinkKey};

use super::{EmailContent, Outgoing, Reason, ReasonCode, dkim::DkimSigner};

/// Longest line without its end (RFC 5322).
const MAX_LINE: usize = 998;

/// Who writes, as it stands in every letter.
pub(crate) struct Letterhead {
    pub(crate) from: Mailbox,
    pub(crate) reply_to: Option<Mailbox>,
    pub(crate) bounce: Option<BounceAddress>,
    pub(crate) message_domain: String,
    pub(crate) dkim: Option<DkimSigner>,
}

/// Where letters come back to that cannot be delivered.
pub(crate) struct BounceAddress {
    pub(crate) address: Address,
    pub(crate) key: LinkKey,
}

/// A letter ready for the wire.
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) to: String,
    /// Without angle brackets.
    pub(crate) message_id: String,
    /// Dot-stuffed, with the final dot.
    pub(crate) data: Vec<u8>,
}

/// Why no letter can be made.
pub(crate) struct LetterError {
    pub(crate) reason: Reason,
    pub(crate) bad_recipient: bool,
}

impl LetterError {
    fn recipient(code: ReasonCode, text: &'static str) -> Self {
        Self {
            reason: Reason::new(code, text),
            bad_recipient: true,
        }
    }

    fn content(text: &'static str) -> Self {
        Self {
            reason: Reason::new(ReasonCode::MessageInvalid, text),
            bad_recipient: false,
        }
    }
}

impl Letterhead {
    /// Writes the letter.
    pub(crate) fn write(
        &self,
        outgoing: &Outgoing,
        content: &EmailContent,
    ) -> Result<Letter, LetterError> {
        let to = recipient(outgoing.to.expose_secret())?;
        let from = self.envelope_from(outgoing)?;
        let message_id = format!(
            "{}.{}@{}",
            outgoing.message_id, outgoing.generation, self.message_domain
        );
        let envelope = Envelope::new(Some(from.clone()), vec![to.clone()])
            .map_err(|_| LetterError::content("the envelope cannot be made"))?;
        let mut builder = Message::builder()
            .envelope(envelope)
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(&content.subject)
            .date(date(outgoing))
            .message_id(Some(format!("<{message_id}>")))
            .raw_header(header("Auto-Submitted", "auto-generated"))
            .raw_header(header(
                "Feedback-ID",
                &format!("{}:{}:countersign", content.kind, self.message_domain),
            ));
        if let Some(reply_to) = &self.reply_to {
            builder = builder.reply_to(reply_to.clone());
        }
        if let Some(url) = &content.unsubscribe {
            if !is_header_url(url) {
                return Err(LetterError::content(
                    "the unsubscribe address is not an HTTPS URL",
                ));
            }
            builder = builder
                .raw_header(header("List-Unsubscribe", &format!("<{url}>")))
                .raw_header(header(
                    "List-Unsubscribe-Post",
                    "List-Unsubscribe=One-Click",
                ));
        }
        let boundary = format!(
            "cs-{}-{}",
            outgoing.message_id.simple(),
            outgoing.generation
        );
        let message = builder
            .multipart(
                MultiPart::alternative()
                    .boundary(boundary)
                    .singlepart(part(ContentType::TEXT_PLAIN, &content.text))
                    .singlepart(part(ContentType::TEXT_HTML, &content.html)),
            )
            .map_err(|_| LetterError::content("the letter cannot be made"))?;
        let mut bytes = message.formatted();
        if let Some(dkim) = &self.dkim {
            let mut signed = dkim
                .sign(&bytes, outgoing.created_at.timestamp())
                .ok_or_else(|| LetterError::content("the letter cannot be signed"))?;
            signed.append(&mut bytes);
            bytes = signed;
        }
        let data = for_the_wire(&bytes).map_err(LetterError::content)?;
        Ok(Letter {
            from: from.to_string(),
            to: to.to_string(),
            message_id,
            data,
        })
    }

    /// Where bounces go. It is the same for every attempt, as greylisting relays want, and tells the message it
    /// belongs to.
    fn envelope_from(&self, outgoing: &Outgoing) -> Result<Address, LetterError> {
        let Some(bounce) = &self.bounce else {
            return Ok(self.from.email.clone());
        };
        let token = bounce.key.bounce_token(
            DeliveryId::from_uuid(outgoing.message_id),
            outgoing.generation,
        );
        let user = format!("{}+{token}", bounce.address.user());
        Address::new(user, bounce.address.domain())
            .map_err(|_| LetterError::content("the bounce address cannot be made"))
    }
}

fn part(kind: ContentType, text: &str) -> SinglePart {
    SinglePart::builder()
        .header(kind)
        .header(ContentTransferEncoding::Base64)
        .body(text.to_owned())
}

fn header(name: &'static str, value: &str) -> HeaderValue {
    HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

fn is_header_url(url: &str) -> bool {
    url.starts_with("https://")
        && url.len() <= 900
        && url
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"<>\"".contains(&byte))
}

/// The letter's date, kept inside what a date line can say.
fn date(outgoing: &Outgoing) -> SystemTime {
    let seconds = u64::try_from(outgoing.created_at.timestamp()).unwrap_or(0);
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799))
}

/// One plain address. The domain may be international; the part before the `@` may not,
/// because few relays carry it.
fn recipient(text: &str) -> Result<Address, LetterError> {
    let bad = |text| LetterError::recipient(ReasonCode::BadRecipient, text);
    let (user, domain) = text
        .rsplit_once('@')
        .ok_or_else(|| bad("the address has no @"))?;
    if !user.is_ascii() {
        return Err(LetterError::recipient(
            ReasonCode::AddressUnsupported,
            "the part before the @ is not ASCII",
        ));
    }
    if !user
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"<>,\"\\()".contains(&byte))
    {
        return Err(bad(
            "the part before the @ has characters that no plain address has",
        ));
    }
    let domain =
        idna::domain_to_ascii_strict(domain).map_err(|_| bad("the domain is not a name"))?;
    if user.len() > 64 || user.len() + domain.len() > 253 {
        return Err(bad("the address is too long"));
    }
    Address::new(user, domain).map_err(|_| bad("the address is malformed"))
}

/// Checks every line and adds what SMTP needs: a dot before each leading dot, and the final dot.
fn for_the_wire(message: &[u8]) -> Result<Vec<u8>, &'static str> {
    if !message.is_ascii() || message.contains(&0) {
        return Err("the letter is not 7-bit text");
    }
    let mut out = Vec::with_capacity(message.len() + 64);
    for line in message.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            return Err("the letter has a bare line end");
        }
        if text.len() > MAX_LINE {
            return Err("the letter has a line that is too long");
        }
        if text.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(text);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leading_dots_are_doubled_and_the_end_is_marked() {
        assert_eq!(
            for_the_wire(b"a\r\n.\r\n..b\r\nc").unwrap(),
            b"a\r\n..\r\n...b\r\nc\r\n.\r\n"
        );
    }

    #[test]
    fn bare_line_ends_and_long_lines_are_refused() {
        for bytes in [
            &b"a\nb\r\n"[..],
            b"a\rb\r\n",
            b"a\r\r\n",
            b"\xff\r\n",
            b"a\0\r\n",
        ] {
            assert!(for_the_wire(bytes).is_err(), "{bytes:?}");
        }
        assert!(for_the_wire(&[b'a'; 998]).is_ok());
        assert!(for_the_wire(&[b'a'; 999]).is_err());
    }

    #[test]
    fn i_02_only_one_plain_address_is_taken() {
        for text in [
            "\"a@x\r\nBcc:evil\"@d.example",
            "a@d.example, b@d.example",
            "<a@d.example>",
            "a b@d.example",
            "a@d.example\r\nRCPT TO:<b@d.example>",
            "a@",
            "@d.example",
            "a",
            "a@d..example",
            "a@-",
        ] {
            assert!(recipient(text).is_err(), "{text}");
        }
        assert!(recipient(&format!("{}@d.example", "a".repeat(65))).is_err());
        assert!(recipient(&format!("a@{}example", "bcdefghij.".repeat(26))).is_err());
        assert_eq!(
            recipient("o'neil+x@d.example").map_or(String::new(), |a| a.to_string()),
            "o'neil+x@d.example"
        );
    }

    #[test]
    fn e_14_an_international_domain_becomes_ascii_and_a_local_part_is_refused() {
        let address = recipient("li@例え.jp").map_or(String::new(), |a| a.to_string());
        assert_eq!(address, "li@xn--r8jz45g.jp");
        let error = recipient("李@example.com")
            .err()
            .map(|error| error.reason.code);
        assert_eq!(error, Some(ReasonCode::AddressUnsupported));
    }
}
