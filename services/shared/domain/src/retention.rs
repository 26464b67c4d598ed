//! What is forgotten in time, and what must stay although it is old.

use crate::{code::codes, message::DeliveryState};

codes! {
    /// What is kept for a time only. Orders, their history, papers and feedback are not among it.
    pub enum Retained {
        /// Answers that are remembered for repeated calls.
        Requests = "REQUESTS",
        /// What was put into the local mailbox.
        Mailbox = "MAILBOX",
        /// What customers and gateways said, once it is settled.
        Replies = "REPLIES",
        /// Calls that were refused because of who made them.
        Refusals = "REFUSALS",
        /// Posts to partners that were delivered or given up.
        Webhooks = "WEBHOOKS",
        /// Tries to send messages about orders that are closed.
        Attempts = "ATTEMPTS",
        /// Messages about orders that are closed, but the last one.
        Deliveries = "DELIVERIES",
        /// What carriers said about orders that are closed.
        Tracking = "TRACKING",
    }
}

/// Of the messages of a closed order, by sequence and state: all below the answer may go. The last one stays, for should
/// another follow after all, it waits for the one before it; and nothing goes while it did not come to a customer's hands or
/// to staff's.
pub fn messages_below(messages: &[(u32, DeliveryState)]) -> Option<u32> {
    let last = messages.iter().map(|(seq, _)| *seq).max()?;
    let over = messages.iter().all(|(_, state)| state.is_finished());
    let reached = messages
        .iter()
        .any(|(seq, state)| *seq == last && opens_the_next(*state));
    (over && reached).then_some(last)
}

/// Whether a message that stands first in its order, with none before it on record, lets the next one go: it was let go
/// itself once, so those before it were over.
pub fn opens_the_next(state: DeliveryState) -> bool {
    state.is_out() || state == DeliveryState::Dead
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_last_message_of_an_order_goes_once_that_is_over() {
        use DeliveryState::{Dead, Delivered, Failed, Sent, Superseded, Waiting};
        let below = |states: &[(u32, DeliveryState)]| messages_below(states);
        assert_eq!(below(&[]), None);
        assert_eq!(below(&[(1, Sent), (2, Failed), (3, Delivered)]), Some(3));
        // One channel of the last message is enough.
        assert_eq!(below(&[(1, Sent), (2, Failed), (2, Sent)]), Some(2));
        assert_eq!(below(&[(1, Sent), (2, Dead)]), Some(2));
        assert_eq!(below(&[(1, Sent), (2, Superseded)]), None);
        assert_eq!(below(&[(1, Waiting), (2, Sent)]), None);
    }
}
