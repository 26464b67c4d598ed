//! Links to order pages on every database.
use countersign_domain::secrets::{LinkKey, token_hash};
use countersign_store::{
    FIRST_GENERATION,
    testing::{TestDatabase, shop::Shop},
};
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

#[tokio::test]
async fn f_17_only_the_hash_of_a_token_is_there_and_none_of_three_thousand_random_ones_is() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let mut shop = Shop::new(store.clone());
        for _ in 0..20 {
            let order = shop.order(Some("canary@example.com"), None).await;
            let token = shop.key.link_token(order.id, FIRST_GENERATION);
            let found = store.find_order_by_link(&token_hash(&token)).await.unwrap();
            assert_eq!(found, Some(order.id));
        }
        let kept = database
            .all_bytes("SELECT token_hash AS b FROM order_links")
            .await;
        assert_eq!(kept.len(), 20);
        assert!(kept.iter().all(|hash| hash.len() == 32));
        let mut rng = StdRng::seed_from_u64(17);
        for _ in 0..3_000 {
            let mut hash = [0; 32];
            rng.fill_bytes(&mut hash);
            assert_eq!(store.find_order_by_link(&hash).await.unwrap(), None);
        }
    }
}

#[tokio::test]
async fn a_key_that_made_no_orders_link_is_known_to_be_another() {
    for database in TestDatabase::all().await {
        let store = &database.store;
        let key = |lines: &[&str]| LinkKey::read(&lines.join("\n")).unwrap();
        let (old, new) = ("a".repeat(32), "b".repeat(32));
        let mut shop = Shop::new(store.clone());
        shop.key = key(&[&old]);
        assert!(
            store.knows_links_of(&key(&[&new])).await.unwrap(),
            "no order, no link"
        );
        shop.order(Some("canary@example.com"), None).await;
        assert!(store.knows_links_of(&shop.key).await.unwrap());
        assert!(!store.knows_links_of(&key(&[&new])).await.unwrap());
        // While it is changed, and afterwards, when orders have come in that were given links of the new one.
        assert!(store.knows_links_of(&key(&[&new, &old])).await.unwrap());
        shop.key = key(&[&new, &old]);
        shop.order(Some("canary@example.com"), None).await;
        for lines in [&[&*new][..], &[&*old][..]] {
            assert!(store.knows_links_of(&key(lines)).await.unwrap());
        }
        // An order that is over proves its key, too: a key that is lost is not asked for any more once another has come in.
        database
            .execute("UPDATE orders SET state = 'CANCELLED'")
            .await;
        assert!(store.knows_links_of(&key(&[&new])).await.unwrap());
        let another = key(&["another key of thirty-two bytes or more"]);
        assert!(!store.knows_links_of(&another).await.unwrap());
        // Orders of erased customers have lost their links.
        database
            .execute("UPDATE orders SET customer = 'erased-0123456789abcdef0123456789abcdef'")
            .await;
        assert!(store.knows_links_of(&another).await.unwrap());
    }
}
