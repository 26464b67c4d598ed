use super::*;

#[test]
fn roles_are_sets() {
    let roles = Roles::of([Role::OrderWriter, Role::Agent]);
    assert!(roles.has(Role::OrderWriter) && roles.has(Role::Agent));
    assert!(!roles.has(Role::Admin));
    assert!(roles.meets(Roles::of([Role::Admin, Role::Agent])));
    assert!(!roles.meets(Roles::of([Role::Admin])));
    assert!(Roles::NONE.is_empty() && !Roles::NONE.meets(Roles::ALL));
    assert_eq!(
        roles.iter().map(word).collect::<Vec<_>>(),
        ["ORDER_WRITER", "AGENT"]
    );
    assert_eq!(Roles::ALL.iter().count(), 7);
}

#[test]
fn who_only_brings_orders_in_sees_only_its_own() {
    let writer = Caller::new("shop", Roles::of([Role::OrderWriter]));
    assert_eq!(writer.sees_only(), Some("shop"));
    for role in Roles::ALL.iter().filter(|it| *it != Role::OrderWriter) {
        let both = Caller::new("erp", Roles::of([Role::OrderWriter, role]));
        assert_eq!(both.sees_only(), None, "{role:?}");
    }
    let nothing = Caller::new("shop", Roles::NONE);
    assert_eq!(nothing.sees_only(), Some("shop"));
}

#[test]
fn names_are_plain() {
    for name in ["shop", "import.olist", "a@b", "spiffe:x-1_2"] {
        assert!(is_name(name), "{name}");
    }
    let long = "x".repeat(65);
    for name in ["", "a b", "naïve", "a/b", "a\nb", &long] {
        assert!(!is_name(name), "{name}");
    }
}
