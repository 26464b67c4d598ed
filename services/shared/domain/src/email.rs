//! E-mail addresses: what SMTP can carry is taken, anything else is refused with the reason.
//!
//! Measured by the categories of the public isemail test suite:
//!
//! | category | here |
//! |---|---|
//! | VALID, DNSWARN | taken; whether the domain exists is for the mail server to find out |
//! | RFC5321 (quoted local part, address in brackets, one-label domain) | taken, but a domain ending in a label of digits only is refused: there is no such top-level domain (RFC 3696 §2), and an address by number goes in brackets |
//! | CFWS (comments and white space at the ends) | taken, and the comments and the white space are dropped; refused when folded over lines |
//! | DEPREC (obsolete forms, comments at the @, control characters) | refused |
//! | RFC5322 (not deliverable by SMTP: too long, other bracketed domains) | refused |
//! | ERR | refused |
//!
//! Local parts are ASCII: mail to others needs SMTPUTF8 (RFC 6531) of every server on the way.
//! Domains may be in any script; they are kept in small letters and punycode.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use self::scan::Scanner;

mod scan;

/// The longest address, in characters (RFC 5321 §4.5.3.1.3, less the angle brackets).
pub const MAX_CHARS: usize = 254;
/// The longest local part, in characters (RFC 5321 §4.5.3.1.1).
pub const MAX_LOCAL_CHARS: usize = 64;
/// The longest input that is looked at, comments included.
const MAX_INPUT_BYTES: usize = 1_024;

/// Why a text is no e-mail address that can be written to, saying what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EmailError {
    /// Nothing was given.
    #[error("must not be empty; give an address such as name@example.com")]
    Empty,
    /// The address is longer than SMTP carries.
    #[error("must have at most 254 characters")]
    TooLong,
    /// A line break, a zero byte or another control character.
    #[error("must have no line breaks and no control characters")]
    ControlCharacter,
    /// There is no `@`.
    #[error("must have an @ between name and domain, such as name@example.com")]
    NoAt,
    /// There is nothing before the `@`.
    #[error("must have a name before the @")]
    NoLocalPart,
    /// There is nothing after the `@`.
    #[error("must have a domain after the @, such as example.com")]
    NoDomain,
    /// The part before the `@` is too long.
    #[error("must have at most 64 characters before the @")]
    LocalTooLong,
    /// A dot at an end, or two together.
    #[error("must have single dots between words only, none at the beginning or end")]
    MisplacedDot,
    /// A character that must be quoted, before the `@`.
    #[error(
        "must have only letters, digits, dots and !#$%&'*+/=?^_`{{|}}~- before the @, or quotes around it"
    )]
    LocalCharacter,
    /// A character outside ASCII before the `@`.
    #[error("must have only plain Latin letters and digits before the @")]
    LocalNotAscii,
    /// Quotes are opened and not closed.
    #[error("must have a closing quotation mark before the @")]
    QuoteNotClosed,
    /// A character that cannot stand even in quotes.
    #[error("must have only visible ASCII characters and spaces in the quotes")]
    QuotedCharacter,
    /// Something stands between the closing quote and the `@`.
    #[error("must have the @ right after the closing quotation mark")]
    AfterQuote,
    /// A comment is opened and not closed.
    #[error("must have a closing bracket for each comment in brackets")]
    CommentNotClosed,
    /// A character that cannot stand in a comment.
    #[error("must have only visible ASCII characters and spaces in a comment")]
    CommentCharacter,
    /// White space or a comment in the middle.
    #[error("must have no spaces or comments inside the address")]
    SpaceInside,
    /// A label of the domain is too long.
    #[error("must have at most 63 characters between the dots of the domain")]
    LabelTooLong,
    /// A label of the domain begins or ends with a hyphen.
    #[error("must have no hyphen at the beginning or end of a part of the domain")]
    MisplacedHyphen,
    /// A character that no domain is made of.
    #[error("must have only letters, digits, hyphens and dots after the @")]
    DomainCharacter,
    /// A domain in another script that has no punycode.
    #[error("must have a domain name that can be registered after the @")]
    NotADomainName,
    /// The last label has digits only.
    #[error(
        "must end in a domain such as example.com; an address by number is written name@[192.0.2.1]"
    )]
    NumericTopLevel,
    /// What stands in square brackets is no address.
    #[error(
        "must have an address in the square brackets, such as [192.0.2.1] or [IPv6:2001:db8::1]"
    )]
    AddressLiteral,
    /// Several addresses.
    #[error("must be one address; give only the first")]
    MoreThanOne,
    /// A name before the address, which stands in angle brackets.
    #[error("must be the bare address, without a name and without < and >")]
    DisplayName,
    /// Something follows the address.
    #[error("must end after the domain")]
    AfterAddress,
}

/// An e-mail address as it goes to a mail server: without comments, quoted only where needed,
/// its domain in small letters and punycode. Shown in full only on purpose.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EmailAddress(String);

impl EmailAddress {
    /// Reads one address or says what would be right.
    pub fn parse(input: &str) -> Result<Self, EmailError> {
        if input.len() > MAX_INPUT_BYTES {
            return Err(EmailError::TooLong);
        }
        // First of all, and wherever they stand: these would end a header line of the mail.
        if input.chars().any(|c| c.is_control() && c != '\t') {
            return Err(EmailError::ControlCharacter);
        }
        if input.trim().is_empty() {
            return Err(EmailError::Empty);
        }
        let (local, domain) = Scanner::new(input).address().map_err(|error| {
            match error {
                // These texts say more than what the first wrong character is.
                EmailError::LocalCharacter
                | EmailError::AfterAddress
                | EmailError::SpaceInside
                | EmailError::DomainCharacter
                    if input.contains(['<', '>']) =>
                {
                    EmailError::DisplayName
                }
                EmailError::AfterAddress
                | EmailError::SpaceInside
                | EmailError::DomainCharacter
                    if input.matches('@').count() > 1 =>
                {
                    EmailError::MoreThanOne
                }
                other => other,
            }
        })?;
        let address = format!("{local}@{domain}");
        if address.len() > MAX_CHARS {
            return Err(EmailError::TooLong);
        }
        Ok(Self(address))
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the `@`, with its quotes if it needs them.
    pub fn local_part(&self) -> &str {
        self.split().0
    }

    /// The part after the `@`.
    pub fn domain(&self) -> &str {
        self.split().1
    }

    /// The address as it may be shown to others: `j***@e***`.
    pub fn masked(&self) -> String {
        let (local, domain) = self.split();
        let first = |part: &str| part.trim_start_matches(['"', '[']).chars().next();
        let (local, domain) = (first(local), first(domain));
        format!(
            "{}***@{}***",
            local.map(String::from).unwrap_or_default(),
            domain.map(String::from).unwrap_or_default()
        )
    }

    /// A quoted local part may hold an `@`, a domain cannot.
    fn split(&self) -> (&str, &str) {
        self.0.rsplit_once('@').unwrap_or((&self.0, ""))
    }
}

impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EmailAddress({})", self.masked())
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for EmailAddress {
    type Error = EmailError;

    fn try_from(text: String) -> Result<Self, EmailError> {
        Self::parse(&text)
    }
}

impl From<EmailAddress> for String {
    fn from(address: EmailAddress) -> Self {
        address.0
    }
}

#[cfg(test)]
#[path = "email_tests.rs"]
mod tests;
