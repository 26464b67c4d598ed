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

    /// Reads a whole answer as it came over the wire.
    pub(crate) fn read(text: &[u8]) -> Option<Self> {
        let lines: Vec<&[u8]> = text
            .split_inclusive(|byte| *byte == b'\n')
            .map(|line| trim_end(line.strip_suffix(b"\n").unwrap_or(line)))
            .collect();
        Self::parse(&lines)
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

/// Where the first answer in these bytes ends, looked for from `looked` on, which is moved past the lines that are known. Nothing
/// while it is not whole; an error when it is no answer.
pub(crate) fn end(unread: &[u8], looked: &mut usize) -> Result<Option<usize>, NoReply> {
    let rest = |from: usize| unread.get(from..).unwrap_or_default();
    while let Some(length) = rest(*looked).iter().position(|byte| *byte == b'\n') {
        let line = rest(*looked).get(..length).unwrap_or_default();
        let more = continues(trim_end(line)).ok_or(NoReply)?;
        *looked += length + 1;
        if !more {
            return Ok(Some(*looked));
        }
    }
    Ok(None)
}

/// What came is no answer of SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoReply;

fn trim_end(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether more lines follow; `None` when it is no reply line.
fn continues(line: &[u8]) -> Option<bool> {
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
