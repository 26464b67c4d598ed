//! What tests read off an order.

use countersign_proto::v1;

/// Kinds of events, in their order.
pub fn kinds(events: &[v1::OrderEvent]) -> Vec<&str> {
    events.iter().map(|event| event.kind.as_str()).collect()
}

/// Names of the stages that an order has reached.
pub fn names_of_states(order: &v1::Order) -> Vec<&'static str> {
    order
        .stage_times
        .iter()
        .map(|stage| {
            assert!(stage.reach_time.is_some());
            stage.state().as_str_name()
        })
        .collect()
}

/// Counters of a line, counted from 1.
pub fn counters(order: &v1::Order, line_number: usize) -> v1::LineCounters {
    order.lines[line_number - 1]
        .counters
        .expect("every line has counters")
}
