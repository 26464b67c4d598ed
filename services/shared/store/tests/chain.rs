//! The audit chain is whole after everything that a shop does, and every way of tampering with it is found and named.
#![cfg(test)]

use countersign_domain::{
    chain::{Anchor, Summary},
    ids::CommitId,
    message::GatewayState,
    order::Channel,
};
use countersign_store::{
    ActCall, Store,
    testing::{TestDatabase, shop::Shop},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

const MAIL: Option<&str> = Some("canary@example.com");

async fn sequence(store: &Store) {
    while store.sequence_events().await.unwrap() > 0 {}
}

async fn verify(store: &Store, anchors: &[Anchor]) -> Summary {
    store
        .verify_chain(1, anchors.to_vec(), &|_| {})
        .await
        .unwrap()
}

async fn hold_gateway(store: &Store, request: u8) {
    let now = store.now().await.unwrap();
    let call = ActCall {
        id: CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid(),
        request_hash: [request; 32],
        fingerprint: [1; 32],
        actor: "wang".to_owned(),
        approver: String::new(),
        reason: "it costs too much".to_owned(),
    };
    store
        .operate_gateway("sms-gateway", GatewayState::Held, None, &call, now)
        .await
        .unwrap();
}

/// A shop with a policy, five orders that have come to different places, and three acts of staff, one commit each.
async fn played(database: &TestDatabase) -> Shop {
    let store = &database.store;
    let mut shop = Shop::new(store.clone());
    // Everything is put into the chain at once: what waits there together stands in any order.
    shop.publish_policy().await;
    sequence(store).await;
    let now = store.now().await.unwrap();
    let accounts = [("sms-gateway".to_owned(), Channel::Sms)];
    store.register_gateways(&accounts, now).await.unwrap();
    for request in 1..=3 {
        hold_gateway(store, request).await;
        sequence(store).await;
        let order = shop.order(MAIL, None).await;
        sequence(store).await;
        shop.accept(order.id).await;
        sequence(store).await;
    }
    let order = shop.order(MAIL, None).await;
    sequence(store).await;
    shop.cancel(order.id).await;
    sequence(store).await;
    shop.order(MAIL, None).await;
    sequence(store).await;
    shop
}

/// Does something to tables, verifies, and brings the tables back as they were.
struct Tamper<'a> {
    database: &'a TestDatabase,
    anchors: Vec<Anchor>,
}

const TABLES: [&str; 7] = [
    "commits",
    "order_events",
    "audit_entries",
    "operator_acts",
    "order_policies",
    "chain_heads",
    "sequences",
];

impl<'a> Tamper<'a> {
    async fn new(database: &'a TestDatabase) -> Self {
        for table in TABLES {
            let sql = format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}");
            database.execute(&sql).await;
        }
        Self {
            database,
            anchors: Vec::new(),
        }
    }

    async fn with(&self, statements: &[&str]) -> Vec<String> {
        for statement in statements {
            self.database.execute(statement).await;
        }
        let found = verify(&self.database.store, &self.anchors).await;
        for table in TABLES {
            self.database.execute(&format!("DELETE FROM {table}")).await;
            let sql = format!("INSERT INTO {table} SELECT * FROM kept_{table}");
            self.database.execute(&sql).await;
        }
        assert_eq!(found.faults.is_empty(), found.fault_count == 0);
        found.faults.iter().map(ToString::to_string).collect()
    }

    /// The first fault, which must begin and go on so.
    async fn finds(&self, statements: &[&str], begins: &str, holds: &str) {
        let found = self.with(statements).await;
        let kind = self.database.store.kind();
        let first = found.first().map(String::as_str).unwrap_or_default();
        assert!(
            first.starts_with(begins) && first.contains(holds),
            "{kind:?}, after {statements:?}: wanted {begins:?} and {holds:?}, found {found:?}"
        );
    }

    async fn anchored(&mut self, positions: &[i64]) {
        for position in positions {
            self.anchors.push(Anchor {
                position: *position,
                hash: self.hash_at(*position).await,
                time: self.database.store.now().await.unwrap(),
            });
        }
    }

    async fn hash_at(&self, position: i64) -> [u8; 32] {
        let bytes = self
            .database
            .bytes(&format!(
                "SELECT chain_hash AS b FROM commits WHERE position = {position}"
            ))
            .await;
        bytes.try_into().unwrap()
    }
}

