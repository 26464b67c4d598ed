//! What becomes of a message after a try (RELIABILITY 3.4 and 3.5). Pure: the result of the try and the history go in.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use countersign_domain::{
    message::{AttemptOutcome, DeliveryState, OptOutReason},
    order::Channel,
};
use countersign_store::{AttemptRecord, NextStep, Verdict};

use crate::channel::{Outcome, Reason, ReasonCode, Reconciled, RetryRule};

/// Tries that count, before a message is given up.
const ATTEMPTS_MAX: usize = 8;
/// Tries on a full mailbox, and of our own program.
const THREE_TRIES: usize = 3;
/// Seconds after the first, second … failure.
const SCHEDULE: [u64; ATTEMPTS_MAX] = [5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400];
/// The same for a relay that wants to see the message again later.
const GREYLIST: [u64; 5] = [60, 300, 900, 1_800, 3_600];
/// Longest wait that the other side may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);
/// Before a try that does not count.
const FREE_WAIT: Duration = Duration::from_secs(30);
/// While our set-up is wrong.
const CONFIG_WAIT: Duration = Duration::from_mins(5);
/// How long a message is left to a newer version of the program, and how often it is looked at.
const UNKNOWN_MAX: TimeDelta = TimeDelta::minutes(15);
const UNKNOWN_WAIT: Duration = Duration::from_mins(1);
/// Code of such a try.
const UNKNOWN: &str = "UNKNOWN_TEMPLATE";
/// Between two questions about a message that is in doubt.
const RECONCILE_WAIT: Duration = Duration::from_mins(1);
/// A gateway that does not know the message this long after the try has never had it: two questions were asked by then.
const NEVER_HAD_IT: TimeDelta = TimeDelta::seconds(110);
/// How long a gateway is asked that gives no answer.
const ASKING_MAX: TimeDelta = TimeDelta::hours(1);

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Judged {
    pub(crate) outcome: AttemptOutcome,
    pub(crate) error: String,
    pub(crate) provider_id: Option<String>,
    pub(crate) verdict: Verdict,
    pub(crate) next: NextStep,
    pub(crate) opt_out: Option<OptOutReason>,
    /// The carrier was asked by our own key and named this message: it has it, whatever id it calls it by.
    pub(crate) by_our_key: bool,
}

impl Judged {
    fn of(outcome: AttemptOutcome, reason: Option<&Reason>, verdict: Verdict) -> Self {
        let given_up = matches!(
            verdict,
            Verdict::End(DeliveryState::Failed | DeliveryState::Dead)
        );
        Self {
            outcome,
            error: reason.map_or_else(String::new, ToString::to_string),
            provider_id: None,
            verdict,
            next: if given_up {
                NextStep::Now
            } else {
                NextStep::AsPlanned
            },
            opt_out: None,
            by_our_key: false,
        }
    }

    /// The message cannot be written at all.
    pub(crate) fn unrenderable(error: String) -> Self {
        Self {
            error,
            ..Self::of(
                AttemptOutcome::Permanent,
                None,
                Verdict::End(DeliveryState::Dead),
            )
        }
    }
}

/// What is known when a try ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tried<'a> {
    pub(crate) channel: Channel,
    /// The tries before this one.
    pub(crate) history: &'a [AttemptRecord],
    pub(crate) now: DateTime<Utc>,
    /// Between 0.8 and 1.2.
    pub(crate) jitter: f64,
    /// After this moment the message is of no use.
    pub(crate) deadline: Option<DateTime<Utc>>,
}

impl Tried<'_> {
    fn again(&self, wait: Duration) -> Verdict {
        let wait = TimeDelta::from_std(wait.mul_f64(self.jitter)).unwrap_or(ASKING_MAX);
        Verdict::Again(self.now + wait)
    }

    /// How long ago the last try was begun.
    fn since_begun(&self) -> TimeDelta {
        let begun = self.history.last().map_or(self.now, |it| it.start_time);
        self.now - begun
    }

    /// Earlier tries that failed for this reason, or for any that counts.
    fn failures(&self, only: Option<ReasonCode>) -> usize {
        self.history
            .iter()
            .filter(|attempt| attempt.outcome == AttemptOutcome::NotSent)
            .filter_map(|attempt| code_of(&attempt.error))
            .filter(|code| match only {
                Some(only) => *code == only,
                None => code.retry_rule() != RetryRule::Free,
            })
            .count()
    }
}

