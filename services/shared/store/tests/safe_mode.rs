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