#[tokio::test]
async fn j_08_every_way_of_tampering_is_found_and_the_first_bad_place_named() {
    for database in TestDatabase::all().await {
        played(&database).await;
        let whole = verify(&database.store, &[]).await;
        assert_eq!(whole.faults, [], "{:?}", database.store.kind());
        // Policy, three acts, five orders, three answers, one cancellation.
        assert_eq!((whole.commits, whole.records), (13, 13));
        assert_eq!(whole.uncovered, 0);

        let tamper = Tamper::new(&database).await;
        // Which commits these are: the policy and the first act come first, then the first order's.
        let event = "commit_id = (SELECT id FROM commits WHERE position = 3)";
        let act = "id = (SELECT id FROM kept_operator_acts ORDER BY id LIMIT 1)";

        // Rows that were edited.
        for (set, holds) in [
            ("details = '{}'", "version 1 was changed"),
            ("details = '{ }', kind = kind", "version 1 was changed"),
            ("actor = 'nobody'", "version 1 was changed"),
            ("kind = 'order.cancelled'", "version 1 was changed"),
            ("to_state = 'CANCELLED'", "version 1 was changed"),
            ("version = 77", "version 77 was changed"),
            ("revision = 7", "version 1 was changed"),
            (
                "create_time = '2020-01-01 00:00:00'",
                "version 1 was changed",
            ),
            ("salt = NULL", "version 1 was changed"),
            ("hash = salt", "version 1 was changed"),
        ] {
            let sql = format!("UPDATE order_events SET {set} WHERE {event}");
            tamper.finds(&[&sql], "position 3: the event", holds).await;
        }
        for set in [
            "reason = 'another'",
            "actor = 'li'",
            "outcome = 'ALREADY'",
            "result = '1'",
            "subject = 'gateways/x'",
        ] {
            let sql = format!("UPDATE operator_acts SET {set} WHERE {act}");
            tamper
                .finds(&[&sql], "position 2: the row operator_acts/", "was changed")
                .await;
        }
        tamper
            .finds(
                &["UPDATE order_policies SET policy = '{}'"],
                "position 1: the row order_policies/ECOMMERCE/1",
                "was changed",
            )
            .await;
        for set in [
            "digest = chain_hash",
            "chain_hash = digest",
            "create_time = '2020-01-01 00:00:00'",
            "records = 1, digest = NULL",
        ] {
            let sql = format!("UPDATE commits SET {set} WHERE position = 5");
            tamper.finds(&[&sql], "position 5: ", "").await;
        }
        tamper
            .finds(
                &["UPDATE commits SET chain_hash = NULL WHERE position = 5"],
                "position 5: ",
                "lost its hash",
            )
            .await;

        // Rows that were deleted.
        tamper
            .finds(
                &[&format!("DELETE FROM order_events WHERE {event}")],
                "position 3: ",
                "1 of the commit's records were deleted",
            )
            .await;
        tamper
            .finds(
                &[&format!("DELETE FROM operator_acts WHERE {act}")],
                "position 2: the row operator_acts/",
                "was deleted",
            )
            .await;
        tamper
            .finds(
                &["DELETE FROM audit_entries WHERE kind = 'ACT'"],
                "position 2: ",
                "1 of the commit's records were deleted",
            )
            .await;
        tamper
            .finds(
                &["DELETE FROM commits WHERE position IN (6, 7)"],
                "position 6: ",
                "the commits from here to 7 were deleted",
            )
            .await;
        let found = tamper
            .with(&["DELETE FROM commits WHERE position = 6"])
            .await;
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("belongs to a commit that was deleted")),
            "{found:?}"
        );

        // Rows that were moved.
        tamper
            .finds(
                &[
                    "UPDATE commits SET position = 999 WHERE position = 4",
                    "UPDATE commits SET position = 4 WHERE position = 7",
                    "UPDATE commits SET position = 7 WHERE position = 999",
                ],
                "position 4: ",
                "does not follow",
            )
            .await;
        let to = "(SELECT id FROM commits WHERE position = 12)";
        let swap = format!("UPDATE order_events SET commit_id = {to}, ordinal = 9 WHERE {event}");
        tamper.finds(&[&swap], "position 3: ", "deleted").await;

        // Rows that were put in.
        let copied = "order_id, version + 100, kind, revision, from_state, to_state, actor, create_time, details, salt, hash";
        let insert = format!(
            "INSERT INTO order_events (commit_id, ordinal, order_id, version, kind, revision, from_state, to_state, actor, create_time, details, salt, hash) \
             SELECT commit_id, 1, {copied} FROM kept_order_events WHERE {event}"
        );
        tamper
            .finds(
                &[&insert],
                "position 3: ",
                "1 records were put into the commit",
            )
            .await;
        let columns = "request_hash, fingerprint, subject, action, generation, outcome, actor, approver, reason, result, create_time";
        let insert = format!(
            "INSERT INTO operator_acts (id, {columns}) \
             SELECT digest16, {} FROM kept_operator_acts, (SELECT salt AS digest16, hash AS other FROM kept_order_events LIMIT 1) AS s WHERE {act}",
            columns.replace("request_hash", "s.other")
        );
        tamper
            .finds(
                &[&insert],
                "the row operator_acts/",
                "was put in past the chain",
            )
            .await;

        // The last link.
        tamper
            .finds(
                &["UPDATE chain_heads SET position = 9"],
                "position 10: ",
                "behind the last link",
            )
            .await;
        tamper
            .finds(
                &["UPDATE chain_heads SET hash = (SELECT digest FROM commits WHERE position = 3)"],
                "position 13: ",
                "another hash",
            )
            .await;
        tamper
            .finds(
                &["DELETE FROM chain_heads"],
                "position 1: ",
                "behind the last link",
            )
            .await;
    }
}

