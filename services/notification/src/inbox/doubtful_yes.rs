//! A yes by text message that did not count.

use countersign_domain::{confirmation::AnswerChannel, reply::ReplyContent};

/// A yes by text may not count: the order is held, or worth more than a text alone may confirm. Staff must hear of it.
pub(super) const fn is_yes_by_text(content: &ReplyContent) -> bool {
    matches!(
        content,
        ReplyContent::Accept {
            answer_channel: AnswerChannel::Sms,
            ..
        }
    )
}

pub(super) fn yes_for_staff() -> ReplyContent {
    ReplyContent::Words {
        channel: "SMS".to_owned(),
        text: "A text message says yes, which did not confirm the order: ring the customer, or ask for the code."
            .to_owned(),
    }
}
