//! The survey on the order page, as a browser without script has it.

use countersign_domain::{
    feedback::{FeedbackAnswer, FeedbackSource, FeedbackTag, LineStars},
    ids::OrderId,
    order::OrderState,
    tracking::TrackingStatus,
};

use super::{
    browser::{Page, client, multipart},
    stage::{Stage, line, new_order},
};
use crate::pages::{CustomerAnswer, MAX_FORM_BYTES};

/// An order, its goods arrived, and its page.
async fn delivered(stage: &mut Stage, locale: &str) -> (OrderId, Page) {
    let lines = vec![
        line("Green tea <b>", "250 g", 2, 5_990),
        line("Tea pot", "", 1, 12_800),
    ];
    let id = stage.order(&new_order(locale, "WEB-7", lines)).await.id;
    stage.apply_yes(id).await;
    stage.allocate(id).await;
    stage.track(id, TrackingStatus::Delivered, "").await;
    let order = stage.store().find_order(id).await.unwrap().unwrap();
    assert_eq!(order.state, OrderState::Delivered);
    let page = Page::open(&format!("{}/o/{}", stage.url, stage.token(id))).await;
    (id, page)
}

#[tokio::test]
async fn the_survey_comes_with_the_goods_and_goes_with_its_time() {
    let mut stage = Stage::new().await;
    let order = new_order("en", "WEB-1", vec![line("Tea", "", 1, 100)]);
    let early = stage.order(&order).await.id;
    let page = Page::open(&format!("{}/o/{}", stage.url, stage.token(early))).await;
    assert!(!page.has("/rate"));

    let (_, page) = delivered(&mut stage, "en").await;
    for shown in [
        "How was it?",
        "★★★★★ very good",
        "Something missing",
        "Green tea &lt;b&gt;",
        "type=\"radio\" name=\"stars\" value=\"5\" required>",
        "maxlength=\"1000\"",
    ] {
        assert!(page.has(shown), "{shown} is missing in\n{}", page.html);
    }
    assert!(!page.has("checked"), "{}", page.html);
    assert!(!page.has("<script"));
    let chinese = Page::open(&format!("{}?lang=zh-CN", page.url)).await;
    assert!(chinese.has("您觉得怎么样？") && chinese.has("★★ 较差") && chinese.has("缺少商品"));

    stage.store().shift_clock(chrono::Duration::days(2));
    let over = Page::open(&page.url).await;
    assert!(!over.has("/rate"));
    let fields = [
        ("form_token", &*page.hidden("form_token")),
        ("form_id", "1"),
        ("stars", "5"),
    ];
    let late = page.multipart_form("rate", multipart(&fields)).send().await;
    assert_eq!(late.unwrap().status(), 400);
    assert_eq!(stage.inbox.answers(), []);
}

#[tokio::test]
async fn a_star_in_a_letter_is_chosen_by_its_link_and_said_by_the_button_only() {
    let mut stage = Stage::new().await;
    let (id, page) = delivered(&mut stage, "en").await;
    let before = stage.store().find_order(id).await.unwrap();
    for stars in ["1", "4", "5"] {
        let opened = Page::open(&format!("{}?stars={stars}", page.url)).await;
        let chosen = format!("name=\"stars\" value=\"{stars}\" required checked");
        assert!(opened.has(&chosen), "{}", opened.html);
        assert_eq!(opened.html.matches(" checked").count(), 1);
    }
    for stars in ["0", "6", "-1", "%3Cscript%3E", ""] {
        let opened = Page::open(&format!("{}?stars={stars}", page.url)).await;
        assert!(!opened.has("checked") && !opened.has("<script"));
    }
    let get = client().get(format!("{}/rate", page.url)).send().await;
    assert_eq!(get.unwrap().status(), 404);
    assert_eq!(stage.inbox.answers(), []);
    assert_eq!(stage.store().find_order(id).await.unwrap(), before);
}

#[tokio::test]
async fn stars_tags_lines_and_words_are_handed_over_once() {
    let mut stage = Stage::new().await;
    let (_, page) = delivered(&mut stage, "zh-CN").await;
    let words = "茶".repeat(1_000);
    let form_token = page.hidden("form_token");
    let fields = [
        ("form_token", &*form_token),
        ("form_id", "17"),
        ("stars", "2"),
        ("tag", "LATE"),
        ("tag", "DAMAGED"),
        ("tag", "LATE"),
        ("line-1", ""),
        ("line-2", "4"),
        ("text", &words),
    ];
    let after = page.send_multipart("rate", &fields).await;
    assert!(after.has("感谢您的评价，已收到") && after.has("http-equiv=\"refresh\""));
    assert!(after.has("value=\"2\" required checked"));
    assert!(after.has("value=\"DAMAGED\" checked"));
    assert!(after.has("<option value=\"4\" selected>"));
    assert!(
        !after.has("茶茶"),
        "the words are not shown to whoever has the link"
    );
    page.send_multipart("rate", &fields).await;
    assert_eq!(
        stage.inbox.answers(),
        [CustomerAnswer::Rate {
            answer: FeedbackAnswer {
                stars: 2,
                tags: vec![FeedbackTag::Late, FeedbackTag::Damaged],
                words,
                lines: vec![LineStars {
                    line_number: 2,
                    stars: 4
                }],
                source: FeedbackSource::Page,
            }
        }]
    );
}

#[tokio::test]
async fn f_22_forms_that_are_wrong_foreign_or_too_long_say_nothing() {
    let mut stage = Stage::new().await;
    let (_, page) = delivered(&mut stage, "en").await;
    let token = page.hidden("form_token");
    let send = async |fields: &[(&str, &str)]| {
        let request = page.multipart_form("rate", multipart(fields));
        request.send().await.unwrap().status().as_u16()
    };
    let (token, id) = (("form_token", &*token), ("form_id", "1"));
    let too_many_words = "字".repeat(1_001);
    for wrong in [
        vec![token, id],
        vec![token, id, ("stars", "6")],
        vec![token, id, ("stars", "five")],
        vec![token, ("stars", "5")],
        vec![token, id, ("stars", "5"), ("tag", "NICE")],
        vec![token, id, ("stars", "5"), ("line-1", "9")],
        vec![token, id, ("stars", "5"), ("text", "a\u{0}b")],
        vec![token, id, ("stars", "5"), ("text", &too_many_words)],
    ] {
        assert_eq!(send(&wrong).await, 400, "{wrong:?}");
    }
    assert_eq!(send(&[id, ("stars", "5")]).await, 403);
    assert_eq!(send(&[("form_token", "x"), id, ("stars", "5")]).await, 403);
    let huge = "x".repeat(MAX_FORM_BYTES);
    assert_eq!(
        send(&[token, id, ("stars", "5"), ("text", &huge)]).await,
        413
    );
    assert_eq!(stage.inbox.answers(), []);
}
