//! One process migrates at a time, on every server that is supported.
#![cfg(test)]

use std::time::Duration;

use countersign_store::{
    MigrationLock, Settings,
    testing::{TestDatabase, data_keys},
};

#[tokio::test]
async fn whoever_comes_second_waits_until_the_first_has_migrated() {
    for database in TestDatabase::all().await {
        let settings = Settings::new(database.url.clone(), data_keys());
        let served = !database.url.starts_with("sqlite");
        let first = MigrationLock::acquire(&settings, Duration::from_secs(5))
            .await
            .unwrap();
        first.check().await.unwrap();

        let second = MigrationLock::acquire(&settings, Duration::ZERO).await;
        assert_eq!(second.is_err(), served, "{}", database.url);

        first.release().await.unwrap();
        let third = MigrationLock::acquire(&settings, Duration::from_secs(5))
            .await
            .unwrap();
        third.check().await.unwrap();
        third.release().await.unwrap();
    }
}
