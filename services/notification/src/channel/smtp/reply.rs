//! The relay's answers.

/// A whole answer, all of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    /// Enhanced status code (RFC 3463), if the first line starts with one.
    pub(crate) enhanced: Option<(u8, u16, u16)>,
    /// Texts without codes. Used for EHLO only: they may quote the customer's address.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// Parses lines that were collected up to the last one (`ddd text` instead of `ddd-text`).
    pub(crate) fn parse(lines: &[&[u8]]) -> Option<Self> {
        let mut code = None;
        let mut texts = Vec::with_capacity(lines.len());
        for line in lines {
            let this = line_code(line)?;
            if *code.get_or_insert(this) != this {
                return None;
            }
            texts.push(String::from_utf8_lossy(line.get(4..).unwrap_or_default()).into_owned());
        }
        let code = code.filter(|code| (200..600).contains(code))?;
        let enhanced = texts.first().and_then(|text| enhanced(text));
        Some(Self {
            code,
            enhanced,
            lines: texts,
        })
    }

    /// Code and enhanced code, without any of the relay's words.
    pub(crate) fn codes(&self) -> String {
        match self.enhanced {
            Some((class, subject, detail)) => {
                format!("{} {class}.{subject}.{detail}", self.code)
            }
            None => self.code.to_string(),
        }
    }
}

/// Whether more lines follow; `None` when it is no reply line.
pub(crate) fn continues(line: &[u8]) -> Option<bool> {
    line_code(line)?;
    match line.get(3) {
        Some(b'-') => Some(true),
        Some(b' ') | None => Some(false),
        Some(_) => None,
    }
}

fn line_code(line: &[u8]) -> Option<u16> {
    let digits = line.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn enhanced(text: &str) -> Option<(u8, u16, u16)> {
    let mut numbers = text.split_whitespace().next()?.splitn(3, '.');
    let class: u8 = numbers.next()?.parse().ok()?;
    let subject: u16 = numbers.next()?.parse().ok()?;
    let detail: u16 = numbers.next()?.parse().ok()?;
    (matches!(class, 2 | 4 | 5) && subject < 1000 && detail < 1000)
        .then_some((class, subject, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_and_words_are_not_repeated() {
        let reply = Reply::parse(&[b"550-5.1.1 <li@x> unknown", b"550 5.1.1 sorry"]).unwrap();
        assert_eq!((reply.code, reply.enhanced), (550, Some((5, 1, 1))));
        assert_eq!(reply.codes(), "550 5.1.1");
        assert_eq!(Reply::parse(&[b"250 ok"]).unwrap().codes(), "250");
    }

    proptest::proptest! {
        #[test]
        fn i_11_whatever_a_relay_says_is_read_or_refused(
            lines in proptest::collection::vec("[2-5][0-9]{2}[ -]([245][.][0-9]{1,9}[.][0-9]{1,9} )?\\PC{0,40}|\\PC{0,40}", 0..8),
        ) {
            let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            if let Some(reply) = Reply::parse(&lines) {
                proptest::prop_assert!((200..600).contains(&reply.code));
                proptest::prop_assert!(reply.codes().len() <= 40);
                proptest::prop_assert_eq!(reply.lines.len(), lines.len());
            }
            for line in lines {
                continues(line);
            }
        }
    }

    #[test]
    fn nonsense_is_not_a_reply() {
        for lines in [
            vec![&b"hello"[..]],
            vec![b"25"],
            vec![b"250-a", b"251 b"],
            vec![b"099 x"],
            vec![b"999 x"],
        ] {
            assert_eq!(Reply::parse(&lines), None);
        }
        assert_eq!(continues(b"250?x"), None);
        assert_eq!(continues(b"250-x"), Some(true));
        assert_eq!(continues(b"250"), Some(false));
    }
}
