//! Timers: rows that fall due, fired by any replica by the time of the database.

use chrono::{DateTime, Utc};

use crate::{code::codes, ids::OrderId};

codes! {
    /// What happens when a timer falls due.
    pub enum TimerKind {
        /// The customer's time to answer is over.
        ConfirmationDeadline = "CONFIRMATION_DEADLINE",
        /// Half of the customer's time to answer is over. Gives way to the deadline's timer.
        ConfirmationReminder = "CONFIRMATION_REMINDER",
        /// The time to complain without a reason is over.
        Completion = "COMPLETION",
        /// The customer may be asked how it was.
        Survey = "SURVEY",
    }
}

/// A row that falls due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timer {
    /// When.
    pub due_time: DateTime<Utc>,
    /// Whose.
    pub order_id: OrderId,
    /// What then.
    pub kind: TimerKind,
    /// The round of confirmation; 0 for other kinds.
    pub generation: u32,
}