/// Everything behind a position, as somebody would delete it who knows the tables.
const CUT: [&str; 5] = [
    "DELETE FROM commits WHERE position > 9",
    "DELETE FROM order_events WHERE commit_id NOT IN (SELECT id FROM commits)",
    "DELETE FROM audit_entries WHERE commit_id NOT IN (SELECT id FROM commits)",
    "UPDATE sequences SET value = 9 WHERE name = 'event_positions'",
    "UPDATE chain_heads SET position = 9, hash = (SELECT chain_hash FROM commits WHERE position = 9)",
];

#[tokio::test]
async fn j_08_a_tail_that_was_cut_off_is_found_through_an_anchor() {
    for database in TestDatabase::all().await {
        played(&database).await;
        let mut tamper = Tamper::new(&database).await;
        // Who forgets the counter is found at once.
        tamper
            .finds(
                &CUT[..4],
                "position 13: ",
                "the chain ends before: its tail was cut off",
            )
            .await;
        // Who does not is found by what stands elsewhere.
        assert_eq!(tamper.with(&CUT).await, [] as [String; 0]);
        tamper.anchored(&[4, 9]).await;
        assert_eq!(tamper.with(&CUT).await, [] as [String; 0]);
        tamper.anchored(&[11]).await;
        tamper
            .finds(&CUT, "position 11: the anchor", "its tail was cut off")
            .await;
        // Nor does a chain that was made anew go through it.
        let rewritten = [
            "UPDATE commits SET chain_hash = digest WHERE position = 11",
            "UPDATE chain_heads SET update_time = update_time",
        ];
        let found = tamper.with(&rewritten).await;
        assert!(
            found
                .iter()
                .any(|fault| fault.contains("the chain was made anew")),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_walk_may_begin_anywhere_and_what_came_before_the_chain_is_only_counted() {
    for database in TestDatabase::all().await {
        let mut shop = played(&database).await;
        let store = &database.store;
        let part = store.verify_chain(10, Vec::new(), &|_| {}).await.unwrap();
        assert_eq!((part.faults.len(), part.commits, part.position), (0, 4, 13));
        // As an older version writes and sequences.
        for statement in [
            "UPDATE commits SET digest = NULL, records = NULL, chain_hash = NULL",
            "UPDATE order_events SET salt = NULL, hash = NULL",
            "DELETE FROM audit_entries",
            "DELETE FROM chain_heads",
        ] {
            database.execute(statement).await;
        }
        hold_gateway(store, 9).await;
        sequence(store).await;
        shop.order(MAIL, None).await;
        sequence(store).await;
        let found = verify(store, &[]).await;
        assert_eq!(found.faults, [], "{:?}", store.kind());
        assert_eq!((found.uncovered, found.commits, found.records), (13, 15, 2));
    }
}

#[tokio::test]
async fn invariant_7_audit_entries_are_the_transitions_and_the_acts_whatever_a_shop_does() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let accounts = [("sms-gateway".to_owned(), Channel::Sms)];
        store.register_gateways(&accounts, now).await.unwrap();
        let mut rng = StdRng::seed_from_u64(8);
        let mut shop = Shop::new(store.clone());
        let mut open = Vec::new();
        let (mut moves, mut acts) = (0, 0);
        for step in 0..60 {
            match rng.random_range(0..5) {
                0 | 1 => open.push(shop.order(MAIL, None).await.id),
                2 => {
                    let order = shop.order(MAIL, None).await;
                    shop.accept(order.id).await;
                    moves += 1;
                }
                3 if !open.is_empty() => {
                    shop.cancel(open.swap_remove(rng.random_range(0..open.len())))
                        .await;
                }
                4 => {
                    hold_gateway(store, step).await;
                    acts += 1;
                    continue;
                }
                _ => continue,
            }
            moves += 1;
        }
        sequence(store).await;
        let found = verify(store, &[]).await;
        assert_eq!(found.faults, []);
        assert_eq!(found.records, moves + acts);
        let versions = "SELECT CAST(SUM(version) AS SIGNED) AS n FROM orders";
        let versions = match store.kind() {
            countersign_store::DatabaseKind::Sqlite => versions.replace("SIGNED", "INTEGER"),
            _ => versions.to_owned(),
        };
        assert_eq!(database.number(&versions).await.unsigned_abs(), moves);
        let count = "SELECT COUNT(*) AS n FROM operator_acts";
        assert_eq!(database.number(count).await.unsigned_abs(), acts);
    }
}

#[tokio::test]
async fn one_of_many_makes_the_anchor_and_one_that_failed_is_made_again() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let hour = chrono::TimeDelta::hours(1);
        let claims = futures::future::join_all((0..8).map(|_| store.claim_anchor(hour, now))).await;
        let won: Vec<_> = claims.into_iter().filter_map(Result::unwrap).collect();
        assert_eq!(won.len(), 1, "{:?}", store.kind());
        assert_eq!(store.claim_anchor(hour, now).await.unwrap(), None);
        store.give_anchor_back(won[0]).await.unwrap();
        let again = store.claim_anchor(hour, now).await.unwrap();
        assert_eq!(again.unwrap().last_time(), None);
        let later = store.claim_anchor(hour, now + hour).await.unwrap().unwrap();
        let last = later.last_time().unwrap();
        assert_eq!(last.timestamp_millis(), now.timestamp_millis());
    }
}
