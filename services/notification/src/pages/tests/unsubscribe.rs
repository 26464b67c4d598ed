use countersign_domain::order::Channel;
use reqwest::header::SET_COOKIE;

use super::{
    browser::{Page, client},
    stage::Stage,
};

#[tokio::test]
async fn f_23_one_click_stops_letters_and_opening_the_link_does_not() {
    let stage = Stage::new().await;
    let hash = countersign_store::testing::recipient_hash("Li.Wei@customer.example");
    let url = format!("{}/u/{}", stage.url, stage.key.unsubscribe_token(&hash));
    let stopped = async || {
        stage
            .store()
            .is_opted_out(&hash, Channel::Email)
            .await
            .unwrap()
    };

    let page = Page::open(&url).await;
    assert!(page.cookie.is_empty());
    for shown in [
        "<form method=\"post\"",
        "lang=\"en\"",
        "lang=\"zh-CN\"",
        "停止",
        "Stop",
    ] {
        assert!(page.has(shown), "{shown}: {}", page.html);
    }
    assert!(!page.has("<script") && !page.has("Li.Wei"));
    assert!(!stopped().await, "a mail scanner has opened it");

    // As a mail program does it: from elsewhere, without cookies, as often as it likes.
    for _ in 0..3 {
        let answer = client()
            .post(&url)
            .header("Sec-Fetch-Site", "cross-site")
            .form(&[("List-Unsubscribe", "One-Click")])
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.headers().get(SET_COOKIE).is_none());
        assert!(stopped().await);
    }
    assert!(
        !stage
            .store()
            .is_opted_out(&hash, Channel::Sms)
            .await
            .unwrap()
    );

    let other = countersign_store::testing::recipient_hash("other@customer.example");
    let url = format!("{}/u/{}", stage.url, stage.key.unsubscribe_token(&other));
    assert_eq!(
        client().post(&url).send().await.unwrap().status(),
        200,
        "no body at all"
    );
    assert!(
        stage
            .store()
            .is_opted_out(&other, Channel::Email)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn f_23_a_link_that_is_not_ours_stops_nothing() {
    let stage = Stage::new().await;
    let hash = countersign_store::testing::recipient_hash("li.wei@customer.example");
    let mut forged = stage.key.unsubscribe_token(&hash);
    forged.replace_range(63.., if forged.ends_with('A') { "B" } else { "A" });
    for token in [forged.as_str(), "abc", &"A".repeat(64)] {
        let url = format!("{}/u/{token}", stage.url);
        assert_eq!(client().get(&url).send().await.unwrap().status(), 404);
        assert_eq!(client().post(&url).send().await.unwrap().status(), 404);
    }
    assert!(
        !stage
            .store()
            .is_opted_out(&hash, Channel::Email)
            .await
            .unwrap()
    );
}
