//! Looks numbers up in the numbering plans of the `phonenumber` crate. Its own look-up drops
//! leading zeros (so that mobile numbers of Côte d'Ivoire are not known as such) and takes a
//! number's first digit for the trunk prefix (so that Russian numbers in 8… are not found).

use phonenumber::Type;
use phonenumber::metadata::{DATABASE, Metadata};

/// The kinds that are asked for, in the order in which the first that fits counts.
const KINDS: [Type; 9] = [
    Type::PremiumRate,
    Type::TollFree,
    Type::SharedCost,
    Type::Voip,
    Type::PersonalNumber,
    Type::Pager,
    Type::Uan,
    Type::Voicemail,
    Type::FixedLine,
];

/// What the plan says about a number.
pub(super) struct Found {
    pub(super) kind: Type,
    /// The two letters of the country, or `001` for a network.
    pub(super) region: String,
}

/// Splits the digits of E.164 into country code and national number.
pub(super) fn split(digits: &str) -> Option<(u16, &str)> {
    (1..=3).find_map(|length| {
        let (code, national) = digits.split_at_checked(length)?;
        let code: u16 = code.parse().ok()?;
        DATABASE.region(&code).map(|_| (code, national))
    })
}

/// Looks the digits of E.164 up; nothing when no such number is given out.
pub(super) fn look_up(digits: &str) -> Option<Found> {
    let (code, national) = split(digits)?;
    DATABASE.region(&code)?.into_iter().find_map(|region| {
        let plan = if region == "001" {
            DATABASE.by_code(&code)?.into_iter().next()?
        } else {
            DATABASE.by_id(region)?
        };
        // Where countries share a code, some are told by the first digits.
        let is_here = plan
            .leading_digits()
            .is_none_or(|first| first.find(national).is_some_and(|found| found.start() == 0));
        let kind = if is_here { kind(plan, national) } else { None };
        // Argentina's mobile numbers are its other numbers with a 9 before them from abroad,
        // and at home are given without it.
        let kind = match kind {
            Some(Type::FixedLine) if region == "AR" => self::kind(plan, &format!("9{national}"))
                .map_or(kind, |_| Some(Type::FixedLineOrMobile)),
            kind => kind,
        };
        kind.map(|kind| Found {
            kind,
            region: region.to_owned(),
        })
    })
}

/// The plan of a country.
pub(super) fn of(region: &str) -> Option<&'static Metadata> {
    DATABASE.by_id(region)
}

fn kind(plan: &Metadata, national: &str) -> Option<Type> {
    let kinds = plan.descriptors();
    if !kinds.general().is_match(national) {
        return None;
    }
    let is = |kind: Type| {
        kinds
            .get(kind)
            .is_some_and(|pattern| pattern.is_match(national))
    };
    let mobile = is(Type::Mobile);
    match KINDS.into_iter().find(|kind| is(*kind)) {
        Some(Type::FixedLine) if mobile => Some(Type::FixedLineOrMobile),
        None if mobile => Some(Type::Mobile),
        other => other,
    }
}
