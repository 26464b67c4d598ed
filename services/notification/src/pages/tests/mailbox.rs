use chrono::{DateTime, Utc};
use countersign_domain::{ids::OrderId, order::Channel};
use countersign_store::{MailboxContent, MailboxItem, MailboxKey};
use uuid::Uuid;

use super::{
    browser::{Page, client},
    stage::{Stage, line, new_order},
};

async fn with_mailbox() -> Stage {
    Stage::with(|settings| settings.mailbox = true).await
}

fn item(n: u128, channel: Channel, content: MailboxContent) -> MailboxItem {
    MailboxItem {
        id: Uuid::from_u128(n),
        order_id: OrderId::from_uuid(Uuid::nil()),
        channel,
        recipient: "wang@example.com".into(),
        content,
        create_time: DateTime::<Utc>::UNIX_EPOCH,
    }
}

fn letter(link: &str) -> MailboxContent {
    MailboxContent::Email {
        subject: "Please confirm <b>".into(),
        text: format!("Open {link} and answer."),
        html: format!(
            "<!doctype html><html><head><title>x</title></head><body style=\"color:red\">\
             <a href=\"{link}\">Confirm</a><script>alert(1)</script></body></html>"
        ),
    }
}

#[tokio::test]
async fn there_is_no_mailbox_unless_it_is_switched_on() {
    let stage = Stage::new().await;
    for path in [
        "/",
        "/mailbox",
        "/mailbox/00000000-0000-0000-0000-000000000001",
    ] {
        let response = client()
            .get(format!("{}{path}", stage.url))
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
    let health = Page::open(&format!("{}/healthz", stage.url)).await;
    assert_eq!(health.html, "ok\n");
}

#[tokio::test]
async fn the_list_is_newest_first_and_goes_on_to_older_pages() {
    let stage = with_mailbox().await;
    let url = format!("{}/mailbox", stage.url);
    assert!(Page::open(&url).await.has("No messages yet"));
    for n in 1..=51 {
        let text = format!("message number {n}.");
        stage
            .store()
            .insert_mailbox_item(&item(n, Channel::Sms, MailboxContent::Sms { text }))
            .await
            .unwrap();
    }
    let page = Page::open(&url).await;
    let position = |text: &str| page.html.find(text);
    assert!(position("message number 51.") < position("message number 50."));
    assert!(page.has("message number 2.") && !page.has("message number 1."));
    assert!(page.has("http-equiv=\"refresh\""));
    let older = format!("{url}?lang=en&before={}", Uuid::from_u128(2));
    assert!(page.has(&older.replace('&', "&amp;").replace(&stage.url, "")[1..]));
    let page = Page::open(&older).await;
    assert!(page.has("message number 1.") && !page.has("message number 2."));
    assert!(!page.has("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn a_letter_is_shown_in_a_frame_without_rights_and_its_link_works() {
    let mut stage = with_mailbox().await;
    let order = new_order("en", "W-1", vec![line("Tea", "", 1, 100)]);
    let id = stage.order(&order).await.id;
    let link = format!("{}/o/{}", stage.url, stage.token(id));
    let item = item(7, Channel::Email, letter(&link));
    stage.store().insert_mailbox_item(&item).await.unwrap();
    stage.store().insert_mailbox_item(&item).await.unwrap();

    let page = Page::open(&format!("{}/mailbox/{}", stage.url, item.id)).await;
    assert!(page.has("sandbox=\"allow-popups allow-popups-to-escape-sandbox\""));
    assert!(page.has("&lt;script&gt;") && !page.has("<script>"));
    assert!(page.has("&lt;base target"));
    assert!(page.has("Please confirm &lt;b&gt;"));
    let offered = format!("<a href=\"{link}\"");
    assert!(page.has(&offered), "{}", page.html);
    assert!(Page::open(&link).await.has("Please confirm your order"));
    let list = Page::open(&format!("{}/mailbox", stage.url)).await;
    assert!(list.has(&offered), "{}", list.html);
}

#[tokio::test]
async fn a_key_pressed_in_a_call_reaches_the_inbox() {
    let stage = with_mailbox().await;
    let key = |digit: &str, means: &str| MailboxKey {
        digit: digit.into(),
        means: means.into(),
    };
    let content = MailboxContent::Phone {
        language: "en".into(),
        prompts: vec!["Hello.".into(), "Press a key.".into()],
        keys: vec![key("1", "confirm"), key("2", "object"), key("9", "repeat")],
    };
    let item = item(8, Channel::Phone, content);
    stage.store().insert_mailbox_item(&item).await.unwrap();
    let page = Page::open(&format!("{}/mailbox/{}", stage.url, item.id)).await;
    assert!(page.has("Press a key.") && page.has("The order is right"));
    let token = page.hidden("form_token");
    let after = page
        .send("key", &[("form_token", &token), ("digit", "1")])
        .await;
    assert!(after.has("Received."));
    for digit in ["3", "", "11"] {
        let fields = [("form_token", token.as_str()), ("digit", digit)];
        let status = page.form("key", &fields).send().await.unwrap().status();
        assert_eq!(status, 400, "{digit}");
    }
    let fields = [("form_token", ""), ("digit", "2")];
    let status = page.form("key", &fields).send().await.unwrap().status();
    assert_eq!(status, 403);
    let fields = [("form_token", token.as_str()), ("digit", "2")];
    let foreign = page
        .form("key", &fields)
        .header("sec-fetch-site", "cross-site")
        .send()
        .await
        .unwrap();
    assert_eq!(foreign.status(), 403);
    assert_eq!(*stage.inbox.keys.lock().unwrap(), [(item.id, '1')]);
}

#[tokio::test]
async fn a_text_sent_in_answer_reaches_the_inbox() {
    let stage = with_mailbox().await;
    let text = "订单 <1> 请回复 042917".to_owned();
    let item = item(9, Channel::Sms, MailboxContent::Sms { text });
    stage.store().insert_mailbox_item(&item).await.unwrap();
    let page = Page::open(&format!("{}/mailbox/{}", stage.url, item.id)).await;
    assert!(page.has("订单 &lt;1&gt; 请回复 042917"));
    let form_id = page.hidden("form_id");
    let fields = [
        ("form_token", &*page.hidden("form_token")),
        ("form_id", &form_id),
        ("lang", "zh-CN"),
        ("text", "０４２９１７"),
    ];
    let after = page.send_multipart("reply", &fields).await;
    assert!(after.has("已收到"));
    assert_eq!(
        *stage.inbox.texts.lock().unwrap(),
        [(
            item.id,
            format!("{}:{form_id}", item.id),
            "０４２９１７".to_owned()
        )]
    );
}

#[tokio::test]
async fn the_welcome_page_leads_to_the_mailbox() {
    let stage = with_mailbox().await;
    let page = Page::open(&stage.url).await;
    assert!(page.has("href=\"mailbox?lang=en\""));
    let response = client()
        .get(&stage.url)
        .header("accept-language", "zh-CN,zh;q=0.9")
        .send()
        .await
        .unwrap();
    assert!(response.text().await.unwrap().contains("打开本地信箱"));
}
