//! Reference data is written as a whole or not at all, and what is known already changes nothing.

use countersign_domain::catalog::{Product, ProductProfile};
use countersign_store::{Put, PutOptions, testing::TestDatabase};

fn product(sku: &str, display_name: &str) -> Product {
    Product {
        sku: sku.to_owned(),
        version: 0,
        profile: ProductProfile {
            display_name: display_name.to_owned(),
            ..ProductProfile::default()
        },
    }
}

#[tokio::test]
async fn a_batch_is_compared_with_what_is_there() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let now = store.now().await.unwrap();
        let options = PutOptions::default();
        let batch = [
            product("A", "one"),
            product("B", "two"),
            product("A", "three"),
        ];
        let puts = store.put_products(&batch, options, now).await.unwrap();
        assert_eq!(puts, [Put::Created, Put::Created, Put::Replaced]);
        let again = [product("A", "three"), product("B", "other")];
        let puts = store.put_products(&again, options, now).await.unwrap();
        assert_eq!(puts, [Put::Unchanged, Put::Replaced]);
        let found = store.find_products(&["A", "B"]).await.unwrap();
        assert_eq!(found["A"].version, 2);
        assert_eq!(found["B"].profile.display_name, "other");
        let create = PutOptions {
            version: Some(0),
            request: None,
        };
        let puts = store
            .put_products(&[product("C", "new"), product("A", "x")], create, now)
            .await
            .unwrap();
        assert_eq!(puts, [Put::Created, Put::Conflict]);
        assert!(store.find_products(&["C"]).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn stock_is_counted_in_batches() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let puts = store
            .put_stock_levels(&[("W", "A", 5), ("W", "A", 7)])
            .await
            .unwrap();
        assert_eq!(puts, [Put::Created, Put::Replaced]);
        let puts = store.put_stock_levels(&[("W", "A", 7)]).await.unwrap();
        assert_eq!(puts, [Put::Unchanged]);
        assert_eq!(store.find_stock(&["A"]).await.unwrap()[0].on_hand, 7);
    }
}
