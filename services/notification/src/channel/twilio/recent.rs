//! The ids that Twilio gave lately. One id for two messages would join the fate of one to the other.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use uuid::Uuid;

/// Ids that are remembered; a few minutes at full speed.
const KEPT: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Ids>);

#[derive(Debug, Default)]
struct Ids {
    messages: HashMap<String, Uuid>,
    order: VecDeque<String>,
}

impl Recent {
    /// Notes whose id it is. False when it is another message's already.
    pub(super) fn note(&self, sid: &str, message: Uuid) -> bool {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = ids.messages.get(sid) {
            return *known == message;
        }
        if ids.order.len() >= KEPT
            && let Some(oldest) = ids.order.pop_front()
        {
            ids.messages.remove(&oldest);
        }
        ids.messages.insert(sid.to_owned(), message);
        ids.order.push_back(sid.to_owned());
        true
    }

    /// Whether the id is known to be another message's.
    pub(super) fn is_of_another(&self, sid: &str, message: Uuid) -> bool {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.messages.get(sid).is_some_and(|known| *known != message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_belongs_to_one_message_and_is_forgotten_in_time() {
        let recent = Recent::default();
        let (first, second) = (Uuid::from_u128(1), Uuid::from_u128(2));
        assert!(recent.note("SM1", first) && recent.note("SM1", first));
        assert!(!recent.note("SM1", second));
        assert!(recent.is_of_another("SM1", second) && !recent.is_of_another("SM1", first));
        for number in 0..KEPT {
            recent.note(&format!("x{number}"), first);
        }
        assert!(recent.note("SM1", second));
    }
}
