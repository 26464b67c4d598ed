//! Mail scanners open every link of a letter, with everything a browser has. Nothing may come of it.

use std::collections::BTreeSet;

use countersign_domain::ids::OrderId;
use countersign_proto::v1;
use countersign_store::MailboxContent;
use reqwest::{Client, Method, redirect};

use super::{audit::unsubscribe_path, chromium::Chromium};
use crate::stand::Stand;

#[expect(clippy::disallowed_methods, reason = "a scanner, not a call of ours")]
fn scanner() -> Client {
    let client = Client::builder().redirect(redirect::Policy::none());
    client.build().unwrap()
}

/// Every link that stands in a message about the order.
async fn links(stand: &Stand, order: &v1::Order) -> BTreeSet<String> {
    let id = OrderId::in_name(&order.name).unwrap();
    for _ in 0..200 {
        let items = stand
            .system
            .store
            .list_mailbox(None, 50)
            .await
            .unwrap()
            .items;
        let texts = items
            .iter()
            .filter(|it| it.order_id == id)
            .flat_map(|it| match &it.content {
                MailboxContent::Email { text, html, .. } => vec![text.as_str(), html.as_str()],
                MailboxContent::Sms { text } => vec![text.as_str()],
                MailboxContent::Phone { .. } => Vec::new(),
            });
        let found: BTreeSet<String> = texts
            .flat_map(|text| text.split(['"', '<', '>', ' ', '\n', '\r']))
            .filter(|word| word.starts_with("http"))
            .map(|word| word.replace("&amp;", "&").replace("&#x2f;", "/"))
            .collect();
        if !found.is_empty() {
            return found;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no letter came");
}

/// Everything that an answer of the customer would change.
async fn state(stand: &Stand, orders: &[v1::Order]) -> Vec<String> {
    let mut state = Vec::new();
    for order in orders {
        state.push(stand.system.order(&order.name).await.etag);
    }
    for table in ["replies", "opt_outs", "feedback"] {
        state.push(format!("{table}: {}", stand.count(table).await));
    }
    state
}

#[tokio::test]
async fn f_16_a_scanner_that_opens_every_link_in_every_way_changes_nothing() {
    let stand = Stand::start().await;
    let orders = [stand.order("zh-CN").await, stand.delivered("en").await];
    let mut all = BTreeSet::from([format!("http://{}{}", stand.pages, unsubscribe_path())]);
    for order in &orders {
        all.extend(links(&stand, order).await);
        all.insert(stand.link(order));
    }
    let own = format!("http://{}/", stand.pages);
    all.retain(|link| link.starts_with(&own));
    assert!(all.len() >= 3, "{all:?}");
    let before = state(&stand, &orders).await;

    let chromium = Chromium::start().await;
    let browser = chromium.phone_with_scripts().await;
    let client = scanner();
    for link in &all {
        browser.open(link).await;
        for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
            let answer = client.request(method.clone(), link).send().await.unwrap();
            let fine = answer.status().is_success() || answer.status().is_client_error();
            assert!(fine, "{method} {link}: {}", answer.status());
        }
    }
    // Forms that a page did not give out, from here and from another site.
    for order in &orders {
        for act in ["confirm", "object", "rate", "ask"] {
            let url = format!("{}/{act}", stand.link(order));
            let forged = client
                .post(&url)
                .header("sec-fetch-site", "cross-site")
                .form(&[("round", "1"), ("form_token", "AAAA"), ("stars", "1")]);
            let refused = forged.send().await.unwrap().status();
            assert!(refused.is_client_error(), "{act}: {refused}");
            let bare = client.post(&url).send().await.unwrap().status();
            assert!(bare.is_client_error(), "{act}: {bare}");
        }
    }
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(state(&stand, &orders).await, before);
}