/// The code that stands before the explanation.
fn code_of(error: &str) -> Option<ReasonCode> {
    let (code, _) = error.split_once(": ")?;
    ReasonCode::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == code)
}

/// Earlier tries that may have reached the customer.
pub(crate) fn doubts(history: &[AttemptRecord]) -> usize {
    history
        .iter()
        .filter(|attempt| attempt.outcome == AttemptOutcome::InDoubt)
        .count()
}

/// Judges a try.
pub(crate) fn judge(outcome: &Outcome, tried: &Tried<'_>) -> Judged {
    let reason = outcome.reason();
    match outcome {
        Outcome::Sent { provider_id } => Judged {
            provider_id: Some(provider_id.clone()),
            ..Judged::of(
                AttemptOutcome::Sent,
                None,
                Verdict::End(DeliveryState::Sent),
            )
        },
        Outcome::NotSent {
            reason: why,
            retry_after,
        } => Judged::of(
            AttemptOutcome::NotSent,
            reason,
            within(tried, after_not_sent(why.code, *retry_after, tried)),
        ),
        Outcome::Permanent {
            reason: why,
            bad_recipient,
        } => Judged {
            opt_out: match why.code {
                ReasonCode::OptedOut => Some(OptOutReason::Gateway),
                _ if *bad_recipient => Some(OptOutReason::BadAddress),
                _ => None,
            },
            ..Judged::of(
                AttemptOutcome::Permanent,
                reason,
                // Staff can mend a template, and then send what it was refused for (RELIABILITY, D-12).
                Verdict::End(if why.code == ReasonCode::TemplateRefused {
                    DeliveryState::Dead
                } else {
                    DeliveryState::Failed
                }),
            )
        },
        Outcome::InDoubt { .. } => {
            // A letter is sent again once, as the same letter; a gateway is asked first.
            let resend = tried.channel != Channel::Email || doubts(tried.history) == 0;
            let verdict = if resend {
                tried.again(RECONCILE_WAIT)
            } else {
                Verdict::End(DeliveryState::InDoubt)
            };
            Judged::of(AttemptOutcome::InDoubt, reason, verdict)
        }
        Outcome::Config { .. } => {
            let verdict = within(tried, tried.again(CONFIG_WAIT));
            Judged::of(AttemptOutcome::Config, reason, verdict)
        }
    }
}

/// A try that would come too late is not waited for: the next channel may still be in time.
fn within(tried: &Tried<'_>, verdict: Verdict) -> Verdict {
    match (verdict, tried.deadline) {
        (Verdict::Again(time), Some(deadline)) if time >= deadline => {
            Verdict::End(DeliveryState::Dead)
        }
        (verdict, _) => verdict,
    }
}

/// A message of a newer version of the program: left to that one for a while, then dead (RELIABILITY, H-03).
pub(crate) fn unknown_template(problem: &str, tried: &Tried<'_>) -> Judged {
    let first = tried
        .history
        .iter()
        .find(|attempt| attempt.error.starts_with(UNKNOWN));
    let since = first.map_or(tried.now, |attempt| attempt.start_time);
    let verdict = if tried.now < since + UNKNOWN_MAX {
        tried.again(UNKNOWN_WAIT)
    } else {
        Verdict::End(DeliveryState::Dead)
    };
    Judged {
        error: format!("{UNKNOWN}: {problem}"),
        ..Judged::of(AttemptOutcome::NotSent, None, verdict)
    }
}

fn after_not_sent(code: ReasonCode, retry_after: Option<Duration>, tried: &Tried<'_>) -> Verdict {
    if code == ReasonCode::DeadlinePassed {
        return Verdict::End(DeliveryState::Superseded);
    }
    let counted = tried.failures(None);
    let wait = match code.retry_rule() {
        RetryRule::Free => Some(FREE_WAIT),
        RetryRule::Greylist => {
            let seen = tried.failures(Some(code));
            let step = GREYLIST.get(seen).or(GREYLIST.last());
            (counted + 1 < ATTEMPTS_MAX)
                .then_some(step)
                .flatten()
                .map(|seconds| Duration::from_secs(*seconds))
        }
        RetryRule::ThreeTries if tried.failures(Some(code)) + 1 >= THREE_TRIES => None,
        RetryRule::ThreeTries | RetryRule::Standard => (counted + 1 < ATTEMPTS_MAX)
            .then(|| SCHEDULE.get(counted))
            .flatten()
            .map(|seconds| Duration::from_secs(*seconds)),
    };
    let Some(wait) = wait else {
        return Verdict::End(DeliveryState::Dead);
    };
    match (retry_after, tried.again(wait)) {
        // Asked to wait: at least that long, whatever the jitter says.
        (Some(asked), Verdict::Again(planned)) => {
            let asked = TimeDelta::from_std(asked.min(RETRY_AFTER_MAX)).unwrap_or(ASKING_MAX);
            if code.retry_rule() == RetryRule::Free {
                Verdict::Again(tried.now + asked)
            } else {
                Verdict::Again(planned.max(tried.now + asked))
            }
        }
        (_, planned) => planned,
    }
}

