//! Letters that come back: read from a mailbox folder, or told by a webhook. Both only find out which letter is meant and
//! what is said of it, and leave that in the inbox; what follows is decided there, once.

pub(crate) mod folder;
#[cfg(any(test, feature = "testkit"))]
pub(crate) mod fuzz;
mod report;
mod sns;
pub(crate) mod sns_callback;
pub(crate) mod webhook;

use countersign_domain::reply::BounceKind;
use sha2::{Digest as _, Sha256};

use crate::channel::alibaba::acs3::hex;

/// Names a message by its bytes, so that the same one again is known.
fn fingerprint(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// An enhanced status code (RFC 3463): class, subject, detail.
type Status = (u8, u16, u16);

/// What is said of one recipient.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Told {
    bounce: BounceKind,
    code: Option<String>,
}

/// Reads `5.1.1`; anything longer or stranger is no code, so that no stranger's words are stored.
fn read_status(text: &str) -> Option<Status> {
    let mut numbers = text.trim().split('.');
    let class = numbers.next()?.parse().ok()?;
    let status = (
        class,
        numbers.next()?.parse().ok()?,
        numbers.next()?.parse().ok()?,
    );
    let fits = matches!(class, 2 | 4 | 5) && status.1 < 1_000 && status.2 < 1_000;
    (fits && numbers.next().is_none()).then_some(status)
}

/// What a mail server that has given up says by its status.
fn given_up(status: Option<Status>) -> Told {
    // 5.1.7 and 5.1.8 are about our own address; 5.2.1 is a mailbox that was closed.
    let bounce = match status {
        Some((5, 1, detail)) if !matches!(detail, 7 | 8) => BounceKind::BadAddress,
        Some((5, 2, 1)) => BounceKind::BadAddress,
        _ => BounceKind::Failed,
    };
    Told::new(bounce, status)
}

impl Told {
    fn new(bounce: BounceKind, status: Option<Status>) -> Self {
        Self {
            bounce,
            code: status.map(|(class, subject, detail)| format!("{class}.{subject}.{detail}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_that_blames_the_address_makes_it_a_bad_one() {
        for (text, bounce) in [
            ("5.1.1", BounceKind::BadAddress),
            ("5.1.10", BounceKind::BadAddress),
            ("5.2.1", BounceKind::BadAddress),
            ("5.1.8", BounceKind::Failed),
            ("5.2.2", BounceKind::Failed),
            ("5.7.1", BounceKind::Failed),
            ("4.4.7", BounceKind::Failed),
        ] {
            let told = given_up(read_status(text));
            assert_eq!((told.bounce, told.code.as_deref()), (bounce, Some(text)));
        }
        for text in [
            "",
            "5",
            "5.1",
            "5.1.1.1",
            "3.1.1",
            "5.1.x",
            "5.1.1 x",
            "5.1.99999999",
        ] {
            assert_eq!(read_status(text), None, "{text}");
            assert_eq!(given_up(read_status(text)).bounce, BounceKind::Failed);
        }
    }
}
