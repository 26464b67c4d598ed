//! Free words and keys. Words are kept byte for byte or refused with the reason: a name in any
//! script, a joiner inside an emoji, a mark of writing direction all come back as they came.
//! What is invisible in them is made visible where people read them ([`display_safe`]).

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest key, in characters.
pub const MAX_KEY_CHARS: usize = 64;

/// Which characters a text may hold besides the visible ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextKind {
    /// One line: no control characters, no line or paragraph separators.
    SingleLine,
    /// Several lines: newline, carriage return before a newline, and tab are allowed too.
    MultiLine,
}

/// Why a text was refused, saying what would be right. The caller names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing was given where something must be.
    #[error("must not be empty")]
    Empty,
    /// The text is too short.
    #[error("must have at least {min} characters, has {found}")]
    TooShort {
        /// The fewest characters allowed.
        min: usize,
        /// How many there are.
        found: usize,
    },
    /// The text is too long.
    #[error("must have at most {max} characters, has {found}")]
    TooLong {
        /// The most characters allowed.
        max: usize,
        /// How many there are.
        found: usize,
    },
    /// A character that one line cannot hold.
    #[error("must be one line without control characters; character {position} is {character}")]
    NotOneLine {
        /// Where it stands, the first character being 1.
        position: usize,
        /// The character by its number, such as `U+000A`.
        character: CodePoint,
    },
    /// A character that no text can hold.
    #[error(
        "must have no control characters except newline and tab; character {position} is \
         {character}"
    )]
    ControlCharacter {
        /// Where it stands, the first character being 1.
        position: usize,
        /// The character by its number, such as `U+0000`.
        character: CodePoint,
    },
    /// A key with white space at an end.
    #[error("must not begin or end with white space")]
    SurroundingWhiteSpace,
}

/// A character shown by its number, such as `U+202E`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CodePoint(pub char);

impl fmt::Display for CodePoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X}", u32::from(self.0))
    }
}

/// Takes a text of `min` to `max` characters (Unicode scalar values, as the database counts
/// them), unchanged, or says what is wrong.
pub fn checked_text(
    text: &str,
    min: usize,
    max: usize,
    kind: TextKind,
) -> Result<String, TextError> {
    let found = text.chars().count();
    if found == 0 && min > 0 {
        return Err(TextError::Empty);
    }
    if found < min {
        return Err(TextError::TooShort { min, found });
    }
    if found > max {
        return Err(TextError::TooLong { max, found });
    }
    let mut rest = text.chars().enumerate().peekable();
    while let Some((index, c)) = rest.next() {
        let (position, character) = (index + 1, CodePoint(c));
        match kind {
            TextKind::SingleLine if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                return Err(TextError::NotOneLine {
                    position,
                    character,
                });
            }
            TextKind::MultiLine if c.is_control() => {
                let ends_a_line = c == '\r' && rest.peek().is_some_and(|(_, next)| *next == '\n');
                if !matches!(c, '\n' | '\t') && !ends_a_line {
                    return Err(TextError::ControlCharacter {
                        position,
                        character,
                    });
                }
            }
            TextKind::SingleLine | TextKind::MultiLine => {}
        }
    }
    Ok(text.to_owned())
}

/// A text for people to read on pages and in messages: characters that are invisible or change
/// the direction of writing are shown by their number in angle quotes, such as `‹U+202E›`, so
/// that a text cannot pass for another. Newline and tab stay; so do joiners where a script or an
/// emoji needs them.
pub fn display_safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let joins = is_joiner(c)
            && before.is_some_and(can_be_joined)
            && rest.peek().copied().is_some_and(can_be_joined);
        if !joins && is_deceptive(c) {
            // Writing to a String cannot fail.
            write!(safe, "‹{}›", CodePoint(c)).ok();
        } else {
            safe.push(c);
        }
        before = Some(c);
    }
    safe
}

/// The two joiners, which Persian, the Indic scripts and joined emoji are written with.
fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

/// Whether a joiner may stand beside this character: letters of scripts that are written
/// joined, and emoji with their modifiers. Between Latin letters a joiner only deceives.
fn can_be_joined(c: char) -> bool {
    matches!(c,
        '\u{0600}'..='\u{08FF}' // Arabic, Syriac, Thaana, N'Ko …
        | '\u{0900}'..='\u{109F}' // the Indic scripts, Thai, Lao, Tibetan, Myanmar
        | '\u{1780}'..='\u{18AF}' // Khmer, Mongolian
        | '\u{2190}'..='\u{2BFF}' // symbols that emoji sequences use
        | '\u{FE0F}' // "as emoji"
        | '\u{FB50}'..='\u{FDFF}'
        | '\u{FE70}'..='\u{FEFC}'
        | '\u{1F000}'..='\u{1FAFF}')
        && !is_deceptive(c)
}

/// Invisible or direction-changing characters (Unicode's `Default_Ignorable_Code_Point` and
/// `Bidi_Control`, less the variation selectors, which emoji and Han characters use) and
/// controls other than newline and tab.
fn is_deceptive(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t'))
        || matches!(c,
            '\u{00AD}'
            | '\u{034F}'
            | '\u{061C}'
            | '\u{115F}' | '\u{1160}'
            | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{3164}'
            | '\u{FEFF}'
            | '\u{FFA0}'
            | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}'
            | '\u{1D173}'..='\u{1D17A}'
            | '\u{E0000}'..='\u{E00FF}'
            | '\u{E01F0}'..='\u{E0FFF}')
}

/// A key given by another system: an article number, a customer number, a reference. One to 64
/// characters on one line, no white space at its ends; compared letter for letter.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(String);

impl Key {
    /// Takes the key unchanged or says what is wrong.
    pub fn parse(text: &str) -> Result<Self, TextError> {
        let key = checked_text(text, 1, MAX_KEY_CHARS, TextKind::SingleLine)?;
        if key.starts_with(char::is_whitespace) || key.ends_with(char::is_whitespace) {
            return Err(TextError::SurroundingWhiteSpace);
        }
        Ok(Self(key))
    }

    /// The key as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.0)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        Self::parse(text)
    }
}

impl TryFrom<String> for Key {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::parse(&text)
    }
}

impl From<Key> for String {
    fn from(key: Key) -> Self {
        key.0
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
