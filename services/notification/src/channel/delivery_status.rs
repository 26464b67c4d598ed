//! What a failed conversation with the relay means for the message (RELIABILITY 3.4, E-01 to E-13).

use super::{
    Outcome, Reason, ReasonCode,
    smtp::{Cause, Failure, Phase, Reply},
};

/// The class of a failure. Everything before the message's last byte left is a proven "not sent".
pub(super) fn classify(failure: &Failure) -> Outcome {
    let phase = failure.phase;
    let code = match &failure.cause {
        Cause::Reply(reply) => return classify_reply(phase, reply),
        Cause::NoLoginMethod => {
            let text = "the relay offers neither AUTH PLAIN nor AUTH LOGIN";
            return Outcome::Config {
                reason: Reason::new(ReasonCode::Misconfigured, text),
            };
        }
        Cause::TlsUnavailable => ReasonCode::TlsUnavailable,
        _ if phase == Phase::FinalDot => {
            let text = format!("{} after the final dot", describe(&failure.cause));
            return Outcome::InDoubt {
                reason: Reason::new(ReasonCode::Unconfirmed, text),
            };
        }
        _ if phase == Phase::Connect => ReasonCode::Unreachable,
        _ if phase == Phase::Tls => ReasonCode::TlsFailed,
        Cause::TimedOut => ReasonCode::TimedOut,
        Cause::Io(_) | Cause::Closed => ReasonCode::ConnectionLost,
        Cause::TooLong | Cause::Malformed => ReasonCode::ProtocolError,
    };
    Outcome::not_sent(Reason::new(
        code,
        format!("{} at {phase}", describe(&failure.cause)),
    ))
}

fn describe(cause: &Cause) -> String {
    match cause {
        Cause::Io(error) => format!("connection error ({:?})", error.kind()),
        Cause::Closed => "connection closed".to_owned(),
        Cause::TimedOut => "no answer in time".to_owned(),
        Cause::TooLong => "reply longer than 8 KiB".to_owned(),
        Cause::Malformed => "reply that is not SMTP".to_owned(),
        Cause::TlsUnavailable => "encryption not offered".to_owned(),
        Cause::NoLoginMethod => "no known login method".to_owned(),
        Cause::Reply(reply) => format!("smtp {}", reply.codes()),
    }
}

fn classify_reply(phase: Phase, reply: &Reply) -> Outcome {
    let reason = |code| Reason::new(code, format!("smtp {} at {phase}", reply.codes()));
    match reply.code {
        421 => Outcome::not_sent(reason(ReasonCode::Deferred)),
        530 | 534 | 535 | 538 => Outcome::Config {
            reason: reason(ReasonCode::AuthRefused),
        },
        400..=499 => Outcome::not_sent(reason(deferral(phase, reply))),
        500..=599 => refusal(phase, reply, reason),
        _ if phase == Phase::FinalDot => Outcome::InDoubt {
            reason: reason(ReasonCode::UnreadableAnswer),
        },
        _ => Outcome::not_sent(reason(ReasonCode::ProtocolError)),
    }
}

fn deferral(phase: Phase, reply: &Reply) -> ReasonCode {
    let about_the_message = matches!(
        phase,
        Phase::Mail | Phase::Rcpt | Phase::Data | Phase::FinalDot
    );
    if !about_the_message {
        ReasonCode::Deferred
    } else if is_mailbox_full(reply) {
        ReasonCode::MailboxFull
    } else if matches!(reply.code, 450 | 451) || matches!(reply.enhanced, Some((_, 7, _))) {
        ReasonCode::Greylisted
    } else {
        ReasonCode::Deferred
    }
}

fn refusal(phase: Phase, reply: &Reply, reason: impl Fn(ReasonCode) -> Reason) -> Outcome {
    match phase {
        Phase::Auth => Outcome::Config {
            reason: reason(ReasonCode::AuthRefused),
        },
        Phase::StartTls => Outcome::not_sent(reason(ReasonCode::TlsFailed)),
        // Too big is about this message; any other refusal of the sender meets every message.
        Phase::Mail if reply.code == 552 || matches!(reply.enhanced, Some((_, 3, 4))) => {
            Outcome::permanent(reason(ReasonCode::MessageRefused))
        }
        Phase::Rcpt | Phase::Data | Phase::FinalDot if is_mailbox_full(reply) => {
            Outcome::not_sent(reason(ReasonCode::MailboxFull))
        }
        Phase::Rcpt if is_bad_recipient(reply) => {
            let reason = reason(ReasonCode::BadRecipient);
            Outcome::Permanent {
                reason,
                bad_recipient: true,
            }
        }
        Phase::Rcpt | Phase::Data | Phase::Body | Phase::FinalDot => {
            Outcome::permanent(reason(ReasonCode::MessageRefused))
        }
        Phase::Connect | Phase::Tls | Phase::Greeting | Phase::Ehlo | Phase::Rset | Phase::Mail => {
            Outcome::Config {
                reason: reason(ReasonCode::SenderRefused),
            }
        }
    }
}

fn is_mailbox_full(reply: &Reply) -> bool {
    match reply.enhanced {
        Some((_, subject, detail)) => (subject, detail) == (2, 2),
        None => matches!(reply.code, 452 | 552),
    }
}

fn is_bad_recipient(reply: &Reply) -> bool {
    match reply.enhanced {
        // 5.1.7 and 5.1.8 are about the sender's address.
        Some((_, 1, detail)) => !matches!(detail, 7 | 8),
        Some((_, 2, detail)) => detail == 1,
        Some(_) => false,
        None => matches!(reply.code, 550 | 551 | 553),
    }
}
