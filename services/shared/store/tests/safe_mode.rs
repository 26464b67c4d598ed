//! Signs of life, and the switch that all replicas obey.
#![cfg(test)]

use chrono::TimeDelta;
use countersign_domain::{
    ids::CommitId,
    safe_mode::{SafeModeState, Suspicion},
};
use countersign_store::{ActCall, Beat, Life, Store, Wake, testing::TestDatabase};
use rand::{SeedableRng as _, rngs::StdRng};
use uuid::Uuid;

async fn call(store: &Store, actor: &str, reason: &str) -> ActCall {
    let now = store.now().await.unwrap();
    let id = CommitId::new_v7(now, &mut StdRng::from_os_rng()).as_uuid();
    ActCall::own(id, actor, reason)
}

async fn begin(store: &Store, number: u128, configured: bool) -> (Life, Option<Suspicion>) {
    let life = Life::new(Uuid::from_u128(number));
    let wake = Wake {
        configured,
        silence_max: Some(TimeDelta::minutes(15)),
    };
    let (now, call) = (store.now().await.unwrap(), call(store, "system", "").await);
    let suspicion = store.begin_life(&life, wake, &call, now).await.unwrap();
    (life, suspicion)
}

async fn beat(store: &Store, life: &Life) -> Beat {
    let (now, call) = (store.now().await.unwrap(), call(store, "system", "").await);
    store.beat(life, &call, now).await.unwrap()
}

async fn turn(store: &Store, state: SafeModeState, reason: &str) -> bool {
    let (now, call) = (
        store.now().await.unwrap(),
        call(store, "wang", reason).await,
    );
    store.turn_safe_mode(state, &call, now).await.unwrap()
}

#[tokio::test]
async fn l_05_an_old_copy_of_the_database_is_recognised_by_a_running_worker_and_by_one_that_starts()
{
    for database in TestDatabase::all().await {
        let store = &database.store;
        let (life, suspicion) = begin(store, 1, false).await;
        assert_eq!(suspicion, None, "a new database");
        assert_eq!(beat(store, &life).await, Beat::Kept);
        assert!(store.look(Some(&life)).await.unwrap().may_send());
        database.save().await;
        assert_eq!(beat(store, &life).await, Beat::Kept);

        database.restore().await;
        let look = store.look(Some(&life)).await.unwrap();
        assert!(look.went_back && !look.safe_mode && !look.may_send());
        assert_eq!(beat(store, &life).await, Beat::WentBack);
        let look = store.look(Some(&life)).await.unwrap();
        assert!(!look.went_back && look.safe_mode, "once is enough");
        assert_eq!(beat(store, &life).await, Beat::Kept);
        let switch = store.find_safe_mode().await.unwrap().unwrap();
        assert_eq!(switch.state, SafeModeState::On);
        assert_eq!(switch.changed_by, "system");
        assert!(
            switch.reason.contains("gone back in time"),
            "{}",
            switch.reason
        );

        assert!(turn(store, SafeModeState::Off, "carriers were asked").await);
        assert!(!turn(store, SafeModeState::Off, "once more").await);
        assert!(store.look(Some(&life)).await.unwrap().may_send());
        let acts = "SELECT COUNT(*) AS n FROM operator_acts WHERE action IN ('ENTER_SAFE_MODE', 'LEAVE_SAFE_MODE')";
        assert_eq!(
            database.number(acts).await,
            2,
            "each turn is on record once"
        );

        // A copy from before the worker started does not know it at all.
        database.execute("DELETE FROM lives").await;
        assert!(store.look(Some(&life)).await.unwrap().went_back);
        assert_eq!(beat(store, &life).await, Beat::WentBack);
        assert!(turn(store, SafeModeState::Off, "carriers were asked").await);

        // Nobody of those who run remembers anything: the silence tells.
        let (_, suspicion) = begin(store, 2, false).await;
        assert_eq!(suspicion, None);
        store.shift_clock(TimeDelta::minutes(20));
        let (_, suspicion) = begin(store, 3, false).await;
        assert_eq!(suspicion, Some(Suspicion::Silence { minutes: 20 }));
        assert!(store.look(None).await.unwrap().safe_mode);
        // Whoever starts next is told by the switch, although somebody is alive by now.
        let (fourth, suspicion) = begin(store, 4, false).await;
        assert_eq!(suspicion, None);
        assert!(!store.look(Some(&fourth)).await.unwrap().may_send());
    }
}

