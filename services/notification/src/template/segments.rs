//! How many text messages a text becomes (3GPP TS 23.038): what the gateway will bill and the customer will wait for.

/// The alphabet a text message is sent in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alphabet {
    /// 7-bit default alphabet: 160 characters alone, 153 in a chain.
    Gsm7,
    /// UTF-16: 70 units alone, 67 in a chain.
    Ucs2,
}

/// Size of a text message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// The alphabet that holds every character.
    pub alphabet: Alphabet,
    /// Septets or UTF-16 units.
    pub units: usize,
    /// Messages on the wire; an empty text is one.
    pub count: usize,
}

const BASIC: &str = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED: &str = "\u{000C}^{}\\[~]|€";

/// Counts the segments of `text`. A character of two units (escape sequence, surrogate pair) is never cut in half.
pub fn segments(text: &str) -> Segments {
    let septets: Option<Vec<usize>> = text.chars().map(septets).collect();
    let (alphabet, widths, alone, chained) = match septets {
        Some(widths) => (Alphabet::Gsm7, widths, 160, 153),
        None => (
            Alphabet::Ucs2,
            text.chars().map(char::len_utf16).collect(),
            70,
            67,
        ),
    };
    let units = widths.iter().sum();
    let count = if units <= alone {
        1
    } else {
        chain(&widths, chained)
    };
    Segments {
        alphabet,
        units,
        count,
    }
}

fn septets(c: char) -> Option<usize> {
    if BASIC.contains(c) {
        Some(1)
    } else if EXTENDED.contains(c) {
        Some(2)
    } else {
        None
    }
}

fn chain(widths: &[usize], room: usize) -> usize {
    let mut count = 1;
    let mut used = 0;
    for &width in widths {
        if used + width > room {
            count += 1;
            used = 0;
        }
        used += width;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(text: &str) -> usize {
        segments(text).count
    }

    #[test]
    fn i_07_the_basic_alphabet_holds_160_alone_and_153_in_a_chain() {
        assert_eq!(
            (count(""), count(&"a".repeat(160)), count(&"a".repeat(161))),
            (1, 1, 2)
        );
        assert_eq!((count(&"a".repeat(306)), count(&"a".repeat(307))), (2, 3));
        assert_eq!((count(&"a".repeat(459)), count(&"a".repeat(460))), (3, 4));
    }

    #[test]
    fn i_07_one_character_outside_the_alphabet_makes_it_70_and_67() {
        assert_eq!((count(&"是".repeat(70)), count(&"是".repeat(71))), (1, 2));
        assert_eq!((count(&"是".repeat(134)), count(&"是".repeat(135))), (2, 3));
        assert_eq!((count(&"是".repeat(201)), count(&"是".repeat(202))), (3, 4));
        assert_eq!(segments("ab是").alphabet, Alphabet::Ucs2);
    }

    #[test]
    fn i_07_wide_characters_are_not_cut_in_half() {
        assert_eq!(count(&format!("{}😀", "是".repeat(68))), 1);
        assert_eq!(count(&format!("{}😀", "是".repeat(69))), 2);
        assert_eq!(count(&format!("{}€", "a".repeat(158))), 1);
        assert_eq!(count(&format!("{}€", "a".repeat(159))), 2);
        // The euro sign does not fit behind 152 letters of the first segment.
        assert_eq!(
            count(&format!("{}€{}", "a".repeat(152), "a".repeat(152))),
            3
        );
    }
}