/// What to do with a message whose last try is in doubt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resolved {
    /// Write this; nothing is sent.
    Write(Box<Judged>),
    /// Send it once more.
    Resend,
}

/// Nobody can be asked: what is in doubt for the first time is sent once more, for a letter twice is better than none.
fn resolve_unasked(history: &[AttemptRecord]) -> Resolved {
    if doubts(history) < 2 {
        return Resolved::Resend;
    }
    let reason = Reason::new(ReasonCode::Unconfirmed, "sent twice, confirmed never");
    Resolved::Write(Box::new(Judged::of(
        AttemptOutcome::InDoubt,
        Some(&reason),
        Verdict::End(DeliveryState::InDoubt),
    )))
}

/// The gateway's id is another message's: this one is in doubt, whether it was just sent or asked for (RELIABILITY, D-21).
/// Only a carrier that knows it by our own key is believed: the customer who has the text is not to be rung up as well. Then it
/// goes without an id.
pub(crate) fn id_taken(is_new: bool, by_our_key: bool, tried: &Tried<'_>) -> Judged {
    if by_our_key {
        return Judged::of(
            AttemptOutcome::Sent,
            None,
            Verdict::End(DeliveryState::Sent),
        );
    }
    let text = "the gateway's id belongs to another message";
    let reason = Reason::new(ReasonCode::IdTaken, text);
    if is_new {
        judge(&Outcome::InDoubt { reason }, tried)
    } else {
        untold(&reason, tried)
    }
}

/// In doubt still.
fn undecided(reason: &Reason, verdict: Verdict) -> Judged {
    let ended = matches!(verdict, Verdict::End(_));
    Judged {
        next: if ended {
            NextStep::Now
        } else {
            NextStep::AsPlanned
        },
        ..Judged::of(AttemptOutcome::InDoubt, Some(reason), verdict)
    }
}

/// The carrier was asked and did not tell: it is asked again for an hour.
fn untold(reason: &Reason, tried: &Tried<'_>) -> Judged {
    let verdict = if tried.since_begun() < ASKING_MAX {
        tried.again(RECONCILE_WAIT)
    } else {
        Verdict::End(DeliveryState::InDoubt)
    };
    undecided(reason, verdict)
}

/// After the carrier was asked. A call is never placed again by itself.
pub(crate) fn resolve(reconciled: &Reconciled, tried: &Tried<'_>) -> Resolved {
    let in_doubt = Verdict::End(DeliveryState::InDoubt);
    let judged = match reconciled {
        Reconciled::Accepted {
            provider_id,
            by_our_key,
            ..
        } => Judged {
            provider_id: Some(provider_id.clone()),
            by_our_key: *by_our_key,
            ..Judged::of(
                AttemptOutcome::Sent,
                None,
                Verdict::End(DeliveryState::Sent),
            )
        },
        Reconciled::NobodyToAsk if tried.channel != Channel::Phone => {
            return resolve_unasked(tried.history);
        }
        Reconciled::NobodyToAsk => {
            let reason = Reason::new(ReasonCode::Unconfirmed, "a call is not placed twice");
            undecided(&reason, in_doubt)
        }
        Reconciled::NotFound => {
            let reason = Reason::new(ReasonCode::Unconfirmed, "the gateway does not know it");
            if tried.since_begun() < NEVER_HAD_IT {
                undecided(&reason, tried.again(RECONCILE_WAIT))
            } else if tried.channel == Channel::Phone || doubts(tried.history) > 1 {
                undecided(&reason, in_doubt)
            } else {
                return Resolved::Resend;
            }
        }
        Reconciled::Unknown { reason } => untold(reason, tried),
    };
    Resolved::Write(Box::new(judged))
}

#[cfg(test)]
mod tests;
