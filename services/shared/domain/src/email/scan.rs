//! The grammar of RFC 5321 §4.1.2 with the comments of RFC 5322 §3.2.2 at the ends.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{EmailError, MAX_LOCAL_CHARS};

/// The longest label of a domain (RFC 1035 §2.3.4).
const MAX_LABEL_CHARS: usize = 63;
/// The longest domain (RFC 1035 §2.3.4, written with dots).
const MAX_DOMAIN_CHARS: usize = 253;

/// Reads an address from left to right.
pub(super) struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(input: &'a str) -> Self {
        Self { rest: input }
    }

    /// The local part and the domain in the form in which they are sent.
    pub(super) fn address(mut self) -> Result<(String, String), EmailError> {
        self.skip_comments()?;
        let local = if self.take('"') {
            self.quoted()?
        } else {
            self.dotted_words()?
        };
        if !self.take('@') {
            return Err(EmailError::NoAt);
        }
        if self.rest.trim().is_empty() {
            return Err(EmailError::NoDomain);
        }
        if self.rest.starts_with([' ', '\t', '(']) {
            // An unclosed comment is wrong everywhere, so that is said first.
            self.skip_comments()?;
            return Err(EmailError::SpaceInside);
        }
        let domain = if self.take('[') {
            self.literal()?
        } else {
            self.domain()?
        };
        self.skip_comments()?;
        match self.rest.chars().next() {
            None => Ok((local, domain)),
            Some(',' | ';') => Err(EmailError::MoreThanOne),
            Some(_) => Err(EmailError::AfterAddress),
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self, wanted: char) -> bool {
        match self.rest.strip_prefix(wanted) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
        Some(c)
    }

    /// Skips white space and comments, which may be nested.
    fn skip_comments(&mut self) -> Result<(), EmailError> {
        loop {
            self.rest = self.rest.trim_start_matches([' ', '\t']);
            if !self.take('(') {
                return Ok(());
            }
            let mut depth = 1;
            while depth > 0 {
                match self.next().ok_or(EmailError::CommentNotClosed)? {
                    '(' => depth += 1,
                    ')' => depth -= 1,
                    '\\' => match self.next().ok_or(EmailError::CommentNotClosed)? {
                        '\t' | ' '..='~' => {}
                        _ => return Err(EmailError::CommentCharacter),
                    },
                    '\t' | ' '..='~' => {}
                    _ => return Err(EmailError::CommentCharacter),
                }
            }
        }
    }

    /// A local part without quotes.
    fn dotted_words(&mut self) -> Result<String, EmailError> {
        let end = self
            .rest
            .find(|c| !is_word_character(c) && c != '.')
            .unwrap_or(self.rest.len());
        let (words, rest) = self.rest.split_at(end);
        self.rest = rest;
        match self.peek() {
            Some('@') | None => {}
            Some('"') => return Err(EmailError::LocalCharacter),
            Some(' ' | '\t' | '(') => {
                self.skip_comments()?;
                return Err(match self.peek() {
                    None => EmailError::NoAt,
                    _ => EmailError::SpaceInside,
                });
            }
            Some(c) if !c.is_ascii() => return Err(EmailError::LocalNotAscii),
            Some(_) => return Err(EmailError::LocalCharacter),
        }
        if words.is_empty() {
            return Err(match self.peek() {
                Some(_) => EmailError::NoLocalPart,
                None => EmailError::NoAt,
            });
        }
        if self.peek().is_none() {
            return Err(EmailError::NoAt);
        }
        if words.split('.').any(str::is_empty) {
            return Err(EmailError::MisplacedDot);
        }
        if words.len() > MAX_LOCAL_CHARS {
            return Err(EmailError::LocalTooLong);
        }
        Ok(words.to_owned())
    }

    /// A local part in quotes, after the opening one. It is given back with the least quoting,
    /// as RFC 5321 §4.1.2 asks of senders.
    fn quoted(&mut self) -> Result<String, EmailError> {
        let before = self.rest.len();
        let mut content = String::new();
        loop {
            match self.next().ok_or(EmailError::QuoteNotClosed)? {
                '"' => break,
                '\\' => match self.next().ok_or(EmailError::QuoteNotClosed)? {
                    c @ ' '..='~' => content.push(c),
                    _ => return Err(EmailError::QuotedCharacter),
                },
                c @ ' '..='~' => content.push(c),
                _ => return Err(EmailError::QuotedCharacter),
            }
        }
        match self.peek() {
            Some('@') => {}
            None => return Err(EmailError::NoAt),
            Some(' ' | '\t' | '(') => return Err(EmailError::SpaceInside),
            Some(_) => return Err(EmailError::AfterQuote),
        }
        // The opening quote was taken before; the limit counts both.
        if before - self.rest.len() + 1 > MAX_LOCAL_CHARS {
            return Err(EmailError::LocalTooLong);
        }
        let plain = content.split('.').all(|word| !word.is_empty())
            && content.chars().all(|c| is_word_character(c) || c == '.');
        if plain {
            return Ok(content);
        }
        let mut quoted = String::from("\"");
        for c in content.chars() {
            if matches!(c, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(c);
        }
        quoted.push('"');
        Ok(quoted)
    }

    /// A domain by name.
    fn domain(&mut self) -> Result<String, EmailError> {
        let ends = |c: char| matches!(c, ' ' | '\t' | '(' | ',' | ';' | '<' | '>' | '@');
        let (name, rest) = self
            .rest
            .split_at(self.rest.find(ends).unwrap_or(self.rest.len()));
        self.rest = rest;
        let ascii = if name.is_ascii() {
            name.to_ascii_lowercase()
        } else {
            let ascii = idna::domain_to_ascii(name).map_err(|_| EmailError::NotADomainName)?;
            if !ascii.is_ascii() || ascii.is_empty() {
                return Err(EmailError::NotADomainName);
            }
            ascii
        };
        check_name(&ascii)?;
        Ok(ascii)
    }

    /// A domain by address, after the opening bracket.
    fn literal(&mut self) -> Result<String, EmailError> {
        let (inside, rest) = self
            .rest
            .split_once(']')
            .ok_or(EmailError::AddressLiteral)?;
        self.rest = rest;
        let tagged = inside
            .split_at_checked(5)
            .filter(|(tag, _)| tag.eq_ignore_ascii_case("IPv6:"));
        match tagged {
            Some((_, address)) if is_ipv6(address) => {
                Ok(format!("[IPv6:{}]", address.to_ascii_lowercase()))
            }
            None if inside.parse::<Ipv4Addr>().is_ok() => Ok(format!("[{inside}]")),
            _ => Err(EmailError::AddressLiteral),
        }
    }
}

/// Characters of a word that needs no quotes (`atext`, RFC 5322 §3.2.3).
const fn is_word_character(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(
            c,
            '!' | '#'
                | '$'
                | '%'
                | '&'
                | '\''
                | '*'
                | '+'
                | '-'
                | '/'
                | '='
                | '?'
                | '^'
                | '_'
                | '`'
                | '{'
                | '|'
                | '}'
                | '~'
        )
}

/// A host name by the rules of RFC 1123 §2.1, in ASCII.
fn check_name(name: &str) -> Result<(), EmailError> {
    if name.is_empty() {
        return Err(EmailError::NoDomain);
    }
    if name
        .chars()
        .any(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '.'))
    {
        return Err(EmailError::DomainCharacter);
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(EmailError::MisplacedDot);
        }
        if label.len() > MAX_LABEL_CHARS {
            return Err(EmailError::LabelTooLong);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(EmailError::MisplacedHyphen);
        }
    }
    if name.len() > MAX_DOMAIN_CHARS {
        return Err(EmailError::TooLong);
    }
    let top = name.rsplit('.').next().unwrap_or_default();
    if top.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EmailError::NumericTopLevel);
    }
    // A label that claims to be punycode must be readable as such.
    if name.split('.').any(|label| label.starts_with("xn--"))
        && idna::domain_to_ascii(name).is_err()
    {
        return Err(EmailError::NotADomainName);
    }
    Ok(())
}

/// An IPv6 address in which `::` stands for two groups at least (RFC 5321 §4.1.3).
fn is_ipv6(address: &str) -> bool {
    if address.parse::<Ipv6Addr>().is_err() {
        return false;
    }
    let groups: usize = address
        .split(':')
        .filter(|group| !group.is_empty())
        .map(|group| if group.contains('.') { 2 } else { 1 })
        .sum();
    !address.contains("::") || groups <= 6
}
