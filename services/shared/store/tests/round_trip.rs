//! Orders come back as they were stored, on every database.

use countersign_store::testing::TestDatabase;

#[tokio::test]
async fn the_time_of_the_database_is_utc_with_microseconds() {
    for database in TestDatabase::all().await {
        let now = database.store.now().await.unwrap();
        assert!(now.timestamp() > 1_700_000_000, "{now}");
        database.store.shift_clock(chrono::Duration::hours(1));
        let later = database.store.now().await.unwrap();
        assert!(later - now >= chrono::Duration::hours(1));
    }
}
