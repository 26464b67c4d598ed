//! Twilio's error codes and what they mean for a message (RELIABILITY 3.4 and 4.2).

use super::super::ReasonCode;

/// What to do with a message that was refused with a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not taken; try again.
    Later(ReasonCode),
    /// This number never works on this channel.
    BadNumber,
    /// The customer told Twilio to stop.
    OptOut,
    /// This message will not go; the next channel.
    Never(ReasonCode),
    /// Every message would fail alike.
    Config(ReasonCode),
}

/// The meaning of a code that is known.
pub(super) const fn refusal(code: u32) -> Option<Refusal> {
    Some(match code {
        // Too many requests: never processed. Queue full; too many calls at once.
        20429 | 10004 => Refusal::Later(ReasonCode::RateLimited),
        21611 => Refusal::Later(ReasonCode::Deferred),
        _ if is_bad_number(code) => Refusal::BadNumber,
        _ if is_opt_out(code) => Refusal::OptOut,
        // Not reachable by this sender, blocked, or a country that the account does not serve.
        21214 | 21215 | 21216 | 21408 | 21612 | 13227 => {
            Refusal::Never(ReasonCode::AddressUnsupported)
        }
        // Sign-in, account suspended or closed.
        20003 | 20005 | 20006 | 10001 | 30002 => Refusal::Config(ReasonCode::AuthRefused),
        // The sender: not ours, not verified, cannot carry this, trial account, empty or unknown Messaging Service.
        10002 | 21201 | 21203 | 21210 | 21212 | 21213 | 21603 | 21606 | 21608 | 21609 | 21659
        | 21660 | 21661 | 21701 | 21703 | 21704 | 21705 | 21709 => {
            Refusal::Config(ReasonCode::SenderRefused)
        }
        // The resource is not there: a wrong account or address.
        20404 => Refusal::Config(ReasonCode::Misconfigured),
        _ => return None,
    })
}

/// Not a number, not a mobile one, a landline: it does not get better.
pub const fn is_bad_number(code: u32) -> bool {
    matches!(code, 21211 | 21614 | 21635)
}

/// The customer answered STOP to this sender.
pub const fn is_opt_out(code: u32) -> bool {
    code == 21610
}