#[tokio::test]
async fn l_05_an_order_service_remembers_too_and_its_signs_hide_no_silence_of_workers() {
    let silence = TimeDelta::minutes(15);
    for database in TestDatabase::all().await {
        let store = &database.store;
        let orders = Life::of_orders(Uuid::from_u128(100));
        let first = async |life: &Life| {
            let (now, call) = (store.now().await.unwrap(), call(store, "system", "").await);
            let wake = Wake::default();
            store.begin_life(life, wake, &call, now).await.unwrap()
        };
        let silent = async || {
            let now = store.now().await.unwrap();
            store.silence(silence, now).await.unwrap()
        };
        assert_eq!(first(&orders).await, None);
        assert_eq!(silent().await, None, "a new database");
        begin(store, 1, false).await;
        database.save().await;
        assert_eq!(beat(store, &orders).await, Beat::Kept);

        database.restore().await;
        let look = store.look(Some(&orders)).await.unwrap();
        assert!(look.went_back && !look.may_send());
        assert_eq!(beat(store, &orders).await, Beat::WentBack);
        assert!(store.look(None).await.unwrap().safe_mode);
        assert!(turn(store, SafeModeState::Off, "carriers were asked").await);

        // All of it is started anew on an old copy, the order service first: it waits for a worker, which finds the silence.
        store.shift_clock(TimeDelta::minutes(20));
        let again = Life::of_orders(Uuid::from_u128(101));
        let found = Some(Suspicion::Silence { minutes: 20 });
        assert_eq!(silent().await, found);
        assert_eq!(first(&again).await, None);
        assert_eq!(silent().await, found, "its own sign is none of a worker");
        let (_, suspicion) = begin(store, 2, false).await;
        assert_eq!(suspicion, found);
        assert_eq!(silent().await, None);
        assert!(!store.look(Some(&again)).await.unwrap().may_send());
    }
}

#[tokio::test]
async fn l_05_an_order_service_that_starts_first_hides_no_copy_that_is_older_than_signs_are_kept() {
    let silence = TimeDelta::minutes(15);
    for database in TestDatabase::all().await {
        let store = &database.store;
        let first = async |number: u128| {
            let life = Life::of_orders(Uuid::from_u128(number));
            let (now, call) = (store.now().await.unwrap(), call(store, "system", "").await);
            let wake = Wake::default();
            assert_eq!(
                store.begin_life(&life, wake, &call, now).await.unwrap(),
                None
            );
            life
        };
        let silent = async || {
            let now = store.now().await.unwrap();
            store.silence(silence, now).await.unwrap()
        };
        // A copy from eight days ago, with a worker and an order service that are long gone.
        begin(store, 1, false).await;
        first(100).await;
        store.shift_clock(TimeDelta::days(8));
        let minutes = TimeDelta::days(8).num_minutes();
        let found = Some(Suspicion::Silence { minutes });

        let again = first(101).await;
        assert_eq!(silent().await, found, "the worker's sign is kept");
        let count = async |role: &str| {
            let sql = format!("SELECT COUNT(*) AS n FROM lives WHERE role = '{role}'");
            database.number(&sql).await
        };
        assert_eq!(count("ORDERS").await, 1, "its like that are gone are not");
        let (second, suspicion) = begin(store, 2, false).await;
        assert_eq!(suspicion, found);
        for life in [&again, &second] {
            assert!(!store.look(Some(life)).await.unwrap().may_send());
        }
        assert_eq!(silent().await, None);
        assert_eq!(count("WORKER").await, 1);
    }
}

#[tokio::test]
async fn j_07_why_safe_mode_was_turned_is_sealed_and_what_an_older_program_wrote_is_read() {
    const WORDS: &str = "the canary of row 7 sent twice";
    for database in TestDatabase::all().await {
        let store = &database.store;
        assert!(turn(store, SafeModeState::On, WORDS).await);
        let switch = store.find_safe_mode().await.unwrap().unwrap();
        assert_eq!(switch.reason, WORDS);
        for column in ["reason", "sealed_reason"] {
            let sql = format!("SELECT {column} AS b FROM safe_mode");
            let stored = database.bytes(&sql).await;
            let text = String::from_utf8_lossy(&stored).into_owned();
            assert!(!text.contains("canary"), "{column}: {text}");
        }
        let older = "UPDATE safe_mode SET reason = 'by an older program'";
        database.execute(older).await;
        let switch = store.find_safe_mode().await.unwrap().unwrap();
        assert_eq!(switch.reason, "by an older program");
    }
}

#[tokio::test]
async fn a_shop_on_one_machine_may_close_for_the_night_and_the_configuration_may_want_safe_mode() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let (life, _) = begin(store, 1, false).await;
        store
            .end_life(&life, store.now().await.unwrap())
            .await
            .unwrap();
        store.shift_clock(TimeDelta::hours(10));
        let (_, suspicion) = begin(store, 2, false).await;
        let one_machine = database.url.starts_with("sqlite");
        assert_eq!(suspicion.is_none(), one_machine, "{}", database.url);

        let (third, suspicion) = begin(store, 3, true).await;
        assert_eq!(suspicion, Some(Suspicion::Configured));
        assert!(!store.look(Some(&third)).await.unwrap().may_send());
    }
}
