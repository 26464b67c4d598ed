use countersign_store::{
    Filter::{All, Any, Field, Not},
    Operand, OrderField,
};
use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Result<Option<OrderFilter>, Problem> {
    super::read::<field::Field>(text)
}

fn filter(text: &str) -> OrderFilter {
    read(text).unwrap().unwrap()
}

fn problem(text: &str) -> String {
    read(text).unwrap_err().to_string()
}

fn state(how: Comparison, state: &str) -> OrderFilter {
    Field(OrderField::State, how, Operand::Text(state.to_owned()))
}

#[test]
fn nothing_is_no_filter() {
    assert_eq!(read("").unwrap(), None);
    assert_eq!(read(" \n\t ").unwrap(), None);
}

#[test]
fn words_may_be_bare_or_quoted() {
    let confirmed = state(Comparison::Equal, "CONFIRMED");
    for text in [
        "state = CONFIRMED",
        "state=\"CONFIRMED\"",
        "state = 'CONFIRMED'",
        "state = ORDER_STATE_CONFIRMED",
        "(((state = CONFIRMED)))",
    ] {
        assert_eq!(filter(text), confirmed, "{text}");
    }
    assert_eq!(
        filter(r#"handler = "O\"Neil \\ Söhne""#),
        Field(
            OrderField::Handler,
            Comparison::Equal,
            Operand::Text(r#"O"Neil \ Söhne"#.to_owned())
        )
    );
    assert_eq!(
        filter("customer = customers/C-1"),
        Field(
            OrderField::Customer,
            Comparison::Equal,
            Operand::Text("C-1".to_owned())
        )
    );
}

#[test]
fn or_binds_tighter_than_and() {
    let [a, b, c] = ["CONFIRMED", "PACKED", "PICKING"].map(|word| state(Comparison::Equal, word));
    let words = "state = CONFIRMED AND state = PACKED OR state = PICKING";
    assert_eq!(
        filter(words),
        All(vec![a.clone(), Any(vec![b.clone(), c.clone()])])
    );
    let bracketed = "(state = CONFIRMED AND state = PACKED) OR state = PICKING";
    assert_eq!(filter(bracketed), Any(vec![All(vec![a, b]), c]));
}

#[test]
fn not_and_minus_negate() {
    let not = Not(Box::new(state(Comparison::Equal, "PACKED")));
    assert_eq!(filter("NOT state = PACKED"), not);
    assert_eq!(filter("-state = PACKED"), not);
    assert_eq!(filter("-(state = PACKED)"), not);
    assert_eq!(filter("NOT NOT state = PACKED"), Not(Box::new(not)));
}

#[test]
fn held_counts_holds() {
    let holds = |how| Field(OrderField::Holds, how, Operand::Number(0));
    for (text, how) in [
        ("held = true", Comparison::Greater),
        ("held != true", Comparison::Equal),
        ("held = false", Comparison::Equal),
        ("held != false", Comparison::Greater),
    ] {
        assert_eq!(filter(text), holds(how), "{text}");
    }
}

#[test]
fn numbers_and_times_are_compared() {
    assert_eq!(
        filter("priority >= -5"),
        Field(
            OrderField::Priority,
            Comparison::GreaterOrEqual,
            Operand::Number(-5)
        )
    );
    for text in [
        "create_time < 2026-11-23T08:00:00Z",
        "create_time < \"2026-11-23T16:00:00+08:00\"",
    ] {
        assert_eq!(
            filter(text),
            Field(
                OrderField::CreateTime,
                Comparison::Less,
                Operand::Time("2026-11-23T08:00:00Z".parse().unwrap())
            )
        );
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    for (text, told) in [
        (
            "stat = X",
            "at character 1: unknown field; known are state,",
        ),
        ("state = X", "at character 9: must be one of RECEIVED,"),
        ("state CONFIRMED", "at character 7: expected =, !=,"),
        (
            "state < CONFIRMED",
            "at character 7: this field can be compared",
        ),
        ("state = ", "at character 9: expected a value"),
        (
            "state = \"CONFIRMED",
            "at character 9: the quotation mark is not closed",
        ),
        (
            "(state = CONFIRMED",
            "at character 19: expected ), AND or OR, found the end",
        ),
        (
            "state = CONFIRMED state = PACKED",
            "at character 19: expected AND, OR or the end",
        ),
        ("state = CONFIRMED AND", "at character 22: expected a field"),
        ("ü = 1", "at character 1: unexpected character"),
        (
            "state ! CONFIRMED",
            "at character 7: ! must be followed by =",
        ),
        ("held = yes", "at character 8: must be true or false"),
        ("priority = high", "at character 12: must be a whole number"),
        (
            "priority = 9999999999999999999999",
            "at character 12: must be a whole number",
        ),
        (
            "create_time > yesterday",
            "at character 15: must be a time of RFC 3339",
        ),
        ("state = -\"PACKED\"", "at character 10: expected a value"),
    ] {
        let found = problem(text);
        assert!(found.starts_with(told), "{text}: {found}");
    }
    let refused = parse("x").unwrap_err();
    assert!(matches!(refused, ServiceError::Invalid(fields) if fields[0].field == "filter"));
}

#[test]
fn depth_length_and_number_are_bounded() {
    let deep = format!("{}held = true{}", "(".repeat(17), ")".repeat(17));
    assert!(problem(&deep).contains("at most 16"));
    assert!(problem(&"-".repeat(4_000)).contains("at most 16"));
    let many = vec!["held = true"; 101].join(" AND ");
    assert!(problem(&many).contains("at most 100 comparisons"));
    assert!(problem(&" ".repeat(4_097)).contains("at most 4096 bytes"));
    assert!(read(&vec!["held=true"; 100].join(" OR ")).is_ok());
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>()) {
        let _read = read(&text);
    }

    #[test]
    fn no_row_of_parts_makes_it_panic(parts in proptest::collection::vec(
        prop_oneof![
            Just("state"), Just("held"), Just("priority"), Just("create_time"), Just("="), Just("!="), Just("<="),
            Just("("), Just(")"), Just("-"), Just("AND"), Just("OR"), Just("NOT"), Just("true"), Just("\"PACKED\""),
            Just("7"), Just("\""), Just("2026-11-23T08:00:00Z"), Just("\\"),
        ], 0..40)) {
        let _read = read(&parts.join(" "));
    }
}
