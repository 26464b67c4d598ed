//! What is told when the sample has been played: how many orders are in which state, and what to look at next.

use std::{collections::BTreeMap, fmt::Write as _};

use countersign_domain::{ids::OrderId, order::OrderState};
use countersign_proto::v1::Order;
use countersign_store::FIRST_GENERATION;

use super::Stage;

/// Characters of the longest bar.
const BAR_WIDTH: u64 = 40;

/// Every state in the order of an order's life, with its count as a bar.
pub(super) fn bars(counts: &BTreeMap<String, u64>) -> String {
    let most = counts.values().copied().max().unwrap_or(0).max(1);
    let mut text = String::new();
    for state in OrderState::ALL {
        let count = counts.get(state.as_str()).copied().unwrap_or(0);
        let word = state.as_str();
        // Whatever is there shows.
        let width = (count * BAR_WIDTH).div_ceil(most);
        let bar: String = (0..width).map(|_| '█').collect();
        let line = if *state == OrderState::Received && count == 0 {
            format!("  {word:<22}{count:>7}  (no order rests here: it is judged as it is taken in)")
        } else {
            format!("  {word:<22}{count:>7}  {bar}")
        };
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// What to open next; `shown` are orders by their course.
pub(super) fn next(stage: &Stage, shown: &BTreeMap<u32, Order>) -> String {
    const PAGES: [(u32, &str); 3] = [
        (
            0,
            "the page of a customer who has been asked: say yes or no",
        ),
        (3, "of one whose goods are on their way"),
        (2, "of one whose goods have arrived"),
    ];
    let mut text = format!(
        "What to look at next:\n  {}/mailbox\n      (what customers were sent)\n",
        stage.pages
    );
    for (course, what) in PAGES {
        let id = shown
            .get(&course)
            .and_then(|order| OrderId::from_resource_name(&order.name).ok());
        let Some(id) = id else { continue };
        let token = stage.link_key.link_token(id, FIRST_GENERATION);
        // Writing into a String cannot fail.
        writeln!(text, "  {}/o/{token}\n      ({what})", stage.pages).ok();
    }
    let target = stage.target.trim_start_matches("http://");
    writeln!(
        text,
        "  grpcurl -plaintext -d '{{\"filter\": \"state = \\\"UNDER_AUDIT\\\"\"}}' {target} countersign.v1.OrderService/ListOrders\n      \
         (what waits for staff)"
    )
    .ok();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_a_line_and_whatever_is_there_a_bar() {
        let counts = BTreeMap::from([("ALLOCATED".to_owned(), 400), ("MERGED".to_owned(), 1)]);

        let text = bars(&counts);

        assert_eq!(text.lines().count(), OrderState::ALL.len());
        let line = |word: &str| {
            text.lines()
                .find(|line| line.split_whitespace().next() == Some(word))
                .unwrap()
        };
        assert!(line("ALLOCATED").ends_with(&format!("400  {}", "█".repeat(40))));
        assert!(line("MERGED").ends_with("1  █"));
        assert!(line("PACKED").ends_with(" 0"));
        let column = |word: &str| line(word).find('█').unwrap();
        assert_eq!(
            column("ALLOCATED"),
            column("MERGED"),
            "bars stand in one column"
        );
        assert!(line("RECEIVED").contains("no order rests here"));
    }
}
