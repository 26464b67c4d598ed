//! How postal codes look, country by country (Universal Postal Union, addressing systems).
//! In a pattern `9` stands for a digit, `A` for a letter, `X` for either; anything else for
//! itself. Spaces and hyphens may be left out or put in by whoever writes the code.

/// The code of a country: the patterns, the first of which is shown, and an example.
pub(super) struct PostalCodes {
    country: &'static str,
    patterns: &'static [&'static str],
    example: &'static str,
    /// Whether mail goes astray without the code. Elsewhere many addresses do without.
    pub(super) required: bool,
}

const fn needed(
    country: &'static str,
    patterns: &'static [&'static str],
    example: &'static str,
) -> PostalCodes {
    PostalCodes {
        country,
        patterns,
        example,
        required: true,
    }
}

const fn optional(
    country: &'static str,
    patterns: &'static [&'static str],
    example: &'static str,
) -> PostalCodes {
    PostalCodes {
        country,
        patterns,
        example,
        required: false,
    }
}

const BRITISH: &[&str] = &[
    "A9 9AA", "A99 9AA", "A9A 9AA", "AA9 9AA", "AA99 9AA", "AA9A 9AA",
];

/// Sorted by country, for binary search.
#[rustfmt::skip]
const POSTAL_CODES: &[PostalCodes] = &[
    needed("AR", &["A9999AAA", "9999"], "C1425DKE"),
    needed("AT", &["9999"], "1010"),
    needed("AU", &["9999"], "2000"),
    optional("BD", &["9999"], "1205"),
    needed("BE", &["9999"], "1000"),
    needed("BG", &["9999"], "1000"),
    needed("BR", &["99999-999"], "01310-100"),
    needed("CA", &["A9A 9A9"], "K1A 0B1"),
    needed("CH", &["9999"], "8001"),
    optional("CL", &["9999999"], "8320000"),
    needed("CN", &["999999"], "100080"),
    optional("CO", &["999999"], "110111"),
    needed("CY", &["9999"], "2008"),
    needed("CZ", &["999 99"], "110 00"),
    needed("DE", &["99999"], "10117"),
    needed("DK", &["9999"], "1050"),
    needed("EE", &["99999"], "10111"),
    optional("EG", &["99999", "9999999"], "11511"),
    needed("ES", &["99999"], "28013"),
    needed("FI", &["99999"], "00100"),
    needed("FR", &["99999"], "75008"),
    needed("GB", &["AA9A 9AA", "A9 9AA", "A99 9AA", "A9A 9AA", "AA9 9AA", "AA99 9AA", "GIR 0AA", "BFPO 9", "BFPO 99", "BFPO 999", "BFPO 9999"], "SW1A 1AA"),
    needed("GG", BRITISH, "GY1 1AA"),
    needed("GR", &["999 99"], "105 57"),
    needed("HR", &["99999"], "10000"),
    needed("HU", &["9999"], "1051"),
    needed("ID", &["99999"], "10110"),
    optional("IE", &["A99 XXXX", "D6W XXXX"], "D02 AF30"),
    needed("IL", &["9999999", "99999"], "9614303"),
    needed("IM", BRITISH, "IM1 1AA"),
    needed("IN", &["999999"], "110001"),
    needed("IS", &["999"], "101"),
    needed("IT", &["99999"], "00184"),
    needed("JE", BRITISH, "JE2 3AB"),
    needed("JP", &["999-9999"], "100-0001"),
    needed("KR", &["99999"], "03187"),
    optional("KZ", &["999999", "A99A9A9"], "050000"),
    optional("LK", &["99999"], "00100"),
    needed("LT", &["LT-99999", "99999"], "LT-01103"),
    needed("LU", &["9999", "L-9999"], "1009"),
    needed("LV", &["LV-9999", "9999"], "LV-1050"),
    needed("MA", &["99999"], "10000"),
    needed("MC", &["980 99"], "98000"),
    needed("MT", &["AAA 9999", "AAA 999", "AAA 99"], "VLT 1117"),
    needed("MX", &["99999"], "06000"),
    needed("MY", &["99999"], "50050"),
    needed("NL", &["9999 AA"], "1012 JS"),
    needed("NO", &["9999"], "0150"),
    needed("NZ", &["9999"], "6011"),
    optional("PE", &["99999"], "15001"),
    needed("PH", &["9999"], "1000"),
    optional("PK", &["99999"], "44000"),
    needed("PL", &["99-999"], "00-950"),
    needed("PR", &["99999", "99999-9999"], "00901"),
    needed("PT", &["9999-999", "9999"], "1250-096"),
    needed("RO", &["999999"], "010071"),
    needed("RS", &["99999", "999999"], "11000"),
    needed("RU", &["999999"], "101000"),
    optional("SA", &["99999", "99999-9999"], "11564"),
    needed("SE", &["999 99"], "111 29"),
    needed("SG", &["999999"], "018956"),
    needed("SI", &["9999", "SI-9999"], "1000"),
    needed("SK", &["999 99"], "811 01"),
    needed("TH", &["99999"], "10200"),
    needed("TR", &["99999"], "06420"),
    needed("TW", &["999", "99999", "999999"], "100"),
    needed("UA", &["99999"], "01001"),
    needed("US", &["99999", "99999-9999"], "20500"),
    optional("VN", &["99999", "999999"], "10000"),
    needed("ZA", &["9999"], "8001"),
];

/// The postal codes of a country; nothing when it has none or we do not know how they look.
pub(super) fn of(country: &str) -> Option<&'static PostalCodes> {
    POSTAL_CODES
        .binary_search_by(|row| row.country.cmp(country))
        .ok()
        .and_then(|index| POSTAL_CODES.get(index))
}

impl PostalCodes {
    /// Whether a code, in any case and spacing, looks like one of this country.
    pub(super) fn fits(&self, code: &str) -> bool {
        use unicode_normalization::UnicodeNormalization;
        let code: Vec<char> = code
            .nfkc()
            .filter(|c| !is_filler(*c))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        self.patterns.iter().any(|pattern| {
            let pattern: Vec<char> = pattern.chars().filter(|c| !is_filler(*c)).collect();
            pattern.len() == code.len()
                && pattern.iter().zip(&code).all(|(p, c)| match p {
                    '9' => c.is_ascii_digit(),
                    'A' => c.is_ascii_uppercase(),
                    'X' => c.is_ascii_uppercase() || c.is_ascii_digit(),
                    own => own == c,
                })
        })
    }

    /// A true code, to be shown as an example.
    pub(super) const fn example(&self) -> &'static str {
        self.example
    }
}

fn is_filler(c: char) -> bool {
    c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_example_fits_its_country() {
        assert!(
            POSTAL_CODES
                .windows(2)
                .all(|pair| pair[0].country < pair[1].country)
        );
        for row in POSTAL_CODES {
            assert!(row.fits(row.example), "{} {}", row.country, row.example);
            assert!(!row.fits(""), "{}", row.country);
            assert!(!row.fits("!"), "{}", row.country);
            assert!(!row.fits("12345678901234567890"), "{}", row.country);
        }
    }
}
